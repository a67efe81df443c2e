import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close

from dlpipe.data.columns import Columns, Ragged, columns_of


def sequences(lengths, *trailing, seed=0):
    """Return random sequences (length, …) of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, *trailing, generator=generator) for length in lengths]


def ragged(parts, padding=0.0):
    return Ragged(torch.cat(parts), torch.tensor([len(part) for part in parts]), padding=padding)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=9), st.data())
def test_a_batch_of_sequences_equals_one_padded_by_hand(lengths, data):
    parts = sequences(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))

    batch = Columns({"waveform": ragged(parts, padding=-3.0)}).batch(torch.tensor(rows))

    expected = pad_sequence([parts[row] for row in rows], batch_first=True, padding_value=-3.0)
    assert_close(batch["waveform"], expected, rtol=0, atol=0)
    assert batch["lengths"].tolist() == [lengths[row] for row in rows]


def test_sequences_of_vectors_keep_their_trailing_axes():
    parts = sequences([2, 5, 3], 7, 4)

    batch = Columns({"frames": ragged(parts)}).batch(torch.tensor([2, 1]))

    assert_close(batch["frames"], pad_sequence([parts[2], parts[1]], batch_first=True))


def test_a_batch_of_one_length_holds_no_padding():
    parts = sequences([3, 5, 3])

    batch = Columns({"frames": ragged(parts, padding=9.0)}).batch(torch.tensor([0, 2]))

    assert_close(batch["frames"], torch.stack([parts[0], parts[2]]))


def test_empty_sequences_alone_make_a_batch_without_positions():
    column = Ragged(torch.empty(0, 2), torch.tensor([0, 0]))

    batch = Columns({"frames": column}).batch(torch.tensor([0, 1]))

    assert batch["frames"].shape == (2, 0, 2)
    assert batch["lengths"].tolist() == [0, 0]


def test_an_empty_sequence_beside_others_is_all_padding():
    parts = sequences([2, 0, 5])

    batch = Columns({"frames": ragged(parts, padding=8.0)}).batch(torch.tensor([1, 2]))

    assert batch["frames"][0].tolist() == [8.0] * 5


@pytest.mark.parametrize(("multiple", "expected"), [(1, 5), (2, 6), (5, 5), (8, 8)])
def test_sequences_can_be_padded_to_a_multiple_of_a_length(multiple, expected):
    parts = sequences([2, 5])

    batch = Columns({"frames": ragged(parts, padding=8.0)}).batch(torch.tensor([1, 0]), multiple=multiple)

    assert batch["frames"].shape[1] == expected
    assert batch["frames"][0].tolist() == parts[1].tolist() + [8.0] * (expected - 5)
    assert batch["frames"][1].tolist() == parts[0].tolist() + [8.0] * (expected - 2)
    assert batch["lengths"].tolist() == [5, 2]


def test_dense_columns_are_taken_by_row_beside_sequences():
    images = torch.arange(3 * 2).view(3, 2)

    batch = Columns({"images": images, "tokens": ragged(sequences([2, 1, 5]))}).batch(torch.tensor([2, 0]))

    assert batch["images"].tolist() == [[4, 5], [0, 1]]
    assert batch["lengths"].tolist() == [5, 2]


def test_a_batch_without_sequences_has_no_lengths():
    batch = Columns({"images": torch.arange(5), "targets": torch.arange(5)}).batch(torch.tensor([3]))

    assert set(batch) == {"images", "targets"}


def test_sequences_of_the_same_lengths_share_them():
    classes = [torch.tensor([1, 0]), torch.tensor([0, 1, 2, 1, 0])]
    columns = Columns({"tokens": ragged(sequences([2, 5])), "targets": ragged(classes, padding=-100)})

    batch = columns.batch(torch.tensor([0, 1]))

    assert set(batch) == {"tokens", "targets", "lengths"}
    assert batch["targets"][0, 2:].tolist() == [-100] * 3


def test_sequences_of_other_lengths_bring_lengths_of_their_own():
    columns = Columns({"frames": ragged(sequences([7, 5])), "phones": ragged(sequences([2, 3]))})

    batch = columns.batch(torch.tensor([1, 0]))

    assert batch["lengths"].tolist() == [5, 7]
    assert batch["phones_lengths"].tolist() == [3, 2]
    assert batch["phones"].shape == (2, 3)
    assert columns.lengths.tolist() == [7, 5]


def test_selecting_keeps_the_named_columns_only():
    columns = Columns({"tokens": ragged(sequences([2, 5])), "images": torch.zeros(2, 3), "targets": torch.arange(2)})

    batch = columns.select({"images", "targets", "unheard_of"}).batch(torch.tensor([1]))

    assert set(batch) == {"images", "targets"}


def test_selecting_nothing_that_is_there_keeps_all():
    columns = Columns({"images": torch.zeros(2, 3)})

    assert set(columns.select({"input"}).columns) == {"images"}


def test_lengths_mean_the_same_after_selecting():
    columns = Columns({"frames": ragged(sequences([7, 5])), "phones": ragged(sequences([2, 3]))})

    batch = columns.select({"phones", "phones_lengths"}).batch(torch.tensor([0, 1]))

    assert set(batch) == {"phones", "phones_lengths"}
    assert batch["phones_lengths"].tolist() == [2, 3]


def test_lengths_that_are_asked_for_bring_their_sequences_along():
    columns = Columns({"frames": ragged(sequences([7, 5])), "phones": ragged(sequences([2, 3]))})

    batch = columns.select({"phones", "lengths"}).batch(torch.tensor([0, 1]))

    assert batch["lengths"].tolist() == [7, 5]


def test_moving_to_a_device_keeps_the_lengths_on_the_cpu():
    columns = Columns({"tokens": ragged(sequences([2, 5])), "targets": torch.arange(2)})

    moved = columns.to(torch.device("meta"))

    assert moved.device == torch.device("meta")
    assert moved.lengths.device == torch.device("cpu")
    assert moved.columns["tokens"].starts.device == torch.device("meta")


def test_moving_to_the_same_device_moves_nothing():
    columns = Columns({"targets": torch.arange(2)})

    assert columns.to(torch.device("cpu")) is columns


def test_columns_know_their_size():
    columns = Columns({"images": torch.zeros(5, 7), "tokens": ragged(sequences([2, 1, 0, 3, 1]))})

    assert len(columns) == 5
    assert columns.nbytes == 5 * 7 * 4 + (7 + 1) * 4  # one position more is the padding


def test_single_examples_become_columns():
    examples = [{"tokens": torch.arange(n), "image": torch.full((2,), float(n))} for n in (2, 5)]

    batch = columns_of(examples, {"tokens": 9}).batch(torch.tensor([0, 1]))

    assert batch["tokens"].tolist() == [[0, 1, 9, 9, 9], [0, 1, 2, 3, 4]]
    assert batch["image"].tolist() == [[2, 2], [5, 5]]


def test_lengths_that_do_not_sum_up_are_refused():
    with pytest.raises(ValueError, match=r"lengths sum to 7, but values has 5 positions"):
        Ragged(torch.zeros(5), torch.tensor([2, 5]))


def test_columns_of_different_numbers_of_examples_are_refused():
    with pytest.raises(ValueError, match=r"different numbers of examples: \{'images': 5, 'targets': 2\}"):
        Columns({"images": torch.zeros(5), "targets": torch.zeros(2)})


@pytest.mark.parametrize("name", ["lengths", "phones_lengths"])
def test_a_column_named_as_lengths_are_is_refused(name):
    columns = {"frames": ragged(sequences([7, 5])), "phones": ragged(sequences([2, 3])), name: torch.arange(2)}

    with pytest.raises(ValueError, match=rf"name of column '{name}' is reserved for the lengths of sequences"):
        Columns(columns)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("rows", "the numbers of the examples"),
        ("step", "the number of steps"),
        ("class_weights", "an option of the tra"),
    ],
)
def test_a_column_with_the_name_of_something_else_is_refused(name, use):
    with pytest.raises(ValueError, match=f"name of column '{name}' is reserved for {use}.*; rename it"):
        Columns({"points": torch.zeros(2), name: torch.zeros(2)})


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        ([0, 1], {}, r"'targets' is padded with 0, which would count as a class; .* padding=IGNORE_INDEX\), .* -100"),
        ([0, 1], {"padding": 2, "table": torch.tensor([5, 6, 7])}, "'targets' is padded with 7, which would count"),
        ([0.0, 1.0], {"padding": -100}, "'targets' has sequences of numbers, whose padding would count as targets; .*"),
    ],
)
def test_targets_whose_padding_would_count_are_refused(targets, options, message):
    with pytest.raises(ValueError, match=message):
        Columns({"targets": Ragged(torch.tensor(targets), torch.tensor([2]), **options)})


def test_values_that_repeat_are_taken_from_a_table():
    table = torch.tensor([[5, 6], [7, 8], [0, 0]])
    rows = torch.tensor([1, 0, 1], dtype=torch.int32)
    column = Ragged(rows, torch.tensor([1, 2]), padding=2, table=table)

    batch = Columns({"letters": column}).batch(torch.tensor([0, 1]))

    assert batch["letters"].tolist() == [[[7, 8], [0, 0]], [[5, 6], [7, 8]]]
    assert column.concatenated().tolist() == [[7, 8], [5, 6], [7, 8]]
    assert column.nbytes == 4 * 4 + table.nbytes
    assert column.to(torch.device("meta")).table.device.type == "meta"


@pytest.mark.parametrize(("largest", "stored"), [(2**31 - 1, torch.int32), (2**31, torch.int64)])
def test_whole_numbers_are_kept_in_half_the_memory_where_they_fit(largest, stored):
    sequences = Ragged(torch.tensor([-(2**31), largest, 5]), torch.tensor([2, 1]), padding=-100)

    batch = Columns({"tokens": sequences}).batch(torch.tensor([0, 1]))

    assert sequences.values.dtype == stored
    assert batch["tokens"].dtype == torch.int64
    assert batch["tokens"].tolist() == [[-(2**31), largest], [5, -100]]
    assert sequences.to(torch.device("cpu")).concatenated().dtype == torch.int64
