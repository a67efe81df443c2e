import pytest
import torch
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches
from dlpipe.errors import InputError
from dlpipe_generative.face_drawing import FACTORS
from dlpipe_generative.manga_faces import MangaFaces


def faces(**options):
    return MangaFaces(**{"size": 16, "count": 30, **options})


def test_splits_have_images_classes_and_all_factors():
    data = faces(label="mouth")

    columns = data.split("train").columns

    assert columns["images"].shape == (30, 1, 16, 16)
    assert columns["factors"].shape == (30, len(FACTORS))
    assert torch.equal(columns["targets"], columns["factors"][:, list(FACTORS).index("mouth")])
    assert data.facts["labels"] == ["smile", "flat", "open"]
    assert data.splits == ("train", "dev", "test")
    assert len(data.split("dev")) == len(data.split("test")) == 3
    assert not torch.equal(data.split("dev").columns["images"], data.split("test").columns["images"])


def test_a_face_depends_on_the_seed_and_its_number_only():
    many, few = faces().split("train").columns["images"], faces(count=10).split("train").columns["images"]

    assert torch.equal(many[:10], few)
    assert not torch.equal(faces(seed=1, count=10).split("train").columns["images"], few)
    assert not torch.equal(faces().split("dev").columns["images"], few[:3])


@pytest.mark.parametrize(("normalize", "low"), [("symmetric", -1.0), ("unit", 0.0)])
def test_pixels_span_the_pixel_range(normalize, low):
    data = faces(normalize=normalize)

    (batch,) = Batches(data.split("train"), "full", Compute(torch.device("cpu"))).epoch(0)

    assert data.facts["pixel_range"] == (low, 1.0)
    assert low <= batch["images"].min() < low + 0.3
    assert_close(batch["images"].max(), torch.tensor(1.0))


def test_the_fingerprint_depends_on_size_and_seed():
    assert len({data.fingerprint() for data in (faces(), faces(seed=1), faces(size=24), faces(count=31))}) == 4
    assert faces().fingerprint() == faces().fingerprint()


def test_a_face_to_predict_has_a_number_and_known_factors():
    data = faces()

    answer = data.present("17", torch.tensor(2), None)

    assert torch.equal(data.encode("17")["images"], data.encode("17")["images"])
    assert answer["label"] == "twintails"
    assert answer["true_factors"].keys() == FACTORS.keys()
    with pytest.raises(
        InputError,
        match="17: expected a predicted class, got a tensor of shape .* torch.float32; the model is not a classifier",
    ):
        data.present("17", torch.tensor(0.3), None)
