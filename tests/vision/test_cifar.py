"""CIFAR's files: their contents, and every way they can be wrong."""

from __future__ import annotations

import io
import re
import tarfile

import pytest
import torch
from PIL import Image

from dlpipe.errors import DataError
from dlpipe_vision.cifar import CIFAR10, PIXELS, cifar, cifar10

TEN = "".join(f"class{number}\n" for number in range(10)) + "\n"


def record(*labels, pixel=0):
    return bytes(labels) + bytes([pixel]) + bytes(PIXELS - 1)


def ten(folder):
    (folder / "data_batch_1.bin").write_bytes(record(3, pixel=10) + record(9, pixel=20))
    (folder / "data_batch_2.bin").write_bytes(record(0, pixel=30))
    (folder / "test_batch.bin").write_bytes(record(1, pixel=40))
    (folder / "batches.meta.txt").write_text(TEN)
    return folder


def hundred(folder):
    (folder / "train.bin").write_bytes(record(19, 99) + record(2, 42))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{number}" for number in range(100)))
    return folder


def refused(path, message, component=cifar, **options):
    with pytest.raises(DataError, match=re.escape(message)):
        component(path=path, dev_size=0, **options).split("train")


@pytest.mark.parametrize("component", [cifar, cifar10])
def test_cifar_10_is_read_from_a_folder_or_its_archive(tmp_path, component):
    ten(tmp_path)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for file in tmp_path.glob("*_*.bin"):
            archive.add(file, f"cifar-10-batches-bin/{file.name}")
        archive.add(tmp_path / "batches.meta.txt", "cifar-10-batches-bin/batches.meta.txt")

    data, packed = (component(path=path, dev_size=0) for path in (tmp_path, tmp_path / "a.tar.gz"))

    assert data.facts["image_shape"] == (3, 32, 32)
    assert data.labels[9] == "class9"
    assert data.split("train").columns["targets"].tolist() == [3, 9, 0]
    assert data.pictures("train", torch.arange(3))[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert data.pictures("test", torch.arange(1))[0, 0, 0, :2].tolist() == [40, 0]
    assert packed.fingerprint() == data.fingerprint()


def test_a_file_cut_off_between_two_images_shows_in_their_number(tmp_path):
    message = r"3 images for train; the published CIFAR has 50,000, so a file is missing or was cut off"
    with pytest.warns(UserWarning, match=message):
        cifar(path=ten(tmp_path), dev_size=0).split("train")


def test_cifar_100_has_fine_and_coarse_labels(tmp_path):
    fine, coarse = (cifar(path=hundred(tmp_path), dev_size=0, labels=labels) for labels in ("fine", "coarse"))

    assert fine.split("train").columns["targets"].tolist() == [99, 42]
    assert fine.labels[99] == "fine99"
    assert coarse.split("train").columns["targets"].tolist() == [19, 2]
    assert coarse.labels == [str(number) for number in range(20)]  # there is no coarse_label_names.txt
    assert fine.splits == ("train",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data_batch_2.bin: 0 bytes; expected a multiple of 3,073 (1 of labels and 3×32×32 of pixels"),
        (record(1)[:-1], "data_batch_2.bin: 3,072 bytes; expected a multiple of 3,073"),
        (record(10), "data_batch_2.bin: label 10; expected 0 to 9. Download the file again"),
    ],
)
def test_a_damaged_file_is_refused_with_what_was_expected(tmp_path, content, message):
    (ten(tmp_path) / "data_batch_2.bin").write_bytes(content)

    refused(tmp_path, message)


def test_a_wrong_number_of_names_is_refused(tmp_path):
    (ten(tmp_path) / "batches.meta.txt").write_text("cat dog")

    refused(tmp_path, "batches.meta.txt: 2 class names; expected 10, one per line")


def test_coarse_labels_of_cifar_10_are_refused(tmp_path):
    refused(
        ten(tmp_path),
        f'labels = "coarse": {tmp_path} is CIFAR-10, which has no coarse labels; remove labels',
        labels="coarse",
    )


@pytest.mark.parametrize("component", [cifar, cifar10])
def test_the_pickled_version_is_refused_and_the_page_of_the_binary_one_is_given(tmp_path, component):
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q")

    refused(
        tmp_path,
        "this is the pickled version, which can run code when it is read; get the binary version from",
        component,
    )


def test_a_folder_without_cifar_is_refused_with_the_expected_files(tmp_path):
    refused(
        tmp_path, "it contains no data_batch_1.bin or train.bin; get the binary version from https://www.cs.toronto"
    )


def test_cifar10_accepts_folders_of_classes(tmp_path):
    for name in ("train/cat/0", "train/cat/1", "test/cat/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        Image.new("RGB", (5, 4), "red").save(content, "PNG")
        (tmp_path / f"{name}.png").write_bytes(content.getvalue())

    data = cifar10(path=tmp_path, dev_size=0)

    assert (data.splits, data.labels) == (("train", "test"), ["cat"])


def test_a_missing_path_is_refused_with_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))

    with pytest.raises(DataError, match=r"path is not set; give the folder or .tar.gz of CIFAR: --set data.path=DIR"):
        cifar()
    with pytest.raises(
        DataError, match=r"path is not set; give the folder or archive of CIFAR-10 .* \(--set data.download=true\)"
    ):
        cifar10()
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz is missing and offline = true"):
        cifar10(download=True, offline=True).split("train")
    assert len(CIFAR10.sha256) == 64


@pytest.mark.slow
def test_cifar_10_as_jpeg_files_has_the_published_sizes(real_data):
    data = cifar10(path=real_data / "cifar10" / "cifar10-jpg.tar.gz", dev_size=0)

    assert data.labels[:3] == ["airplane", "automobile", "bird"]
    assert data.split("train").columns["targets"].bincount().tolist() == [5000] * 10
    assert data.split("test").columns["targets"].bincount().tolist() == [1000] * 10
