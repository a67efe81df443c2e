"""A batch that does not fit into memory is computed in parts."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.data.columns import Columns, Ragged
from dlpipe.data.parts import parts_of
from dlpipe.data.targets import IGNORE_INDEX
from dlpipe.training.supervised import Supervised


class Sentences:
    """29 sentences of 1 to 6 tokens, with a label for most tokens."""

    splits = ("train",)

    def split(self, name):
        generator = torch.Generator().manual_seed(3)
        lengths = torch.randint(1, 7, (29,), generator=generator)
        tokens = torch.randint(11, (int(lengths.sum()),), generator=generator)
        targets = tokens % 3
        targets[tokens == 7] = IGNORE_INDEX
        return Columns(
            {
                "tokens": Ragged(tokens, lengths),
                "targets": Ragged(targets, lengths, padding=IGNORE_INDEX),
                "marks": torch.ones(29, 6),
            }
        )


class Tagger(nn.Module):
    """Scores 3 labels for each token; has memory for `limit` sentences."""

    def __init__(self, limit):
        super().__init__()
        self.limit, self.embed, self.classify = limit, nn.Embedding(11, 5), nn.Linear(5, 3)

    def forward(self, tokens, lengths, marks):
        assert int(lengths.max()) == tokens.size(1)
        assert marks.size(1) == 6
        if len(tokens) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.classify(self.embed(tokens))


def trainer(limit, **options):
    torch.manual_seed(5)
    given = {"batch_size": 8, "optimizer": {"use": "sgd", "lr": 0.5}, "bucket_by_length": False} | options
    return Supervised(Tagger(limit), Sentences(), Compute(torch.device("cpu")), 7, **given)


def losses(made, count):
    return [float(metrics["loss"]) for _, metrics in zip(range(count), made.steps(), strict=False)]


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.1}, {"gradient_accumulation_steps": 2}])
def test_a_batch_that_does_not_fit_is_halved_until_it_does_with_the_same_curve(options):
    expected = losses(trainer(8, **options), 9)

    with pytest.warns(UserWarning, match="do not fit") as said:
        found = losses(trainer(3, **options), 9)

    assert_close(torch.tensor(found), torch.tensor(expected))
    assert [str(warning.message) for warning in said] == [
        f"{examples} examples at once do not fit into the memory of cpu: from now on, each batch is computed in {parts} "
        "parts, whose gradients are added"
        for examples, parts in ((8, 2), (4, 4))
    ]


def test_a_resumed_run_does_not_try_again_what_did_not_fit():
    made = trainer(3)
    with pytest.warns(UserWarning, match="do not fit"):
        losses(made, 2)
    state, weights = copy.deepcopy(made.state_dict()), copy.deepcopy(made.model.state_dict())
    expected = losses(made, 4)

    resumed = trainer(3)
    resumed.model.load_state_dict(weights)
    resumed.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert losses(resumed, 4) == expected


def test_a_single_example_that_does_not_fit_ends_the_run():
    with pytest.warns(UserWarning, match="do not fit"), pytest.raises(torch.OutOfMemoryError):
        losses(trainer(0), 1)


def test_parts_have_all_examples_once():
    batch = {"images": torch.arange(14).view(7, 2)}

    parts = parts_of(batch, 3, {})

    assert [len(part["images"]) for part in parts] == [2, 2, 3]
    assert_close(torch.cat([part["images"] for part in parts]), batch["images"])
    assert len(parts_of(batch, 100, {})) == 7
    assert parts_of({}, 4, {}) == [{}]
