"""Images in folders, archives and tables: what is read, and every way it can be wrong."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from dlpipe.data import file_store
from dlpipe.data.split_report import split_report
from dlpipe.errors import DataError, DlpipeError, InputError
from dlpipe_vision.image_files import image_folder


def png(value=0, size=(4, 3), mode="L"):
    """Return a file of an image (width, height) of one color."""
    content = io.BytesIO()
    Image.new(mode, size, value).save(content, "PNG")
    return content.getvalue()


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def classes(split="", counts=(("cat", 4), ("dog", 4)), **options):
    return {f"{split}{label}/{n}.png": png(n, **options) for label, count in counts for n in range(count)}


SPLITS = classes("train/") | classes("test/", (("cat", 2), ("dog", 3)))


def tarred(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path, message, **options):
    with pytest.raises(InputError, match=re.escape(message)):
        image_folder(path=path, **({"dev_size": 0} | options)).split("train")


def pixels(data, split):
    """Return name and first pixel of each image, sorted."""
    names = data.names(split)
    return sorted(zip(names, data.pictures(split, torch.arange(len(names)))[:, 0, 0, 0].tolist(), strict=True))


def test_folders_of_splits_are_read(tmp_path):
    data = image_folder(path=write(tmp_path, SPLITS), dev_size=0)

    assert data.splits == ("train", "test")
    assert {name: data.facts[name] for name in ("image_shape", "num_classes", "labels")} == {
        "image_shape": (1, 3, 4),
        "num_classes": 2,
        "labels": ["cat", "dog"],
    }
    assert pixels(data, "test")[1] == ("test/cat/1.png", 1)
    assert sorted(data.split("test").columns["targets"].tolist()) == [0, 0, 1, 1, 1]


def test_a_dev_folder_is_the_dev_split_by_any_of_its_names(tmp_path):
    for name in ("dev", "val", "valid"):
        folder = write(tmp_path / name, SPLITS | classes(f"{name}/", (("cat", 1), ("dog", 1))))

        assert len(image_folder(path=folder).names("dev")) == 2


@pytest.mark.parametrize("top", ["", "pets/"])
def test_an_archive_gives_the_same_data_as_its_folder(tmp_path, top):
    files = {f"{top}{name}": content for name, content in SPLITS.items()} | {f"{top}README.md": b"pets"}
    archives = [
        write(tmp_path / "folder", files),
        tarred(tmp_path / "a.tar.gz", files),
        tarred(tmp_path / "a.tar", files, "w"),
        zipped(tmp_path / "a.zip", files),
    ]

    found = [image_folder(path=path, dev_size=0) for path in archives]

    assert len({data.fingerprint() for data in found}) == 1
    assert pixels(found[1], "train")[5] == (f"{top}train/dog/1.png", 1)
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "a.tar.gz", "a.tar", "a.zip"}


def test_without_splits_a_share_is_held_out_evenly_and_always_the_same(tmp_path):
    folder = write(tmp_path, classes(counts=(("cat", 10), ("dog", 20))))
    data, again = (image_folder(path=folder, test_size=0.3, dev_size=0) for _ in range(2))

    assert data.names("test") == again.names("test")
    assert data.split("test").columns["targets"].bincount().tolist() == [3, 6]
    assert not set(data.names("test")) & set(data.names("train"))
    assert image_folder(path=folder, test_size=0.0, dev_size=0).splits == ("train",)


def test_test_size_can_be_a_number_of_images(tmp_path):
    folder = write(tmp_path, classes(counts=(("cat", 10), ("dog", 20))))

    data = image_folder(path=folder, test_size=6, dev_size=0)

    assert data.split("test").columns["targets"].bincount().tolist() == [2, 4]


@pytest.mark.parametrize("test_size", [8, 0.99])
def test_a_test_split_that_leaves_no_training_image_is_refused(tmp_path, test_size):
    refused(
        write(tmp_path, classes()),
        f"test_size = {test_size}: there are 8 images; leave some for training",
        test_size=test_size,
    )


def test_training_images_are_in_random_order_before_limit_is_applied(tmp_path):
    folder = write(tmp_path, classes(counts=(("cat", 30), ("dog", 30))))
    targets = image_folder(path=folder, dev_size=0, limit=20).split("train").columns["targets"]

    assert len(targets) == 20
    assert 4 <= int(targets.sum()) <= 16


def test_a_table_lists_images_with_or_without_splits(tmp_path):
    write(tmp_path, {"a/0.png": png(7), "a/1.png": png(8), "b.png": png(9)})
    (tmp_path / "with.csv").write_text("path,label,split\na/0.png,x,train\na/1.png,y,train\nb.png,y,val\n")
    (tmp_path / "without.csv").write_text("\ufefflabel,path\nx,a/0.png\nx,a/1.png\nx,b.png\n", encoding="utf-8")

    with pytest.warns(UserWarning, match="only one training image of x, y; add more"):
        found = pixels(image_folder(path=tmp_path / "with.csv"), "dev")
    assert found == [("b.png", 9)]
    assert len(image_folder(path=tmp_path / "without.csv", test_size=0.0, dev_size=0).names("train")) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "path;label\na.png;x",
            "t.csv:1: no column label and path; expected the columns path, label and optionally split. Is the table "
            'separated by ";"? Then separate the columns by commas',
        ),
        ("", "t.csv:1: no column label and path; expected the columns path, label and optionally split"),
        ("path,label\n", "t.csv: it lists no images; expected one line per image"),
        ("path,label\na.png,\n", "t.csv:2: path 'a.png', label ''; expected both to be filled in"),
        ("path,label\n../a.png,x\n", "t.csv:2: '../a.png' is outside of"),
        ("path,label\n/a.png,x\n", "t.csv:2: '/a.png' is outside of"),
        ("path,label\nb.png,x\n", "t.csv:2: no such file: "),
        ("path,label\na.png,x\na.png,y\n", "t.csv:3: a.png is listed twice; keep one of them"),
        ("path,label,split\na.png,x,tset\n", "t.csv:2: split 'tset'; expected train, dev, test, or a common name"),
        ('path,label\n"a.png,x\n', "t.csv cannot be read: unexpected end of data"),
    ],
)
def test_a_wrong_line_of_a_table_is_named(tmp_path, table, message):
    write(tmp_path, {"a.png": png()})
    (tmp_path / "t.csv").write_text(table)

    refused(tmp_path / "t.csv", message)


def test_mixed_sizes_are_refused_unless_size_is_set(tmp_path):
    folder = write(tmp_path, SPLITS | {"train/cat/wide.png": png(200, size=(9, 3))})

    refused(
        folder, "images of 2 sizes (width×height): 4×3 (13, such as test/cat/0.png), 9×3 (1, such as train/cat/wide"
    )
    refused(folder, "for example data.size = [3, 4] (height, width)")
    assert image_folder(path=folder, size=(5, 6)).facts["image_shape"] == (1, 5, 6)
    assert image_folder(path=folder, size=7).facts["image_shape"] == (1, 7, 7)


def test_auto_is_grey_only_if_all_images_are(tmp_path):
    folder = write(tmp_path, SPLITS)
    assert image_folder(path=folder, color="rgb").facts["image_shape"] == (3, 3, 4)

    write(tmp_path, {"test/cat/red.png": png((255, 0, 0), mode="RGB")})

    assert image_folder(path=folder).facts["image_shape"] == (3, 3, 4)
    assert image_folder(path=folder, color="grey").facts["image_shape"] == (1, 3, 4)


def test_16_bit_and_transparent_images_become_plain_ones(tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.full((3, 4), 0x8000, np.uint16)).save(deep, "PNG")
    data = image_folder(
        path=write(
            tmp_path, SPLITS | {"test/dog/d.png": deep.getvalue(), "test/dog/t.png": png((9, 9, 9, 0), mode="RGBA")}
        )
    )

    assert dict(pixels(data, "test"))["test/dog/d.png"] == 0x80
    assert dict(pixels(data, "test"))["test/dog/t.png"] == 255


@pytest.mark.parametrize(("mode", "white"), [("I;16", 65535), ("F", 1.0)])
@pytest.mark.parametrize("resident_mb", [1, 100])
def test_brightness_is_comparable_between_deep_images(tmp_path, mode, white, resident_mb):
    size = (300, 200) if resident_mb == 1 else (4, 3)
    for label, share in (("dark", 0.002), ("darker", 0.001), ("light", 0.9)):
        for number in range(3):
            path = tmp_path / label / f"{number}.tif"
            path.parent.mkdir(exist_ok=True)
            Image.new(mode, size, type(white)(white * share)).save(path)
    write(tmp_path, {"light/8bit.png": png(230, size=size)})

    data = image_folder(path=tmp_path, dev_size=0, test_size=0.0, normalize="unit", resident_mb=resident_mb)

    split = data.split("train")
    batch = split.columns["images"] if resident_mb > 1 else torch.stack([row["images"] for row in split])
    found = split.prepare({"images": batch}, None, False)["images"][:, 0, 0, 0]
    by_name = dict(zip(data.names("train"), found.tolist(), strict=True))
    assert by_name == {
        name: pytest.approx(
            {"dark": 0.002, "darker": 0.001, "light": 0.9}[name.split("/")[0]], abs=0.01 if "8" in name else 2e-5
        )
        for name in by_name
    }
    assert data.pictures("train", torch.tensor([0])).dtype == torch.uint8
    for name in by_name:
        assert data.encode(str(tmp_path / name))["images"][0, 0, 0].item() == by_name[name]


def test_deep_images_are_standardized_by_their_own_mean(tmp_path):
    for label, value in (("dark", 100), ("light", 300)):
        for number in range(2):
            path = tmp_path / label / f"{number}.tif"
            path.parent.mkdir(exist_ok=True)
            Image.new("I;16", (4, 3), value).save(path)

    data = image_folder(path=tmp_path, dev_size=0, test_size=0.0)

    state = data.state()
    assert state["mean"] == pytest.approx([200 / 257])
    assert state["std"] == pytest.approx([100 / 257])


def test_deep_grey_among_colors_is_repeated_for_three_channels(tmp_path):
    write(tmp_path, classes("train/") | {"train/cat/red.png": png((255, 0, 0), mode="RGB")})
    Image.new("F", (4, 3), 0.5).save(tmp_path / "train/dog/deep.tif")

    data = image_folder(path=tmp_path, dev_size=0)

    images = dict(zip(data.names("train"), data.split("train").columns["images"], strict=True))
    assert images["train/dog/deep.tif"][:, 0, 0].tolist() == [127.5] * 3
    assert images["train/cat/red.png"][:, 0, 0].tolist() == [255, 0, 0]


def test_a_light_training_image_keeps_predictions_from_inverting_such_pictures(tmp_path):
    folder = write(tmp_path, classes(counts=(("cat", 20), ("dog", 20))) | {"dog/light.png": png(240)})
    data = image_folder(path=folder, dev_size=0, test_size=0.0, normalize="none")

    assert data.encode(str(folder / "dog/light.png"))["images"][0, 0, 0] == 240


def bomb(width, height):
    def chunk(member_type, content):
        return (
            struct.pack(">I", len(content))
            + member_type
            + content
            + struct.pack(">I", zlib.crc32(member_type + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD = [
    (b"", "bad.png: the file is empty; expected an image"),
    (
        b"hello",
        "bad.png cannot be read as an image: unknown format; expected PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM; repair it",
    ),
    (png(size=(90, 90))[:-40], "bad.png cannot be read as an image: "),
    (bomb(20_000, 20_000), "bad.png: too many pixels; expected at most 100,000,000"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
@pytest.mark.parametrize("pack", [write, lambda path, files: tarred(path / "a.tar.gz", files)])
def test_a_file_that_cannot_be_read_stops_or_is_skipped(tmp_path, content, message, pack):
    path = pack(tmp_path, SPLITS | {"train/cat/bad.png": content})

    refused(path, message)
    refused(path, 'repair it, or skip such files: data.unreadable = "skip"')
    with pytest.warns(UserWarning, match="skipped 1 file that cannot be read: train/cat/bad.png"):
        assert len(image_folder(path=path, unreadable="skip", dev_size=0).names("train")) == 8


def test_there_has_to_be_an_image_that_can_be_read(tmp_path):
    path = write(tmp_path, {"cat/0.png": b"x"})

    with pytest.warns(UserWarning, match="skipped 1 file"):
        refused(path, f"{path}: no image that can be read; expected train/CLASS/*.png", unreadable="skip")


@pytest.mark.parametrize("sizes", [{}, {"test_size": 0.25, "dev_size": 0.2}])
def test_a_trained_model_is_evaluated_on_new_images_alone(tmp_path, sizes):
    old = classes(counts=[("ape", 4), ("cat", 9), ("dog", 6)])
    trained = image_folder(path=write(tmp_path / "old", old), **sizes)
    new = image_folder(path=write(tmp_path / "new", classes("test/", [("dog", 3), ("cat", 1)])), **sizes)

    new.restore(trained.state())

    assert new.splits == ("test",)
    assert new.split("test").columns["targets"].tolist() == [1, 2, 2, 2]  # of ape, cat, dog
    with pytest.raises(DataError, match=r"/new: no images of train, which an evaluator compares with; add"):
        new.split("train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": b"x"}, "no image in it (.bmp, .gif"),
        ({"0.png": png()}, "1 images (0.png), but no class folders; expected train/CLASS/*.png"),
        (SPLITS | {"val/cat/0.png": png(), "dev/cat/0.png": png()}, "dev, val are all the dev split; keep one of them"),
        (
            classes("test/"),
            ": no training image that can be read, only images of test; add some. To evaluate a trained",
        ),
        (
            SPLITS | {"test/owl/0.png": png()},
            "the test split has classes that the train split lacks: owl; add training",
        ),
        (SPLITS | {"train/owl/x.txt": b""}, "owl: this class has no images; add some, or remove the folder"),
        (classes() | {"owl/x.txt": b""}, "owl: this class has no images; add some, or remove the folder"),
    ],
)
def test_folders_without_a_valid_data_set_are_refused(tmp_path, files, message):
    refused(write(tmp_path, files), message)
    refused(tarred(tmp_path / "a.tar.gz", files), message)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train/cat/x.txt": b"", "train/0.png": png()},
            "left out 2 files, no image of a class: train/0.png, train/cat/x.txt",
        ),
        ({"train/owl/0.png": png(), "test/owl/0.png": png()}, "only one training image of owl; add more"),
    ],
)
def test_suspicious_files_and_classes_give_a_warning(tmp_path, files, message):
    with pytest.warns(UserWarning, match=message):
        image_folder(path=write(tmp_path, SPLITS | files), dev_size=0).split("train")


@pytest.mark.parametrize("resident_mb", [1, 100])
def test_copies_across_splits_are_found_in_memory_or_not(tmp_path, resident_mb):
    files = classes("train/", size=(500, 600)) | {
        "test/cat/x.png": png(2, size=(500, 600)),
        "test/dog/y.png": png(77, size=(500, 600)),
    }
    data = image_folder(path=write(tmp_path, files), dev_size=0, resident_mb=resident_mb)

    exact, near = data.copies("test", "train")

    assert dict(zip(data.names("test"), exact.tolist(), strict=True)) == {
        "test/cat/x.png": True,
        "test/dog/y.png": False,
    }
    assert torch.equal(near, exact)
    assert data.split("test").prepare is not None
    assert split_report(data)[0] == ["train by class: cat (4), dog (4)", "test by class: cat (1), dog (1)"]


def test_hidden_files_and_a_readme_give_no_warning(tmp_path, recwarn):
    hidden = {".DS_Store": b"", "train/.x/0.png": b"", "__MACOSX/train/cat/._0.png": b"", "README": b""}

    data = image_folder(path=zipped(tmp_path / "a.zip", SPLITS | hidden), dev_size=0)

    assert len(data.names("train")) == 8
    assert not recwarn.list


@pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "train/cat/../../../x.png"])
def test_archive_members_with_paths_outside_are_refused(tmp_path, name):
    for path in (tarred(tmp_path / "a.tar", SPLITS | {name: png()}, "w"), zipped(tmp_path / "a.zip", {name: png()})):
        refused(path, f"member {name!r} would be outside the archive; repack it")


@pytest.mark.parametrize("member_type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive_are_refused(tmp_path, member_type):
    member = tarfile.TarInfo("train/cat/link.png")
    member.type, member.linkname = member_type, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(member)
    link = zipfile.ZipInfo("train/cat/link.png")
    link.external_attr = 0o120777 << 16
    zipped(tmp_path / "a.zip", {link: b"/etc/passwd"})

    for name in ("a.tar.gz", "a.zip"):
        refused(
            tmp_path / name,
            "member 'train/cat/link.png' is a link or device; repack it with files only",
        )


def test_archive_bombs_are_refused(tmp_path, monkeypatch):
    large = tarred(tmp_path / "a.tar.gz", {"cat/0.png": bytes(3_000_000)})
    refused(large, "unpacks to more than the 1,000,000 bytes that resident_mb allows; if you trust it", resident_mb=1)

    monkeypatch.setattr(file_store, "MAX_FILE", 1000)
    refused(
        zipped(tmp_path / "a.zip", {"cat/0.png": bytes(3000)}),
        "0.png: 3,000 bytes; expected at most 1,000; remove the file",
    )

    monkeypatch.setattr(file_store, "MAX_MEMBERS", 5)
    refused(
        tarred(tmp_path / "b.tar", SPLITS, "w"), "more than 5 members; expected a data set of at most that many files"
    )


def archive(path):
    """Return a small archive of a kind that follows from its suffix."""
    files = {f"{label}/{number}.png": png(number) for label in "ab" for number in range(3)}
    if path.suffix == ".zip":
        return zipped(path, files)
    return tarred(path, files, f"w:{path.suffix[1:].replace('tar', '')}")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip"])
def test_an_archive_cut_anywhere_is_refused_or_complete(tmp_path, suffix):
    content = archive(tmp_path / f"whole{suffix}").read_bytes()

    def read(path):
        files = file_store.open_files(path, 1_000_000)
        return {name: files.read(name) for name in files.sizes}

    whole, refused = read(tmp_path / f"whole{suffix}"), 0
    for length in range(1, len(content), 10):
        (tmp_path / f"cut{suffix}").write_bytes(content[:length])
        try:
            assert read(tmp_path / f"cut{suffix}") == whole, length
        except InputError as error:
            assert str(error).startswith(str(tmp_path / f"cut{suffix}"))
            refused += 1
    assert refused >= 6 * 1024 // 10 if suffix == ".tar" else refused >= len(content) // 10 - 2


def test_a_tar_without_its_end_mark_is_refused(tmp_path):
    whole = archive(tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 4 * 1024])

    refused(tmp_path / "a.tar", "a.tar: the archive ends at byte 4,096 without its end mark, so it was cut off; get it")


def test_a_tar_with_more_behind_its_end_is_refused(tmp_path):
    whole = archive(tmp_path / "a.tar").read_bytes()
    (tmp_path / "joined.tar").write_bytes(whole + whole)
    (tmp_path / "damaged.tar").write_bytes(whole[:2048] + b"x" * 512 + whole[2560:])

    for name in ("joined.tar", "damaged.tar"):
        refused(tmp_path / name, "and those after it are not part of the archive; it is damaged, or several archives")


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("train_set", "test_set")])
@pytest.mark.parametrize("pack", [lambda path, files: write(path / "f", files), lambda p, f: zipped(p / "a.zip", f)])
def test_folders_of_splits_are_known_by_their_common_names(tmp_path, names, pack):
    files = {name.replace("train", names[0]).replace("test", names[1]): content for name, content in SPLITS.items()}

    data = image_folder(path=pack(tmp_path, files), dev_size=0)

    assert data.splits == ("train", "test")
    assert data.labels == ["cat", "dog"]


def test_classes_may_have_names_of_splits_if_none_is_for_training(tmp_path):
    data = image_folder(path=write(tmp_path, classes(counts=(("Valid", 4), ("Invalid", 4)))), dev_size=0, test_size=0.0)

    assert data.labels == ["Invalid", "Valid"]


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "racing"), ("val", "test")])
def test_splits_without_classes_are_not_taken_for_classes(tmp_path, names):
    folder = write(tmp_path, classes(counts=[(name, 4) for name in names]))

    refused(folder, "but no class folders; expected train/CLASS/*.png (and test/CLASS/*.png), or CLASS/*.png")


def test_links_are_followed(tmp_path):
    write(tmp_path / "data", classes("train/"))
    write(tmp_path / "elsewhere", classes())
    (tmp_path / "data/test").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/train/cat/link.png").symlink_to(tmp_path / "elsewhere/dog/1.png")

    data = image_folder(path=tmp_path / "data", dev_size=0)

    assert len(data.names("test")) == 8
    assert ("train/cat/link.png", 1) in pixels(data, "train")
    assert len(data.expand(str(tmp_path / "data/test"))) == 8


def test_links_that_multiply_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(file_store, "MAX_MEMBERS", 100)
    for level in range(8):
        (tmp_path / f"{level}").mkdir()
        for name in "ab":
            (tmp_path / f"{level}/{name}").symlink_to(tmp_path / f"{level + 1}")
    write(tmp_path, {"8/0.png": png()})

    refused(tmp_path / "0", "0: more than 100 files and folders, counting linked ones each time")


def test_links_to_nowhere_and_pipes_are_refused(tmp_path):
    for name, build, message in (
        ("loop", lambda path: path.symlink_to(tmp_path / "loop"), "x: this link leads back to"),
        (
            "dead",
            lambda path: path.symlink_to("none.png"),
            "x: a link to none.png, which is missing; expected files and",
        ),
        ("pipe", os.mkfifo, "x: a pipe or device; expected files and folders; remove it"),
    ):
        write(tmp_path / name, SPLITS)
        build(tmp_path / name / "train/cat/x")

        refused(tmp_path / name, message)


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    write(tmp_path, {"x.tar.gz": gzip.compress(b"hello"), "x.zip": b"PK", "y.tar.gz": gzip.compress(bytes(99))[:-9]})

    refused(tmp_path / "none", "none: no such folder or archive")
    for name in ("x.tar.gz", "x.zip", "y.tar.gz"):
        refused(tmp_path / name, f"{name} cannot be read: ")
    with pytest.raises(InputError, match=r"path is not set; give the folder of the images: --set data.path=DIR"):
        image_folder()


@pytest.mark.parametrize("pack", ["folder", "a.tar", "a.tar.gz", "a.zip"])
def test_images_that_exceed_the_memory_limit_are_read_when_needed_in_workers_too(tmp_path, pack):
    files = classes("train/", (("cat", 3), ("dog", 4)), size=(500, 600)) | classes("test/", size=(500, 600))
    path = {
        "folder": lambda: write(tmp_path / "folder", files),
        "a.tar": lambda: tarred(tmp_path / "a.tar", files, "w"),
        "a.tar.gz": lambda: tarred(tmp_path / "a.tar.gz", files),
        "a.zip": lambda: zipped(tmp_path / "a.zip", files),
    }[pack]()
    lazy, resident = (image_folder(path=path, resident_mb=mb, dev_size=2, normalize="none") for mb in (1, 100))

    traveled = pickle.loads(pickle.dumps(lazy.split("train")))
    batch = next(iter(DataLoader(lazy.split("train"), batch_size=5, num_workers=2)))

    assert lazy.facts == resident.facts
    assert torch.equal(batch["images"], resident.split("train").columns["images"])
    assert torch.equal(batch["targets"], resident.split("train").columns["targets"])
    assert torch.equal(traveled[3]["images"], batch["images"][3])
    assert traveled.prepare is None
    assert callable(lazy.split("train").prepare)


def test_a_changed_file_changes_the_fingerprint_of_images_not_in_memory(tmp_path):
    files = classes("train/", size=(500, 600))
    before = image_folder(path=write(tmp_path, files), resident_mb=1, dev_size=0).fingerprint()
    again = image_folder(path=tmp_path, resident_mb=1, dev_size=0).fingerprint()
    image = tmp_path / "train/cat/0.png"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of equal size

    assert again == before
    assert image_folder(path=tmp_path, resident_mb=1, dev_size=0, unreadable="skip").fingerprint() != before


def test_any_bytes_are_read_or_refused(tmp_path):
    seeds = [b"", png(3), png((1, 2, 3), mode="RGB"), tarred(tmp_path / "s.tar", classes(), "w").read_bytes()[:9000]]
    seeds.append(zipped(tmp_path / "s.zip", classes(counts=(("cat", 2),))).read_bytes())
    seeds.append(tarred(tmp_path / "s.tar.gz", classes()).read_bytes())

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(
        st.sampled_from(seeds),
        st.binary(max_size=12),
        st.integers(0, 9000),
        st.sampled_from(["a.any", "d/c/0.png", "t.csv"]),
    )
    def check(seed, content, position, name):
        position %= len(seed) + 1
        write(tmp_path, {name: seed[:position] + content + seed[position + len(content) :]})
        try:
            image_folder(path=tmp_path / name.split("/")[0], dev_size=0, test_size=0.0).split("train")
        except DlpipeError as error:
            assert str(error).startswith(os.fspath(tmp_path))

    check()


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        (
            ("train", "test"),
            {"test_size": 0.5},
            "test_size = 0.5 has no effect: {} defines the splits; remove test_size",
        ),
        (("train", "dev"), {"dev_size": 3}, "dev_size = 3 has no effect: {} has a dev split; remove dev_size"),
    ],
)
def test_the_size_of_a_split_that_the_files_define_is_refused(tmp_path, splits, options, message):
    for split in splits:
        write(tmp_path, classes(f"{split}/"))

    refused(tmp_path, message.format(tmp_path), **options)
