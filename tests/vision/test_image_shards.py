"""Images in shards: what is read, and every way it can be wrong."""

from __future__ import annotations

import io
import re
import tarfile
import time

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dlpipe.data import open_tar
from dlpipe.errors import InputError
from dlpipe_vision.image_files import image_folder, in_order
from dlpipe_vision.image_shards import key_and_field, split_of_shard


def png(value):
    content = io.BytesIO()
    Image.new("L", (4, 3), value).save(content, "PNG")
    return content.getvalue()


def write_shard(path, members, mode="w"):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def examples(first, count, classes=2):
    """Return members of examples whose class follows from the brightness of the image."""
    members = {}
    for number in range(first, first + count):
        members |= {f"{number:04}.png": png(number), f"{number:04}.cls": str(number % classes).encode()}
    return members


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    write_shard(folder / "things-train-000000.tar", examples(0, 8))
    write_shard(folder / "things-train-000001.tar", examples(8, 8))
    write_shard(folder / "things-val-000000.tar", examples(16, 4))
    write_shard(folder / "things-test-000000.tar", examples(20, 4))
    return folder


def values(columns):
    return sorted(zip(columns.columns["images"][:, 0, 0, 0].tolist(), columns.columns["targets"].tolist(), strict=True))


def test_every_image_has_its_class_and_the_split_of_its_shard(shards):
    data = image_folder(path=shards)

    assert data.splits == ("train", "dev", "test")
    assert data.labels == ["0", "1"]
    for split, numbers in {"train": range(16), "dev": range(16, 20), "test": range(20, 24)}.items():
        assert values(data.split(split)) == [(number, number % 2) for number in numbers]
    assert sorted(data.names("test"))[0] == "things-test-000000.tar/0020.png"


def test_shards_without_splits_are_divided(tmp_path):
    write_shard(tmp_path / "shards" / "000000.tar", examples(0, 20))

    data = image_folder(path=tmp_path / "shards", test_size=4, dev_size=2)

    assert [len(data.split(split)) for split in ("train", "dev", "test")] == [14, 2, 4]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_do_not_fit_are_read_from_their_shards(shards, monkeypatch, workers):
    monkeypatch.setattr("dlpipe_vision.image_files.num_bytes", lambda _: 10**10)

    dataset = image_folder(path=shards).split("train")

    batches = list(DataLoader(dataset, batch_size=5, num_workers=workers))
    numbers = torch.cat([batch["images"][:, 0, 0, 0] for batch in batches])
    assert sorted(numbers.tolist()) == list(range(16))
    assert torch.equal(numbers % 2, torch.cat([batch["targets"] for batch in batches]))


def test_a_changed_shard_is_noticed(shards):
    before, same = (image_folder(path=shards).fingerprint() for _ in range(2))
    write_shard(shards / "things-test-000000.tar", examples(30, 4))

    assert before == same != image_folder(path=shards).fingerprint()


def test_a_shard_that_has_not_changed_is_not_listed_again(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "time_ns", lambda: 10**19)  # the shards changed long ago
    first = image_folder(path=shards)
    before = {split: values(first.split(split)) for split in first.splits}
    listed = []
    monkeypatch.setattr(
        "dlpipe_vision.image_shards.open_tar", lambda shard: listed.append(shard.name) or open_tar(shard)
    )

    again = image_folder(path=shards)
    assert {split: values(again.split(split)) for split in again.splits} == before
    assert listed == []

    write_shard(shards / "things-test-000000.tar", examples(30, 4))
    assert values(image_folder(path=shards).split("test")) == [(number, number % 2) for number in range(30, 34)]
    assert listed == ["things-test-000000.tar"]


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    write_shard(tmp_path / "shards" / "train.tar", examples(0, 12, classes=12))

    assert image_folder(path=tmp_path / "shards", dev_size=1).labels == [str(number) for number in range(12)]
    assert in_order({"10", "9", "x"}) == ["10", "9", "x"]


def test_an_archive_beside_class_folders_is_no_shard(tmp_path):
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "photos" / label / f"{number}.png").write_bytes(png(number))
    write_shard(tmp_path / "photos" / "photos.tar", {"a/0.png": png(0)})

    assert image_folder(path=tmp_path / "photos", test_size=2).labels == ["a", "b"]


def test_the_key_is_what_comes_before_the_first_dot_of_the_last_part():
    assert key_and_field("a.b/n01_7.seg.PNG") == ("a.b/n01_7", "seg.png")
    assert key_and_field("7.jpg") == ("7", "jpg")


def test_a_shard_tells_its_split_with_a_part_of_its_name():
    names = ["imagenet-train-000001.tar", "val_3.tar", "test.tar", "trainer-0.tar", "000.tar"]

    assert list(map(split_of_shard, names)) == ["train", "dev", "test", None, None]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"7.png": png(7)}, "train.tar/7.png has no class; expected 7.cls beside it"),
        (
            {"7.png": png(7), "7.cls": b" \n"},
            "train.tar/7.cls: expected a class, a number or a name in UTF-8; correct it",
        ),
        ({"7.png": png(7), "7.cls": b"\xff"}, "train.tar/7.cls: expected a class, a number or a name in UTF-8"),
        ({"7.png": png(7), "7.cls": b"a\nb"}, "train.tar/7.cls: expected a class, a number or a name in UTF-8"),
        ({"7.png": png(7), "7.cls": b"a" * 2000}, "train.tar/7.cls: expected a class, a number or a name in UTF-8"),
        ({"7.png": png(7), "7.jpg": png(7), "7.cls": b"a"}, "train.tar/7.png has the same key; expected one image for"),
        ({"7.txt": b"seven"}, "no image in the shards ("),
        ({"../7.png": png(7)}, "train.tar: member '../7.png' would be outside the archive; repack it"),
        ({"7.png": b"no image", "7.cls": b"a"}, "train.tar/7.png cannot be read as an image"),
    ],
)
def test_shards_with_mistakes_are_refused(tmp_path, members, message):
    write_shard(tmp_path / "shards" / "train.tar", members)

    with pytest.raises(InputError, match=re.escape(message)):
        image_folder(path=tmp_path / "shards").state()


def test_a_shard_without_a_split_beside_others_is_refused(shards):
    write_shard(shards / "more.tar", examples(40, 2))

    with pytest.raises(
        InputError, match=r"more\.tar: the name tells no split, unlike that of other shards; expected a"
    ):
        image_folder(path=shards).state()


def test_a_shard_that_is_missing_is_refused(shards):
    (shards / "things-train-000002.tar").symlink_to("elsewhere.tar")

    with pytest.raises(InputError, match=r"000002\.tar cannot be read: No such file"):
        image_folder(path=shards).state()


def test_a_compressed_shard_is_refused(shards):
    write_shard(shards / "things-train-000000.tar", examples(0, 8), "w:gz")

    with pytest.raises(InputError, match=r"000000\.tar is compressed; expected a plain tar, of which single"):
        image_folder(path=shards).state()
