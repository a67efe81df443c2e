"""Labeled images: splits, statistics, normalization, and predictions for a user's pictures."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dlpipe.errors import DataError, InputError
from dlpipe_vision import image_statistics, labeled_images
from dlpipe_vision.image_sets import ImageSet, ImageSplits
from dlpipe_vision.labeled_images import LabeledImages

IMAGES = torch.randint(256, (12, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2] * 4)
TRAIN = ImageSet(IMAGES, TARGETS, [f"{number}.png" for number in range(12)])


def reading(train=TRAIN, labels=("cat", "dog", "owl"), **sets):
    return ImageSplits(labels, {"train": train, **sets})


def data(*arguments, **options):
    return LabeledImages(lambda: reading(*arguments), **options)


def prepared(made, split="train", *, training=False, seed=0):
    columns = made.split(split)
    batch = columns.batch(torch.arange(len(columns)))
    return columns.prepare(batch, torch.Generator().manual_seed(seed), training)["images"]


def no_reading():
    raise AssertionError("files are read")


@pytest.mark.parametrize(("dev_size", "size"), [(0.25, 3), (0.3, 4), (5, 5), (1, 1), (11, 11)])
@pytest.mark.filterwarnings("ignore:.*no training image")
def test_dev_size_is_a_number_or_a_share_that_is_rounded_up(dev_size, size):
    made = data(dev_size=dev_size)

    assert (len(made.split("dev")), len(made.split("train"))) == (size, 12 - size)
    assert sorted([*made.names("dev"), *made.names("train")]) == sorted(TRAIN.names)


@pytest.mark.parametrize("dev_size", [0, 0.0])
def test_there_is_no_dev_split_if_dev_size_is_0(dev_size):
    assert data(dev_size=dev_size).splits == ("train",)


def test_there_is_no_dev_split_if_every_class_has_one_image():
    made = data(TRAIN.subset(torch.arange(3)), dev_size=0.1)

    assert made.splits == ("train",)
    assert len(made.split("train")) == 3


@pytest.mark.parametrize("dev_size", [12, 13, 0.99])
def test_a_dev_split_that_leaves_no_training_image_is_refused(dev_size):
    with pytest.raises(
        InputError, match=re.escape(f"dev_size = {dev_size}: there are 12 training images; leave some for training")
    ):
        data(dev_size=dev_size).split("train")


def test_a_dev_split_of_the_files_is_used_unchanged():
    made = LabeledImages(lambda: reading(dev=TRAIN.subset(torch.tensor([3, 4]))), dev_size=5)

    assert (len(made.split("dev")), len(made.split("train"))) == (2, 12)


def test_dev_is_taken_evenly_from_all_classes_whatever_their_order():
    for order in (TARGETS, TARGETS.sort().values, TARGETS.sort(descending=True).values):
        made = data(ImageSet(IMAGES, order, TRAIN.names), dev_size=6)

        assert made.split("dev").columns["targets"].bincount().tolist() == [2, 2, 2]


@pytest.mark.parametrize(("limit", "size"), [(5, 5), (12, 12), (99, 12)])
def test_limit_keeps_the_first_images(limit, size):
    assert list(data(limit=limit).names("train")) == list(TRAIN.names[:size])


def test_facts_are_those_of_the_training_images():
    labels = ["cat", "dog", "owl"]

    facts = data(normalize="unit").facts

    assert facts == {"image_shape": (3, 4, 6), "num_classes": 3, "labels": labels, "pixel_range": (0.0, 1.0)}


@pytest.mark.parametrize("normalize", ["standardize", "unit", "symmetric", "none"])
def test_the_pixel_range_is_that_of_black_and_white(normalize):
    made = data(normalize=normalize)
    both = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 4, 6)

    prepared_both = made._normalized(both)

    assert_close(made.facts["pixel_range"], (float(prepared_both.min()), float(prepared_both.max())))


@pytest.mark.parametrize("lazy", [False, True])
def test_means_and_deviations_are_those_of_the_pixels(lazy):
    state = data(replace(TRAIN, images=list(IMAGES)) if lazy else TRAIN).state()

    pixels = IMAGES.double().transpose(0, 1).flatten(1)
    assert_close(torch.tensor(state["mean"]), pixels.mean(1).float())
    assert_close(torch.tensor(state["std"]), pixels.std(1, correction=0).float())


@pytest.mark.parametrize("from_files", [False, True])
def test_statistics_are_those_of_the_training_split_only(from_files):
    others = {"test": ImageSet(IMAGES[:5] // 8, TARGETS[:5])}
    others |= {"dev": ImageSet(255 - IMAGES[:3] // 8, TARGETS[:3])} if from_files else {}
    made = LabeledImages(lambda: reading(**others), dev_size=0 if from_files else 5, normalize="standardize")

    train = made.split("train").columns["images"].double().transpose(0, 1).flatten(1)
    mean, deviation = train.mean(1).view(3, 1, 1), train.std(1, correction=0).view(3, 1, 1)
    assert len(made.split("train")) == (12 if from_files else 7)
    for split in ("train", "dev", "test"):
        images = made.split(split).columns["images"]
        assert_close(prepared(made, split), ((images - mean) / deviation).float())


def test_statistics_use_only_a_sample_of_images_that_are_read_one_by_one(monkeypatch):
    monkeypatch.setattr(image_statistics, "STATISTICS_SAMPLE", 5)

    class Counted(list):
        seen = 0

        def __getitem__(self, index):
            self.seen += 1
            return super().__getitem__(index)

    images = Counted(IMAGES[:9])

    data(ImageSet(images, TARGETS[:9])).state()

    assert images.seen == 5


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("unit", IMAGES / 255),
        ("symmetric", IMAGES / 127.5 - 1),
        ("none", IMAGES.float()),
        (
            "standardize",
            (IMAGES - IMAGES.float().mean((0, 2, 3), keepdim=True))
            / IMAGES.float().std((0, 2, 3), keepdim=True, correction=0),
        ),
    ],
)
def test_pixels_are_normalized(normalize, expected):
    made = data(normalize=normalize)

    assert_close(prepared(made), expected, atol=1e-4, rtol=1e-5)
    assert_close(
        prepared(data(normalize=normalize, augment={"noise": 1e-9}), training=True), expected, atol=1e-3, rtol=0
    )


def test_images_stay_bytes_until_they_are_in_a_batch():
    assert data().split("train").columns["images"].dtype == torch.uint8


def test_noise_is_the_same_at_every_evaluation_and_absent_in_training():
    made, plain = data(noise=0.1, normalize="unit"), data(normalize="unit")

    assert prepared(made).equal(prepared(made))
    assert not prepared(made).equal(prepared(plain))
    assert prepared(made, training=True).equal(prepared(plain))


def test_images_are_augmented_only_in_training():
    made, plain = data(augment={"flip": True}), data()

    assert prepared(made).equal(prepared(plain))
    assert not prepared(made, training=True).equal(prepared(plain))


def test_a_split_is_transformed_before_it_is_normalized():
    columns = data(normalize="symmetric").transformed("train", lambda images, generator: 1 - images)

    batch = columns.prepare(columns.batch(torch.tensor([4, 1])), torch.Generator(), False)

    assert_close(batch["images"], 1 - IMAGES[[4, 1]] / 127.5, atol=1e-5, rtol=0)
    assert batch["targets"].tolist() == [1, 1]


def test_a_transformed_split_has_the_noise_of_evaluation():
    made = data(noise=1.5)
    columns = made.transformed("train", lambda images, generator: images)

    batch = columns.prepare(columns.batch(torch.arange(12)), torch.Generator().manual_seed(0), False)

    assert batch["images"].equal(prepared(made))


@pytest.mark.parametrize("images", [IMAGES, list(IMAGES)], ids=["tensor", "one by one"])
def test_pictures_and_names_are_those_of_the_files(images):
    made = data(ImageSet(images, TARGETS))

    assert made.pictures("train", torch.tensor([7, 2])).equal(IMAGES[[7, 2]])
    assert list(made.names("train"))[10:] == ["10", "11"]


def test_the_state_is_restored_from_json_without_reading_files(tmp_path):
    made, restored = data(), LabeledImages(no_reading)
    Image.new("RGB", (9, 9), (10, 90, 200)).save(tmp_path / "own.png")

    restored.restore(json.loads(json.dumps(made.state())))

    assert restored.facts == made.facts
    own = str(tmp_path / "own.png")
    assert restored.encode(own)["images"].equal(made.encode(own)["images"])
    content = (tmp_path / "own.png").read_bytes()
    example = restored.encode_content("/nowhere.png", content)
    assert example["images"].equal(made.encode(own)["images"])
    assert restored.present("/nowhere.png", torch.tensor(1), None, example=example)["label"] == "dog"


def test_statistics_that_are_restored_later_replace_those_of_the_images():
    made, darker = data(), data(ImageSet(IMAGES // 2, TARGETS))
    before = prepared(made)

    made.restore(darker.state())

    assert not prepared(made).equal(before)


def of_training(labels, images=IMAGES):
    """Return other data with these classes, restored for a model that was trained on `data`."""
    other = LabeledImages(lambda: reading(TRAIN, labels, test=ImageSet(images[:4], TARGETS[:4])))
    other.restore(data().state())
    return other


@pytest.mark.parametrize("lazy", [False, True])
def test_other_data_has_the_class_numbers_of_training(lazy):
    split = of_training(["owl", "cat", "dog"], list(IMAGES) if lazy else IMAGES).split("test")

    targets = [split[row]["targets"] for row in range(4)] if lazy else split.columns["targets"]
    assert list(map(int, targets)) == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            of_training(["owl", "cow", "cat"]),
            '1 image of test in classes that training did not have: ["cow"]; expected those of ["cat", "dog", '
            '"owl"]. Rename these classes, or leave the images out',
        ),
        (
            of_training(["cat", "dog", "owl"], IMAGES[:, :1]),
            "the images of test have the shape [1, 4, 6] (channels, height, width); expected [3, 4, 6], as in training",
        ),
    ],
    ids=["class", "shape"],
)
def test_other_data_that_does_not_fit_a_trained_model_is_refused(other, message):
    for split in (other.split, lambda name: other.transformed(name, lambda images, generator: images)):
        with pytest.raises(DataError, match=re.escape(message)):
            split("test")


@pytest.mark.parametrize(
    "other",
    [
        replace(TRAIN, images=IMAGES.index_fill(0, torch.tensor(3), 0)),
        replace(TRAIN, targets=TARGETS.flip(0)),
        replace(TRAIN, names=[f"{number}.jpg" for number in range(12)]),
    ],
    ids=["pixels", "label", "name"],
)
def test_the_fingerprint_changes_with_the_data(other):
    assert data().fingerprint() == data().fingerprint() != data(other).fingerprint()


def test_a_folder_is_expanded_to_its_images(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "notes.txt", "deep/a.JPG"):
        (tmp_path / name).touch()

    with pytest.warns(UserWarning, match=r"left out 1 of 3 files: no images \(.txt\); expected .bmp, .gif"):
        found = data().expand(str(tmp_path))

    assert found == [str(tmp_path / "b.png"), str(tmp_path / "deep" / "a.JPG")]
    assert data().expand("one.png") == ["one.png"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: this folder contains no image (.bmp, .gif,")):
        data().expand(str(tmp_path))


def test_a_prediction_has_the_class_the_best_ones_and_the_changes_to_the_picture(tmp_path):
    made, own = data(), str(tmp_path / "own.png")
    Image.new("RGB", (12, 8)).save(own)

    answer = made.present(own, torch.tensor(2), torch.tensor([0.5, 0.2, 0.3]), top=2, example=made.encode(own))

    assert answer == {
        "label": "owl",
        "probability": 0.3,
        "top": [{"label": "cat", "probability": 0.5}, {"label": "owl", "probability": 0.3}],
        "prepared": ["resized from 12×8 to 6×4"],
    }


def test_pixels_are_shuffled_in_the_same_order_for_all_images_and_splits():
    plain, made = data(dev_size=4, normalize="none"), data(dev_size=4, normalize="none", shuffle_pixels=True)
    numbers = torch.arange(24.0).view(1, 1, 4, 6)

    order = labeled_images.permute_pixels(numbers).flatten().long()

    assert order.sort().values.tolist() == list(range(24)) != order.tolist()
    for split in ("train", "dev"):
        assert_close(prepared(made, split).flatten(-2), prepared(plain, split).flatten(-2)[..., order])


def test_a_share_of_the_training_images_has_the_label_of_another_class():
    right, wrong = (data(dev_size=4, label_noise=noise) for noise in (0.0, 0.5))
    targets = [made.split("train").columns["targets"] for made in (right, wrong)]

    differ = targets[0] != targets[1]

    assert int(differ.sum()) == round(len(differ) / 2)
    assert torch.equal(
        wrong.split("train").columns["targets"], data(dev_size=4, label_noise=0.5).split("train").columns["targets"]
    )
    assert torch.equal(right.split("dev").columns["targets"], wrong.split("dev").columns["targets"])
    assert right.fingerprint() != wrong.fingerprint()


def test_a_users_picture_is_shuffled_in_the_same_order(tmp_path):
    made = data(normalize="none", shuffle_pixels=True)
    Image.fromarray(IMAGES[5].permute(1, 2, 0).numpy()).save(tmp_path / "mine.png")

    assert_close(made.encode(str(tmp_path / "mine.png"))["images"], prepared(made)[5])


def test_only_training_images_are_imbalanced():
    equal, unequal = (data(dev_size=4, imbalance=imbalance) for imbalance in (1.0, 8.0))

    counts = unequal.split("train").columns["targets"].bincount().tolist()

    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 1
    assert torch.equal(equal.split("dev").columns["targets"], unequal.split("dev").columns["targets"])
    assert equal.fingerprint() != unequal.fingerprint()


def test_no_picture_is_inverted_if_some_training_image_has_a_light_background():
    dark = torch.zeros(9, 1, 4, 6, dtype=torch.uint8)
    mixed = dark.clone()
    mixed[3] = 255

    assert image_statistics.image_statistics(dark)["light_on_dark"]
    assert not image_statistics.image_statistics(mixed)["light_on_dark"]
