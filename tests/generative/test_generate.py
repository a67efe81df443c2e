from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.gan import GAN
from dlpipe_generative.gaussian_ring import GaussianRing
from dlpipe_generative.generate import generate
from dlpipe_generative.vae import VAE

from .conftest import Stripes

CPU = Compute(torch.device("cpu"))
CELL = (62, 42)  # of an image of 4×6 pixels, magnified ten times, and the gap


def dcgan(**options):
    torch.manual_seed(0)
    return DCGAN((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, num_classes=3, **options)


def vae(**options):
    torch.manual_seed(0)
    return VAE((1, 4, 6), (0.0, 1.0), hidden=(5,), latent_dim=3, num_classes=3, **options)


class NumberedStripes(Stripes):
    """`Stripes` whose test images can be given by number, or as a range of numbers."""

    def expand(self, item: str) -> list[str]:
        first, _, last = item.partition("-")
        return [str(number) for number in range(int(first), int(last or first) + 1)]

    def encode(self, item: str) -> dict[str, Tensor]:
        return {"images": self.split("test").columns["images"][int(item)]}

    def present(self, item: str, prediction: Tensor) -> dict[str, Any]:
        return {"image": item, "class": int(prediction)}


@pytest.fixture
def pictures() -> NumberedStripes:
    return NumberedStripes()


def test_samples_are_arranged_in_a_grid(dark_stripes, tmp_path):
    (answer,) = generate(dcgan(), dark_stripes, CPU, count=9, seed=1, output=tmp_path / "samples.png")

    assert answer == {"written": str(tmp_path / "samples.png"), "images": 9, "seed": 1}
    assert Image.open(tmp_path / "samples.png").size == (3 * CELL[0] + 2, 3 * CELL[1] + 2)


def test_samples_depend_on_the_seed(dark_stripes, tmp_path):
    model = dcgan()
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        list(generate(model, dark_stripes, CPU, count=2, seed=seed, output=tmp_path / f"{name}.npz"))

    first, second, third = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("first", "second", "third"))

    assert first.shape == (2, 1, 4, 6)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_folder_gets_one_file_per_image(dark_stripes, tmp_path):
    list(generate(dcgan(), dark_stripes, CPU, count=2, output=tmp_path / "samples"))

    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["00000.png", "00001.png"]
    with pytest.raises(
        InputError, match="--output .*samples: the folder is not empty; empty it, or choose another one"
    ):
        list(generate(dcgan(), dark_stripes, CPU, count=2, output=tmp_path / "samples"))


def test_all_classes_in_turn_or_the_chosen_one_are_generated(dark_stripes, tmp_path):
    model, asked = dcgan(conditional=True), []
    model.generate = lambda latent, targets: asked.append(targets.tolist()) or torch.zeros(len(latent), 1, 4, 6)

    (answer,) = generate(model, dark_stripes, CPU, count=4, output=tmp_path / "all.png")
    list(generate(model, dark_stripes, CPU, count=4, label="right", output=tmp_path / "right.png"))
    (between,) = generate(
        model, dark_stripes, CPU, count=2, interpolate=True, steps=3, output=tmp_path / "interpolations.png"
    )

    assert asked == [[0, 1, 2, 0], [2, 2, 2, 2], [0, 0, 0, 1, 1, 1]]
    assert answer["labels"] == ["left", "middle", "right"]
    assert between["labels"] == ["left", "middle"]


def test_each_interpolation_is_a_row(dark_stripes, tmp_path):
    list(
        generate(dcgan(), dark_stripes, CPU, count=2, interpolate=True, steps=5, output=tmp_path / "interpolations.png")
    )

    assert Image.open(tmp_path / "interpolations.png").size == (5 * CELL[0] + 2, 2 * CELL[1] + 2)


def test_images_are_shown_above_their_reconstructions(pictures, tmp_path):
    (answer,) = generate(vae(), pictures, CPU, items=["0", "1", "2"], output=tmp_path / "reconstructions.png")

    assert answer == {"written": str(tmp_path / "reconstructions.png"), "images": 3}
    assert Image.open(tmp_path / "reconstructions.png").size == (3 * CELL[0] + 2, 2 * CELL[1] + 2)


@pytest.mark.parametrize("items", [["0", "1", "2"], ["0-2"], ["0", "1-2"]])
def test_given_images_are_interpolated_pair_by_pair(pictures, tmp_path, items):
    model = AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(5,), latent_dim=3)

    list(
        generate(
            model,
            pictures,
            CPU,
            items=items,
            interpolate=True,
            steps=4,
            output=tmp_path / "interpolation.npz",
        )
    )

    images = torch.from_numpy(np.load(tmp_path / "interpolation.npz")["images"])
    ends = model.eval()(torch.stack([pictures.encode(item)["images"] for item in "0112"]))
    torch.testing.assert_close(images[[0, 3, 4, 7]], ends.detach())


def test_points_are_printed(tmp_path, monkeypatch):
    model = GAN(point_dim=2, hidden=(5,), latent_dim=3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples.png").touch()  # which is of no concern here

    answers = list(generate(model, GaussianRing(), CPU, count=3))

    assert [len(answer["point"]) for answer in answers] == [2, 2, 2]
    with pytest.raises(InputError, match=r"--output points.npz has no effect: points are printed; leave it out"):
        list(generate(model, GaussianRing(), CPU, output=Path("points.npz")))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            dcgan,
            {"label": "right"},
            "--label right: the model is an unconditional DCGAN; leave --label out, or train a model with conditional = true",
        ),
        (
            lambda: dcgan(conditional=True),
            {"label": "rigth"},
            '--label rigth: expected one of left, middle, right. Did you mean "right"?',
        ),
        (dcgan, {"items": ["0"]}, "0: DCGAN cannot encode images; leave the items out to generate samples"),
        (
            lambda: vae(conditional=True),
            {"items": ["0"]},
            "0: the model is conditional; give the class of the images with --label",
        ),
        (
            vae,
            {"items": ["0"], "interpolate": True},
            "--interpolate goes from each image to the next, and 0 is the only one; give at least two",
        ),
        (
            dcgan,
            {"output": "samples.jpg"},
            "--output .*samples.jpg: expected a name that ends in .png or .npz, or a folder",
        ),
        (vae, {"items": ["0"], "count": 5}, "--count 5 has no effect: all given images are used; leave it out"),
        (vae, {"items": ["0"], "seed": 0}, "--seed 0 has no effect: the images are given; leave it out"),
        (vae, {"items": ["0"], "steps": 3}, "--steps 3 has no effect: it is for --interpolate; leave it out"),
        (vae, {"steps": 3}, "--steps 3 has no effect: it is for --interpolate; leave it out"),
    ],
)
def test_invalid_options_are_rejected(pictures, tmp_path, make, options, message):
    options = options | {"output": tmp_path / options.get("output", "samples.png")}

    with pytest.raises(InputError, match=message):
        list(generate(make(), pictures, CPU, **options))


def test_a_file_of_the_user_is_not_overwritten_unless_it_is_named(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert next(generate(vae(), pictures, CPU, count=1))["written"] == "samples.png"
    (tmp_path / "samples.png").rename("photos.png")
    (tmp_path / "samples.png").symlink_to("photos.png")  # also if it is a link

    with pytest.raises(InputError, match=r"samples.png exists; choose another name with --output FILE, or overwrite"):
        next(generate(vae(), pictures, CPU, count=1))
    assert next(generate(vae(), pictures, CPU, count=1, output=Path("samples.png")))["images"] == 1
