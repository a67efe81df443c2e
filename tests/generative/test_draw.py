import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.dcgan import DCGAN
from dlpipe_generative.draw import draw
from dlpipe_generative.gan import GAN
from dlpipe_generative.gaussian_ring import GaussianRing
from dlpipe_generative.vae import VAE

CPU = Compute(torch.device("cpu"))
CELL = (62, 42)  # of an image of 4×6 pixels, magnified ten times, and the gap


def dcgan(**options):
    torch.manual_seed(0)
    return DCGAN((1, 4, 6), (-1.0, 1.0), channels=4, latent_dim=5, smallest=2, num_classes=3, **options)


def vae(**options):
    torch.manual_seed(0)
    return VAE((1, 4, 6), (0.0, 1.0), hidden=(5,), latent_dim=3, num_classes=3, **options)


@pytest.fixture
def pictures(stripes):
    """`stripes` with three pictures that a person can name."""
    images = stripes.split("test").columns["images"]
    stripes.encode = lambda item: {"images": images[int(item)]}
    return stripes


def test_many_images_stand_side_by_side(dark_stripes, tmp_path):
    (answer,) = draw(dcgan(), dark_stripes, CPU, count=9, seed=1, output=tmp_path / "drawn.png")

    assert answer == {"written": str(tmp_path / "drawn.png"), "images": 9, "seed": 1}
    assert Image.open(tmp_path / "drawn.png").size == (3 * CELL[0] + 2, 3 * CELL[1] + 2)


def test_the_same_seed_draws_the_same_and_another_another(dark_stripes, tmp_path):
    model = dcgan()
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        list(draw(model, dark_stripes, CPU, count=2, seed=seed, output=tmp_path / f"{name}.npz"))

    first, second, third = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("first", "second", "third"))

    assert first.shape == (2, 1, 4, 6)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_folder_gets_single_files(dark_stripes, tmp_path):
    list(draw(dcgan(), dark_stripes, CPU, count=2, output=tmp_path / "drawn"))

    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["00000.png", "00001.png"]


def test_all_classes_in_turn_or_the_one_that_is_asked_for(dark_stripes, tmp_path):
    model, asked = dcgan(conditional=True), []
    model.draw = lambda latent, targets: asked.append(targets.tolist()) or torch.zeros(len(latent), 1, 4, 6)

    (answer,) = draw(model, dark_stripes, CPU, count=4, output=tmp_path / "all.png")
    list(draw(model, dark_stripes, CPU, count=4, label="right", output=tmp_path / "right.png"))
    list(draw(model, dark_stripes, CPU, count=2, interpolate=True, steps=3, output=tmp_path / "walks.png"))

    assert asked == [[0, 1, 2, 0], [2, 2, 2, 2], [0, 0, 0, 1, 1, 1]]
    assert answer["labels"] == ["left", "middle", "right"]


def test_walks_stand_in_rows(dark_stripes, tmp_path):
    list(draw(dcgan(), dark_stripes, CPU, count=2, interpolate=True, steps=5, output=tmp_path / "walks.png"))

    assert Image.open(tmp_path / "walks.png").size == (5 * CELL[0] + 2, 2 * CELL[1] + 2)


def test_pictures_are_drawn_again_below_themselves(pictures, tmp_path):
    (answer,) = draw(vae(), pictures, CPU, items=["0", "1", "2"], output=tmp_path / "again.png")

    assert answer == {"written": str(tmp_path / "again.png"), "images": 3}
    assert Image.open(tmp_path / "again.png").size == (3 * CELL[0] + 2, 2 * CELL[1] + 2)


def test_a_walk_leads_from_picture_to_picture(pictures, tmp_path):
    model = AutoEncoder((1, 4, 6), (0.0, 1.0), hidden=(5,), latent_dim=3)

    list(draw(model, pictures, CPU, items=["0", "1", "2"], interpolate=True, steps=4, output=tmp_path / "walk.npz"))

    walked = torch.from_numpy(np.load(tmp_path / "walk.npz")["images"])
    ends = model.eval()(torch.stack([pictures.encode(item)["images"] for item in "0112"]))
    torch.testing.assert_close(walked[[0, 3, 4, 7]], ends.detach())


def test_points_are_told():
    answers = list(draw(GAN(point_dim=2, hidden=(5,), latent_dim=3), GaussianRing(), CPU, count=3))

    assert [len(answer["point"]) for answer in answers] == [2, 2, 2]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            dcgan,
            {"label": "right"},
            r"--label right: this model cannot be told a class; train it with \[model\] conditional = true",
        ),
        (
            lambda: dcgan(conditional=True),
            {"label": "rigth"},
            '--label rigth: expected one of left, middle, right. Did you mean "right"?',
        ),
        (dcgan, {"items": ["0"]}, "0: DCGAN draws, but cannot tell the code of a picture; give none"),
        (
            lambda: vae(conditional=True),
            {"items": ["0"]},
            "0: this model must be told of which class the pictures are: --label",
        ),
        (
            dcgan,
            {"output": "drawn.jpg"},
            "--output .*drawn.jpg: expected a name that ends in .png or .npz, or a folder",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(pictures, tmp_path, make, options, message):
    options = options | {"output": tmp_path / options.get("output", "drawn.png")}

    with pytest.raises(InputError, match=message):
        list(draw(make(), pictures, CPU, **options))
