import csv

import pytest
import torch

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_generative.attributes import Attributes, value_shares

TRUTH = {"stripe": {"left": 1 / 3, "middle": 1 / 3, "right": 1 / 3}}


def test_the_frequency_of_each_value_is_counted():
    shares = value_shares(
        torch.tensor([[0, 1], [0, 1], [1, 1], [0, 1]]),
        {"hair": {"short": 0.5, "long": 0.5}, "hat": {"no": 0.2, "yes": 0.8}},
    )

    assert [(share.value, share.generated) for share in shares] == [
        ("short", 0.75),
        ("long", 0.25),
        ("no", 0.0),
        ("yes", 1.0),
    ]
    assert [share.deviation for share in shares] == [0.5, 0.5, 1.0, pytest.approx(0.25)]


@pytest.fixture
def striped(stripes):
    """The images of `stripes`, with the stripe as their only factor."""
    whole = stripes.split

    def split(name):
        columns = whole(name)
        columns.columns["factors"] = columns.columns["targets"][:, None]
        return columns

    stripes.split = split
    return stripes


def test_a_value_that_is_generated_too_often_is_reported(striped, replay_model, tmp_path):
    evaluator = Attributes(TRUTH, count=40, classifier_steps=60)
    images = striped.split("dev").columns["images"][[0, 3, 6, 1]]  # three stripes on the left, one in the middle

    metrics = evaluator.evaluate(replay_model(images), Examples(striped, "test", Compute(torch.device("cpu"))))
    items = evaluator.write(tmp_path)

    assert metrics["worst_deviation"] == pytest.approx(0.75 * 3 - 1)
    assert metrics["mean_deviation"] == pytest.approx((1.25 + 0.25 + 1) / 3)
    assert metrics["reader_accuracy"] == 2 / 3  # taught on train, which calls a third of test by another name
    assert [item.file for item in items] == ["attributes.png", "attributes.csv"]
    assert items[0].caption.endswith(": left, 0.750 instead of 0.333.")
    with (tmp_path / "attributes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["value"], row["generated"]) for row in rows] == [
        ("left", "0.7500"),
        ("middle", "0.2500"),
        ("right", "0.0000"),
    ]
    assert (tmp_path / "attributes.png").exists()


def test_no_examples_are_asked_for_one_by_one_so_that_train_examples_is_refused(striped, replay_model):
    model = replay_model(striped.split("train").columns["images"])
    examples = Examples(striped, "train", Compute(torch.device("cpu")), most=7)

    Attributes(TRUTH, count=40, classifier_steps=2).evaluate(model, examples)

    assert not examples.used


def test_data_without_factors_is_rejected(stripes, replay_model, examples):
    with pytest.raises(
        InputError,
        match="needs data with a column factors, such as generative.manga_faces; split train of the data has images, targets",
    ):
        Attributes(TRUTH).evaluate(replay_model(torch.zeros(1, 1, 4, 6)), examples)
