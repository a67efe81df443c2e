import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dlpipe.compute import Compute
from dlpipe.data.batches import Batches, EndlessBatches, in_order, shuffled
from dlpipe.data.columns import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.ranks import Ranks

CPU = Compute(torch.device("cpu"))


class Squares(Dataset):
    """17 examples: a number and its square."""

    def __len__(self):
        return 17

    def __getitem__(self, index):
        return {"number": torch.tensor(index), "targets": torch.tensor(index**2)}


class Counting(IterableDataset):
    """A stream of 17 numbers that the processes reading it share out."""

    def __iter__(self):
        worker = get_worker_info()
        first, every = (worker.id, worker.num_workers) if worker else (0, 1)
        return ({"number": torch.tensor(index)} for index in range(first, 17, every))


class Noisy(Squares):
    """Examples with a number from each of the global generators."""

    def __getitem__(self, index):
        return {"number": torch.tensor([index, random.random(), np.random.rand(), float(torch.rand(()))])}


class NoisyStream(IterableDataset):
    """A stream of such examples; the processes that read it all give the same."""

    def __iter__(self):
        return (Noisy()[index] for index in range(17))


class TooSmall(Compute):
    """A device that no data fits on."""

    def fits(self, size):
        return False


def numbered(count=17):
    return Columns({"number": torch.arange(count)})


def lengthy(lengths):
    """Return columns of sequences of the given lengths whose values all are the row number."""
    return Columns({"number": Ragged(torch.arange(len(lengths)).repeat_interleave(lengths), lengths, padding=-1)})


def numbers(batches):
    return [batch["number"].tolist() for batch in batches]


def flat(batches):
    return [number for batch in numbers(batches) for number in batch]


def padding_share(lengths, batch_size, seed=0):
    plan = shuffled(len(lengths), batch_size, torch.Generator().manual_seed(seed), lengths)
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in plan)
    return 1 - int(lengths.sum()) / padded


def lengths_like_atis():
    """Return 4978 lengths between 1 and 46 that are distributed much as those of ATIS (mean 11)."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(4978, generator=generator) * 3.8 + 11.4).round().long().clamp(1, 46)


@pytest.mark.parametrize("batch_size", [1, 5, 17, 20])
@pytest.mark.parametrize("source", [numbered, Squares])
def test_every_example_comes_once_an_epoch(source, batch_size):
    batches = Batches(source(), batch_size, CPU)

    for epoch in range(3):
        found = list(batches.epoch(epoch))
        assert sorted(flat(found)) == list(range(17))
        assert len(found) == batches.per_epoch == -(-17 // batch_size)


@pytest.mark.parametrize("count", [1, 6, 7, 8, 20])
def test_buckets_hold_every_example_once_in_a_constant_number_of_batches(count):
    lengths = torch.arange(count) % 5 + 1
    for seed in range(20):
        plan = shuffled(count, 7, torch.Generator().manual_seed(seed), lengths)

        assert torch.cat(plan).sort().values.tolist() == list(range(count))
        assert len(plan) == -(-count // 7)
        assert max(map(len, plan)) <= 7


def test_the_order_follows_from_seed_and_epoch_alone():
    def order(seed, epoch):
        torch.manual_seed(torch.seed() % 2**31)  # whatever the global generator says
        return flat(Batches(numbered(), 5, CPU, seed=seed).epoch(epoch))

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert order(seed=1, epoch=2) != order(seed=1, epoch=3)
    assert order(seed=1, epoch=2) != order(seed=2, epoch=2)


def test_making_an_epoch_leaves_the_global_randomness_alone():
    before = torch.get_rng_state()

    for source in (numbered(), Squares(), Counting()):
        list(Batches(source, 5, CPU).epoch(0))

    assert_close(torch.get_rng_state(), before)


@pytest.mark.parametrize("start", [0, 1, 3, 4])
@pytest.mark.parametrize("source", [numbered, lambda: lengthy(torch.arange(17) % 5 + 1), Squares, Counting])
def test_an_epoch_resumed_in_its_middle_gives_the_same_remaining_batches(source, start):
    whole = numbers(Batches(source(), 5, CPU, seed=3).epoch(2))

    rest = numbers(Batches(source(), 5, CPU, seed=3).epoch(2, start))

    assert rest == whole[start:]


def test_buckets_leave_little_padding():
    lengths = lengths_like_atis()

    assert padding_share(lengths, 16) <= 0.05
    assert padding_share(lengths, 64) <= 0.05


def test_buckets_leave_little_padding_on_atis(real_data):
    lines = (real_data / "atis" / "atis.train.iob").read_text().splitlines()
    lengths = torch.tensor([len(line.partition("\t")[0].split()) - 2 for line in lines])  # without BOS and EOS

    assert padding_share(lengths, 16) <= 0.05


def test_buckets_are_not_the_same_every_epoch():
    batches = Batches(lengthy(torch.tensor([2] * 6 + [5] * 4)), 2, CPU)

    first, second = ({frozenset(batch["number"][:, 0].tolist()) for batch in batches.epoch(e)} for e in (0, 1))

    assert first != second


def test_the_incomplete_batch_is_not_always_that_of_the_longest():
    batches = Batches(lengthy(torch.arange(1, 8)), 3, CPU)

    alone = {int(batch["lengths"][0]) for e in range(20) for batch in batches.epoch(e) if len(batch["lengths"]) == 1}

    assert alone == {1, 4, 7}


def test_without_buckets_batches_mix_lengths():
    lengths = torch.tensor([2, 7]).repeat(50)

    batches = Batches(lengthy(lengths), 10, CPU, bucket=False).epoch(0)

    assert any(len(batch["lengths"].unique()) == 2 for batch in batches)


@pytest.mark.parametrize("split", [numbered(), Squares(), Counting(), lengthy(torch.arange(1, 18))])
def test_the_last_batch_can_be_left_out(split):
    batches = Batches(split, 5, CPU, drop_last=True)

    epochs = [[len(batch["number"]) for batch in batches.epoch(number)] for number in range(2)]

    assert epochs == [[5, 5, 5]] * 2
    assert batches.per_epoch in (3, None)


def test_what_is_left_out_with_the_last_batch_differs_between_epochs():
    batches = Batches(numbered(), 5, CPU, drop_last=True)

    left = [set(range(17)) - set(flat(batches.epoch(number))) for number in range(3)]

    assert [len(each) for each in left] == [2, 2, 2]
    assert len(set(map(frozenset, left))) > 1


def test_a_last_batch_that_is_whole_is_not_left_out():
    batches = Batches(numbered(15), 5, CPU, drop_last=True)

    assert batches.per_epoch == len(list(batches.epoch(0))) == 3
    assert Batches(numbered(), "full", CPU, drop_last=True).per_epoch == 1


def test_every_epoch_begins_after_the_last_whole_batch():
    endless = iter(EndlessBatches(Batches(numbered(), 5, CPU, drop_last=True), 2))

    assert [[len(batch["number"]) for batch in next(endless)] for _ in range(4)] == [[5, 5], [5], [5, 5], [5]]


def test_ranks_leave_out_the_same_last_batch():
    shares = [
        [flat(Batches(split, 5, CPU, drop_last=True, ranks=Ranks(rank, 2)).epoch(0)) for rank in range(2)]
        for split in (numbered(), Squares())
    ]

    alone = flat(Batches(numbered(), 5, CPU, drop_last=True).epoch(0))
    assert all(sorted(one + other) == sorted(alone) for one, other in shares)


def test_a_split_that_makes_no_whole_batch_is_refused():
    with pytest.raises(InputError, match="drop_last = true leaves no batch: the split has 17 examples, and batch_size"):
        Batches(numbered(), 18, CPU, drop_last=True)


def faster(batch, generator, training):
    """Prepare by leaving out the last position of each sequence, and all tags but the first."""
    lengths = batch["lengths"] - 1
    frames = batch["frames"][:, : int(lengths.max())].clone()
    frames[torch.arange(frames.size(1)) >= lengths.unsqueeze(1)] = -7
    return {"frames": frames, "lengths": lengths, "tags": batch["tags"][:, :1]}


@pytest.mark.parametrize("compute", [CPU, TooSmall(torch.device("cpu"))])
def test_sequences_are_padded_to_a_multiple_again_when_they_have_been_prepared(compute):
    lengths = torch.tensor([9, 3, 6, 4, 12])
    values = torch.arange(1.0, 1 + 2 * 34).view(34, 2)
    columns = {"frames": Ragged(values, lengths, padding=-7.0), "tags": Ragged(torch.arange(34), lengths)}

    batches = list(Batches(Columns(columns, prepare=faster), 2, compute, pad_to_multiple_of=4).epoch(0))

    assert {batch["frames"].size(1) for batch in batches} <= {4, 8, 12}
    assert sorted(length for batch in batches for length in batch["lengths"].tolist()) == [2, 3, 5, 8, 11]
    for batch in batches:
        assert batch["tags"].size(1) == 1  # no longer a sequence of these lengths
        beyond = torch.arange(batch["frames"].size(1)) >= batch["lengths"].unsqueeze(1)
        assert ((batch["frames"] == -7).all(dim=2) == beyond).all()


@pytest.mark.parametrize(
    ("prepare", "shapes"),
    [
        (lambda batch, *_: batch | {"frames": batch["frames"].sum(1)}, {(2,), (1,)}),
        (lambda batch, *_: batch | {"frames": F.pad(batch["frames"], (0, 5))}, {(1, 20), (2, 20), (2, 12)}),
    ],
)
def test_what_was_prepared_may_be_no_sequence_or_longer_than_its_length(prepare, shapes):
    columns = {"frames": Ragged(torch.arange(1.0, 35), torch.tensor([9, 3, 6, 4, 12]))}

    batches = Batches(Columns(columns, prepare=prepare), 2, CPU, pad_to_multiple_of=4, training=False).epoch(0)

    assert {tuple(batch["frames"].shape) for batch in batches} == shapes


@pytest.mark.parametrize("compute", [CPU, TooSmall(torch.device("cpu"))])
def test_batches_have_few_lengths_if_they_are_padded_to_a_multiple(compute):
    lengths = torch.arange(1, 18)
    batches = list(Batches(lengthy(lengths), 3, compute, pad_to_multiple_of=6).epoch(0))

    assert {batch["number"].size(1) for batch in batches} == {6, 12, 18}
    assert sorted(length for batch in batches for length in batch["lengths"].tolist()) == lengths.tolist()


@pytest.mark.parametrize("split", [numbered(), Squares(), Counting()])
def test_data_without_sequences_is_not_padded(split):
    with pytest.raises(InputError, match="pad_to_multiple_of = 8: this data has no sequences of different lengths"):
        Batches(split, 5, CPU, pad_to_multiple_of=8)


def test_unshuffled_batches_tell_their_rows():
    lengths = torch.tensor([5, 2, 7, 2, 1])
    batches = Batches(lengthy(lengths), 2, CPU, training=False)

    found = [batch["number"][:, 0].tolist() for batch in batches.epoch(0)]

    assert found == [rows.tolist() for rows in batches.rows()] == [[4, 1], [3, 0], [2]]


def test_unshuffled_examples_without_lengths_stand_as_they_are():
    assert [rows.tolist() for rows in in_order(5, 2, None)] == [[0, 1], [2, 3], [4]]
    assert flat(Batches(Squares(), 5, CPU, training=False).epoch(4)) == list(range(17))


def test_full_is_one_batch_of_everything():
    batches = Batches(numbered(), "full", CPU)

    assert [len(batch) for batch in numbers(batches.epoch(0))] == [17]
    assert batches.per_epoch == 1


def test_only_the_columns_that_are_needed_come():
    columns = Columns({"number": torch.arange(5), "other": torch.arange(5), "targets": torch.arange(5)})

    batch = next(Batches(columns, 2, CPU, columns={"number", "targets"}).epoch(0))

    assert set(batch) == {"number", "targets"}


def test_a_dataset_read_by_processes_gives_the_same_batches():
    alone = numbers(Batches(Squares(), 5, CPU, seed=1).epoch(1))

    assert numbers(Batches(Squares(), 5, CPU, seed=1, workers=2).epoch(1)) == alone


def test_a_stream_read_by_processes_gives_its_examples():
    batches = Batches(Counting(), 5, CPU, workers=2)

    assert sorted(flat(batches.epoch(0))) == list(range(17))
    assert batches.per_epoch is None


def drawn(split, epoch=1, start=0, **options):
    return [batch["number"].tolist() for batch in Batches(split, 5, CPU, seed=1, **options).epoch(epoch, start)]


def test_what_items_draw_at_random_does_not_depend_on_who_reads_them():
    assert drawn(Noisy(), workers=2) == drawn(Noisy())


@pytest.mark.parametrize("split", [Noisy(), NoisyStream()])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_items_draw_at_random_is_the_same_after_a_resume(split, workers):
    whole = drawn(split, workers=workers)
    random.seed(5)
    torch.manual_seed(5)

    assert drawn(split, start=2, workers=workers) == whole[2:]
    assert drawn(split, epoch=2, workers=workers) != whole


@pytest.mark.parametrize("split", [Noisy(), NoisyStream()])
def test_what_items_draw_at_random_changes_nothing_outside(split):
    def after(read):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        batches = Batches(split, 5, CPU, seed=1).epoch(0)
        for _ in range(read):
            next(batches)
        return random.random(), np.random.rand(), float(torch.rand(()))

    assert after(3) == after(0)


def test_a_stream_has_no_row_numbers():
    rows = Batches(Counting(), 5, CPU).rows()

    assert [len(next(rows)) for _ in range(3)] == [0, 0, 0]


def test_data_that_fits_moves_to_the_device_once():
    batches = Batches(lengthy(torch.tensor([2, 5, 1])), 2, Compute(torch.device("meta")))

    batch = next(batches.epoch(0))

    assert batch["number"].device.type == "meta"
    assert batch["lengths"].device.type == "cpu"


def test_data_that_does_not_fit_stays_and_its_batches_travel():
    columns = lengthy(torch.tensor([2, 5, 1]))
    asked = []
    columns.to = lambda device: asked.append(device)

    batch = next(Batches(columns, 2, TooSmall(torch.device("meta"))).epoch(0))

    assert asked == []
    assert batch["number"].device.type == "meta"
    assert batch["lengths"].device.type == "cpu"


def test_a_stream_cannot_be_one_batch():
    with pytest.raises(InputError, match=r'batch_size = "full": this data is an endless stream; set a number'):
        Batches(Counting(), "full", CPU)


@pytest.mark.parametrize("batch_size", [5, "full"])
def test_a_split_without_examples_is_refused(batch_size):
    with pytest.raises(InputError, match="has no examples; expected at least one"):
        Batches(numbered(0), batch_size, CPU)


def jitter(batch, generator, training):
    """Prepare by adding a random number to each example, and telling whether it is for training."""
    noise = torch.rand(len(batch["number"]), generator=generator)
    return {"number": batch["number"] + noise, "training": torch.full((len(noise),), training)}


class Jittered(Squares):
    """Squares that are prepared batch by batch, too."""

    prepare = staticmethod(jitter)


def prepared(kind):
    return Columns({"number": torch.arange(17)}, prepare=jitter) if kind == "columns" else Jittered()


@pytest.mark.parametrize("kind", ["columns", "dataset"])
def test_what_is_drawn_to_prepare_a_batch_follows_from_seed_epoch_and_place(kind):
    whole = [batch["number"] for batch in Batches(prepared(kind), 5, CPU, seed=3).epoch(2)]

    again = [batch["number"] for batch in Batches(prepared(kind), 5, CPU, seed=3).epoch(2, start=2)]

    assert_close(again, whole[2:])
    fractions = torch.stack([numbers[0] % 1 for numbers in whole])
    assert len(fractions.unique()) == 4
    other_epoch = next(Batches(prepared(kind), 5, CPU, seed=3).epoch(1))["number"]
    assert not torch.equal(other_epoch % 1, whole[0] % 1)


@pytest.mark.parametrize("kind", ["columns", "dataset"])
@pytest.mark.parametrize("training", [True, False])
def test_preparing_is_told_whether_it_is_for_training(kind, training):
    batch = next(Batches(prepared(kind), 5, CPU, training=training).epoch(0))

    assert batch["training"].tolist() == [training] * 5


class Named(Squares):
    def __getitem__(self, index):
        return {"number": torch.tensor(index), "name": f"number {index}"}


def test_a_column_that_is_no_tensor_is_named():
    with pytest.raises(
        InputError, match="the column 'name' of a batch is of type list; expected tensors or numbers in"
    ):
        next(Batches(Named(), 5, CPU).epoch(0))


class Numbered(Squares):
    def __getitem__(self, index):
        return {"rows": torch.tensor(index)}


class NumberedStream(IterableDataset):
    def __iter__(self):
        return iter(Numbered()[index] for index in range(17))


@pytest.mark.parametrize(
    "split",
    [Numbered(), NumberedStream(), Columns({"x": torch.arange(5)}, prepare=lambda batch, *_: {"rows": batch["x"]})],
)
def test_a_column_with_a_reserved_name_is_refused_wherever_it_comes_from(split):
    with pytest.raises(InputError, match="name of column 'rows' is reserved for the numbers of the examples in their"):
        next(Batches(split, 5, CPU).epoch(0))


def test_preparing_gets_columns_that_the_model_does_not_name():
    columns = Columns(
        {"raw": torch.arange(5), "targets": torch.zeros(5)}, prepare=lambda batch, *_: {"number": batch["raw"] / 2}
    )

    (batch,) = Batches(columns, 5, CPU, columns={"number", "targets"}, training=False).epoch(0)

    assert batch["number"].tolist() == [0, 0.5, 1, 1.5, 2]


def test_columns_that_are_chosen_or_moved_are_prepared_as_before():
    columns = Columns({"number": torch.arange(4), "other": torch.arange(4)}, prepare=jitter)

    assert columns.select(["number"]).prepare is jitter
    assert columns.to(torch.device("meta")).prepare is jitter


def test_endless_batches_go_on_from_their_place_which_is_behind_what_was_given():
    def made():
        return EndlessBatches(Batches(numbered(), 4, CPU, seed=1), 2)

    first, second = made(), made()
    parts = iter(first)
    given = [[batch["number"].tolist() for batch in next(parts)] for _ in range(7)]

    rest = iter(second)
    second.load_state_dict({"epoch": 1, "seen": 2})

    assert first.steps_per_epoch == 3
    assert [len(step) for step in given] == [2, 2, 1, 2, 2, 1, 2]  # five batches an epoch
    assert first.state_dict() == {"epoch": 2, "seen": 2}
    assert [[batch["number"].tolist() for batch in next(rest)] for _ in range(3)] == given[4:]


@pytest.mark.parametrize(("epoch", "seen"), [(-1, 0), (0, -1), (0, 5), (0, 10**12)])
def test_a_position_that_no_epoch_has_is_refused_instead_of_yielding_nothing_for_ever(epoch, seen):
    batches = EndlessBatches(Batches(numbered(), 4, CPU, seed=1), 2)

    with pytest.raises(ValueError, match=rf"batch {seen} of epoch {epoch}; an epoch has 5 batches"):
        batches.load_state_dict({"epoch": epoch, "seen": seen})


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_for_data_in_memory_are_said_to_have_no_effect(workers):
    with pytest.warns(UserWarning, match=f"num_workers = {workers} has no effect: this data is kept in memory"):
        Batches(Columns({"x": torch.arange(4)}), 2, CPU, workers=workers)


@pytest.mark.filterwarnings("error")
def test_no_workers_for_data_in_memory_are_no_reason_to_warn():
    for workers in (0, "auto"):
        Batches(Columns({"x": torch.arange(4)}), 2, CPU, workers=workers)


def test_a_split_without_examples_to_count_is_refused():
    with pytest.raises(
        InputError, match="this data has no examples to form batches of: its split is a object, neither"
    ):
        Batches(object(), 2, CPU)


def weighted(columns, weights, batch_size=40, **options):
    return Batches(columns, batch_size, CPU, seed=5, sample_weights=weights.double(), **options)


@pytest.mark.parametrize("bucket", [False, True])
def test_examples_are_drawn_as_often_as_their_weights_say(bucket):
    weights = torch.tensor([1.0, 0.0, 4.0, 2.5, 0.5]).repeat(40)
    lengths = torch.arange(200) % 7 + 1
    rows = torch.arange(200).repeat_interleave(lengths)
    columns = Columns({"numbers": Ragged(rows, lengths)}) if bucket else Columns({"numbers": torch.arange(200)})
    batches = weighted(columns, weights)

    drawn = torch.cat(
        [
            batch["numbers"].reshape(len(batch["numbers"]), -1)[:, 0]
            for epoch in range(100)
            for batch in batches.epoch(epoch)
        ]
    )

    counts = drawn.bincount(minlength=200).double()
    expected = weights.double() / weights.sum() * 20_000
    assert len(drawn) == 20_000
    assert counts[weights == 0].sum() == 0
    # The statistic of Pearson's test has mean 159 and standard deviation 18 for 160 examples that can be drawn.
    assert 100 < ((counts - expected).square() / expected)[weights > 0].sum() < 240


def test_the_smallest_random_number_draws_no_example_of_weight_0(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda count, **options: torch.zeros(count, dtype=torch.float64))

    (batch,) = weighted(Columns({"numbers": torch.arange(3)}), torch.tensor([0.0, 1.0, 1.0])).epoch(0)

    assert batch["numbers"].tolist() == [1, 1, 1]


def test_weights_change_neither_the_number_of_batches_nor_their_sizes():
    lengths = torch.arange(23) % 5 + 1
    columns = Columns({"numbers": Ragged(torch.arange(int(lengths.sum())), lengths)})

    plain, drawn = (
        Batches(columns, 7, CPU, sample_weights=weights) for weights in (None, torch.rand(23, dtype=torch.float64))
    )

    assert plain.per_epoch == drawn.per_epoch == 4
    for batches in (plain, drawn):
        assert sorted(len(batch["lengths"]) for batch in batches.epoch(2)) == [2, 7, 7, 7]


def test_a_weighted_epoch_resumed_in_its_middle_gives_the_same_remaining_batches():
    columns, weights = Columns({"numbers": torch.arange(300)}), torch.rand(300)

    whole = [batch["numbers"].tolist() for batch in weighted(columns, weights).epoch(3)]
    rest = [batch["numbers"].tolist() for batch in weighted(columns, weights).epoch(3, 2)]

    assert rest == whole[2:]
    assert whole != [batch["numbers"].tolist() for batch in weighted(columns, weights).epoch(4)]


def test_several_ranks_draw_the_batches_of_one():
    columns, weights = Columns({"numbers": torch.arange(300)}), torch.rand(300)

    alone = [batch["numbers"] for batch in weighted(columns, weights).epoch(0)]
    ranks = [
        [batch["numbers"] for batch in weighted(columns, weights, ranks=Ranks(rank, 3)).epoch(0)] for rank in range(3)
    ]

    for together, *parts in zip(alone, *ranks, strict=True):
        assert torch.cat(parts).sort().values.equal(together.sort().values)


def test_buckets_of_drawn_sequences_leave_little_padding():
    lengths = torch.randint(1, 40, (400,), generator=torch.Generator().manual_seed(1))
    columns = Columns({"numbers": Ragged(torch.arange(int(lengths.sum())), lengths)})

    batches = [batch["lengths"] for batch in weighted(columns, torch.rand(400)).epoch(0)]

    padded = sum(int(batch.max()) * len(batch) for batch in batches)
    assert padded < 1.2 * sum(int(batch.sum()) for batch in batches)


def test_only_some_rows_are_read_in_an_evaluation():
    only = torch.tensor([2, 3, 7, 11, 16])

    for split in (numbered(), Squares()):
        batches = Batches(split, 2, CPU, training=False, only=only)

        assert [batch["number"].tolist() for batch in batches.epoch(0)] == [[2, 3], [7, 11], [16]]
        assert [rows.tolist() for rows in batches.rows()] == [[2, 3], [7, 11], [16]]
        assert batches.per_epoch == 3


def test_ranks_take_turns_at_the_batches_of_some_rows():
    only = torch.tensor([2, 3, 7, 11, 16])

    found = [
        [batch["number"].tolist() if batch else [] for batch in batches.epoch(0)]
        for batches in (
            Batches(numbered(), 2, CPU, training=False, only=only, ranks=Ranks(rank=rank, size=2)) for rank in (0, 1)
        )
    ]

    assert found == [[[2, 3], [], [16]], [[], [7, 11], []]]
