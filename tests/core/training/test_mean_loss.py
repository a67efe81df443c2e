from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe.training.mean_loss import Loss

LENGTHS = torch.tensor([5, 2, 7, 1, 3])
TOKENS = torch.randint(11, (18,), generator=torch.Generator().manual_seed(0))


class OneSplit:
    """Data with one split."""

    splits = ("train", "dev", "test")

    def __init__(self, split):
        self._split = split

    def split(self, name):
        return self._split


class Tagger(nn.Module):
    """Scores 3 labels for every token of 11, noisily while it trains."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed = nn.Embedding(11, 3)
        self.dropout = nn.Dropout(0.9)

    def forward(self, tokens):
        return self.dropout(self.embed(tokens))


class Reconstructor(nn.Module):
    """Has a loss of its own and no targets to learn."""

    def forward(self, images):
        return images * 2

    def loss(self, outputs, images):
        return (outputs - images).square().mean()


class Given(nn.Module):
    """Takes its input for the logits."""

    def forward(self, images):
        return images


class Ranker(Tagger):
    """A tagger with a loss of its own: half the cross-entropy."""

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten()) / 2


def examples(columns):
    return Examples(OneSplit(Columns(columns)), "dev", Compute(torch.device("cpu"), evaluation_batch_size=2))


def sentences():
    targets = (TOKENS % 3).masked_fill(TOKENS == 7, -100)
    return {"tokens": Ragged(TOKENS, LENGTHS), "targets": Ragged(targets, LENGTHS, padding=-100)}


def mean_over_tokens(model):
    """Return the loss over the tokens that have a target, without batches or padding."""
    kept = TOKENS != 7
    return F.cross_entropy(model.embed(TOKENS[kept]), TOKENS[kept] % 3).item()


def test_the_loss_is_the_mean_over_all_tokens_with_a_target():
    model = Tagger()

    assert Loss().evaluate(model, examples(sentences())) == {"loss": pytest.approx(mean_over_tokens(model))}


def test_a_batch_without_targets_counts_nothing():
    targets = torch.tensor([-100, -100, 2, -100, 1])
    images = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))

    value = Loss().evaluate(Given(), examples({"images": images, "targets": targets}))["loss"]

    assert value == pytest.approx(float(F.cross_entropy(images, targets)))


def test_the_losses_of_the_examples_make_the_loss():
    loss = Loss()
    value = loss.evaluate(Tagger(), examples(sentences()))["loss"]
    found = loss.example_scores()

    assert found.metric() == pytest.approx(value)
    assert sum(found.weights) == int((TOKENS != 7).sum())
    loss.evaluate(Ranker(), examples(sentences()))
    assert loss.example_scores() is None


def test_a_loss_of_the_models_own_is_used():
    model = Ranker()

    assert Loss().evaluate(model, examples(sentences()))["loss"] == pytest.approx(mean_over_tokens(model) / 2)


def test_a_model_without_targets_counts_examples():
    images = torch.arange(15.0).view(5, 3)

    metrics = Loss().evaluate(Reconstructor(), examples({"images": images}))

    assert metrics["loss"] == pytest.approx(float(images.square().mean()))


class Mean(Reconstructor):
    """Its own loss is a mean over the numbers that are no padding."""

    def forward(self, tokens):
        return tokens * 2.0

    def loss(self, outputs, tokens, lengths):
        return outputs.sum() / lengths.sum()

    def count_loss_terms(self, lengths):
        return lengths.sum()


def test_a_model_that_says_how_many_terms_its_loss_has_is_believed():
    metrics = Loss().evaluate(Mean(), examples(sentences()))

    assert metrics["loss"] == pytest.approx(2 * float(TOKENS.sum()) / 18)


def test_one_label_per_example_is_enough():
    images, targets = torch.randn(5, 3, generator=torch.Generator().manual_seed(3)), torch.tensor([0, 2, 1, 1, 0])

    metrics = Loss().evaluate(Given(), examples({"images": images, "targets": targets}))

    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(images, targets)))


def test_a_lower_loss_is_better():
    assert (Loss.primary, Loss.goal) == ("loss", "min")


def test_there_is_nothing_to_look_at(tmp_path):
    Loss().write(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_data_without_targets_is_refused_by_name():
    with pytest.raises(InputError, match=r"the loss needs the column 'targets', but the data has tokens, rows; choose"):
        Loss().evaluate(Tagger(), examples({"tokens": TOKENS}))


class Numbers(nn.Module):
    """Predicts three numbers for each example, and has a loss of its own."""

    def forward(self, images):
        return images * 2

    def loss(self, outputs):
        return outputs.sum() * 0

    def predict(self, outputs):
        return outputs


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("l1", F.l1_loss), ("mse", F.mse_loss), ({"use": "huber", "delta": 0.2}, partial(F.huber_loss, delta=0.2))],
)
def test_the_loss_of_the_trainer_is_followed_and_judges_each_example(loss, expected):
    images = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    evaluator = Loss(loss=loss)

    value = evaluator.evaluate(Numbers(), examples({"images": images, "targets": images.cos()}))["loss"]

    assert value == pytest.approx(float(expected(images * 2, images.cos())))
    assert evaluator.example_scores().metric() == pytest.approx(value)


def test_a_model_of_numbers_needs_no_predictions():
    images = torch.arange(5.0)

    assert Loss(loss="mse").evaluate(Given(), examples({"images": images, "targets": images + 3}))["loss"] == 9


def test_without_a_loss_of_the_trainer_the_models_own_is_used():
    images = torch.ones(5, 3)

    assert Loss(loss=None).evaluate(Numbers(), examples({"images": images, "targets": images}))["loss"] == 0
