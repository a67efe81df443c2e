from itertools import count

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.data import Dataset, IterableDataset

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns, Ragged
from dlpipe.evaluation import examples as evaluation
from dlpipe.evaluation.examples import Examples

CPU = Compute(torch.device("cpu"), evaluation_batch_size=3)


class Splits:
    """Data with one split, called dev."""

    def __init__(self, split):
        self._split = split
        self.asked = 0

    def split(self, name):
        assert name == "dev"
        self.asked += 1
        return self._split


class Doubler(nn.Module):
    """Doubles, and remembers how it was called."""

    def __init__(self, outputs=lambda doubled: doubled):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.calls = []
        self._outputs = outputs

    def forward(self, numbers):
        self.calls.append((self.training, torch.is_grad_enabled(), len(numbers)))
        return self._outputs(numbers * self.weight)

    def predict(self, outputs):
        return -(outputs["x"][0] if isinstance(outputs, dict) else outputs)


class Items(Dataset):
    """7 numbers."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"numbers": torch.tensor(float(index))}


def examples(split=None, **options):
    return Examples(Splits(split or Columns({"numbers": torch.arange(7.0)})), "dev", CPU, **options)


def collect(passed):
    """Return the numbers, outputs and predictions of all examples, in the order of their rows."""
    rows, values = [], []
    for batch, outputs, predictions in passed:
        rows += batch["rows"].tolist()
        values += zip(batch["numbers"].tolist(), outputs.tolist(), predictions.tolist(), strict=True)
    return [value for _, value in sorted(zip(rows, values, strict=True))]


@pytest.mark.parametrize("split", [None, Items()])
def test_every_example_is_seen_once_with_its_row(split):
    found = collect(examples(split).predictions(Doubler()))

    assert found == [(number, 2 * number, -2 * number) for number in range(7)]


def test_rows_tell_where_sequences_stood_before_they_were_sorted():
    lengths = torch.tensor([5, 2, 7, 1])
    split = Columns({"numbers": Ragged(torch.arange(4.0).repeat_interleave(lengths), lengths)})

    batches = list(examples(split).predictions(Doubler()))

    assert torch.cat([batch["rows"] for batch, _, _ in batches]).tolist() == [3, 1, 0, 2]
    for batch, _, _ in batches:
        assert_close(batch["numbers"][:, 0], batch["rows"].float())


def test_two_evaluators_share_one_pass():
    model, shared = Doubler(), examples()

    first, second = collect(shared.predictions(model)), collect(shared.predictions(model))

    assert first == second
    assert len(model.calls) == 3


def test_nothing_is_kept_of_a_model_that_has_changed():
    model, shared = Doubler(), examples()
    collect(shared.predictions(model))
    model.weight.data.fill_(3.0)

    shared.forget()

    assert collect(shared.predictions(model))[6] == (6, 18, -18)


def test_another_model_gets_a_pass_of_its_own():
    model, other, shared = Doubler(), Doubler(), examples()

    collect(shared.predictions(model))
    collect(shared.predictions(other))

    assert len(other.calls) == 3


def test_a_pass_that_was_not_finished_is_not_kept():
    model, shared = Doubler(), examples()

    next(shared.predictions(model))
    found = collect(shared.predictions(model))

    assert len(found) == 7


def test_the_model_is_in_evaluation_mode_and_knows_no_gradients():
    model = Doubler().train()

    collect(examples().predictions(model))

    assert {call[:2] for call in model.calls} == {(False, False)}


def test_an_evaluator_works_with_gradients_as_it_likes():
    states = [torch.is_grad_enabled() for _ in examples().predictions(Doubler())]

    assert states == [True] * 3


def test_a_limit_looks_at_the_first_batches_only():
    model, shared = Doubler(), examples(limit=2)

    assert len(collect(shared.predictions(model))) == 6
    assert len(collect(shared.predictions(model))) == 6
    assert len(model.calls) == 2


@pytest.mark.parametrize("nested", [lambda x: x, lambda x: {"x": (x, [x])}])
def test_outputs_too_large_to_keep_are_computed_again(monkeypatch, nested):
    monkeypatch.setattr(
        evaluation, "KEPT_BYTES", 111
    )  # inputs and outputs are 7 numbers of 4 bytes each, their rows 7 of 8
    model, shared = Doubler(nested), examples()

    for _ in range(2):
        assert len(list(shared.predictions(model))) == 3

    assert len(model.calls) == 6


def test_outputs_that_just_fit_are_kept(monkeypatch):
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 112)
    model, shared = Doubler(), examples()

    for _ in range(2):
        list(shared.predictions(model))

    assert len(model.calls) == 3


def test_the_split_is_asked_for_once_and_late():
    data = Splits(Columns({"numbers": torch.arange(2.0)}))
    shared = Examples(data, "dev", CPU)
    assert data.asked == 0

    for _ in range(3):
        list(shared.predictions(Doubler()))

    assert data.asked == 1


def test_an_evaluation_draws_no_random_numbers():
    before = torch.get_rng_state()

    for split in (None, Items()):
        collect(examples(split).predictions(Doubler()))

    assert_close(torch.get_rng_state(), before)


def test_other_examples_pass_through_the_same_model_and_are_not_kept():
    model, shared = Doubler(), examples()
    changed = Columns({"numbers": torch.arange(4.0) + 10})

    answers = [
        (batch["rows"].tolist(), outputs.tolist()) for batch, outputs, _ in shared.predictions_on(model, changed)
    ]

    assert answers == [([0, 1, 2], [20.0, 22.0, 24.0]), ([3], [26.0])]
    assert [outputs for _, outputs, _ in collect(shared.predictions(model))] == [2.0 * number for number in range(7)]


def test_a_split_is_prepared_for_judging_and_not_for_training():
    told = []
    split = Columns({"numbers": torch.arange(2.0)}, prepare=lambda batch, _, training: told.append(training) or batch)

    list(Examples(Splits(split), "dev", CPU).predictions(Doubler()))

    assert told == [False]


# Some of the examples


class Stream(IterableDataset):
    """Numbers without an end, each twice as large for training."""

    def __iter__(self):
        return ({"numbers": torch.tensor(float(number))} for number in count())

    @staticmethod
    def prepare(batch, generator, training):
        return batch | {"numbers": batch["numbers"] + 100 * training}


@pytest.mark.parametrize("split", [None, Items()])
def test_some_examples_are_drawn_at_random_and_always_the_same(split):
    passes = [[row for row, *_ in collect(examples(split, most=4).predictions(Doubler()))] for _ in range(2)]

    assert passes[0] == passes[1]
    assert len(set(passes[0])) == 4
    assert passes[0] != [0, 1, 2, 3]


def test_the_rows_of_some_examples_are_those_of_the_split():
    lengths = torch.tensor([1, 5, 2, 4, 3, 1, 2])
    split = Columns({"words": Ragged(torch.arange(18.0), lengths), "numbers": torch.arange(7.0)})

    batches = [batch for batch, _, _ in examples(split, most=4).predictions(Doubler())]

    assert [batch["rows"].tolist() for batch in batches] == [batch["numbers"].tolist() for batch in batches]
    assert [batch["lengths"].tolist() for batch in batches] == [lengths[batch["rows"]].tolist() for batch in batches]


def test_of_more_examples_than_there_are_all_are_judged():
    assert [row for row, *_ in collect(examples(most=9).predictions(Doubler()))] == list(range(7))


def test_other_examples_of_a_split_are_the_same_rows():
    some, noisy = examples(most=4), Columns({"numbers": torch.arange(7.0) + 10})

    rows = [row for row, *_ in collect(some.predictions(Doubler()))]

    assert [row - 10 for row, *_ in collect(some.predictions_on(Doubler(), noisy))] == rows


def test_of_a_stream_the_first_examples_are_judged_as_in_an_evaluation():
    found = [batch["numbers"].tolist() for batch, _, _ in examples(Stream(), most=7).predictions(Doubler())]

    assert found == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(("options", "expected"), [({}, 7), ({"most": 5}, 5), ({"most": 5, "limit": 1}, 3)])
def test_samples_are_as_few_as_examples(options, expected):
    assert examples(**options).at_most(7) == expected


def test_it_is_known_whether_examples_were_used():
    some = [examples() for _ in range(4)]

    some[1].predictions(Doubler())
    some[2].predictions_on(Doubler(), Columns({"numbers": torch.ones(2)}))
    some[3].at_most(3)

    assert [each.used for each in some] == [False, True, True, True]
