import csv

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.attributes import Attributes, shares_of

TRUTH = {"stripe": {"left": 1 / 3, "middle": 1 / 3, "right": 1 / 3}}


def test_shares_are_counted_of_each_value():
    shares = shares_of(
        torch.tensor([[0, 1], [0, 1], [1, 1], [0, 1]]),
        {"hair": {"short": 0.5, "long": 0.5}, "hat": {"no": 0.2, "yes": 0.8}},
    )

    assert [(share.value, share.drawn) for share in shares] == [
        ("short", 0.75),
        ("long", 0.25),
        ("no", 0.0),
        ("yes", 1.0),
    ]
    assert [share.deviation for share in shares] == [0.5, 0.5, 1.0, pytest.approx(0.25)]


@pytest.fixture
def striped(stripes):
    """The images of `stripes`, with the stripe as their one factor."""
    whole = stripes.split

    def split(name):
        columns = whole(name)
        columns.columns["factors"] = columns.columns["targets"][:, None]
        return columns

    stripes.split = split
    return stripes


def test_what_is_drawn_too_often_is_told(striped, parrot, tmp_path):
    judge = Attributes(TRUTH, count=40, classifier_steps=60)
    columns = striped.split("dev").columns
    images = torch.cat([columns["images"][columns["targets"] == 0][:3], columns["images"][columns["targets"] == 1][:1]])

    found = judge.evaluate(parrot(images), Examples(striped, "test", Compute(torch.device("cpu"))))
    judge.write(tmp_path)

    assert found["worst_deviation"] == pytest.approx(0.75 * 3 - 1)
    assert found["mean_deviation"] == pytest.approx((1.25 + 0.25 + 1) / 3)
    assert found["reader_accuracy"] == 1
    with (tmp_path / "attributes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["value"], row["drawn"]) for row in rows] == [
        ("left", "0.7500"),
        ("middle", "0.2500"),
        ("right", "0.0000"),
    ]
    assert (tmp_path / "attributes.png").exists()


def test_data_without_factors_is_refused(stripes, parrot, examples):
    with pytest.raises(
        InputError, match="needs data that tells the factors of each image, such as generative.manga_faces"
    ):
        Attributes(TRUTH).evaluate(parrot(torch.zeros(1, 1, 4, 6)), examples)
