import pytest
import torch
from torch.utils.data import Dataset

from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe_generative.split_tensors import batched, isolated_rng, split_tensors, standard_normal

CPU = torch.device("cpu")


def test_a_split_is_one_tensor_prepared_as_for_evaluation(stripes):
    columns = stripes.split("test").columns
    noted = []

    def prepare(batch, generator, training):
        noted.append(training)
        return batch | {"images": batch["images"] * 2}

    stripes.split = lambda name: Columns(columns, prepare=prepare)

    images, classes = split_tensors(stripes, "test", CPU, "here")

    assert torch.equal(images, columns["images"] * 2)
    assert torch.equal(classes, columns["targets"])
    assert noted == [False]


def test_at_most_limit_samples_are_returned_spread_over_the_split(stripes):
    images, classes = split_tensors(stripes, "train", CPU, "here", limit=7)

    columns, rows = stripes.split("train").columns, torch.tensor([0, 9, 19, 29, 39, 49, 59])
    assert torch.equal(images, columns["images"][rows])
    assert torch.equal(classes, columns["targets"][rows])
    assert len(split_tensors(stripes, "test", CPU, "here", limit=99)[0]) == 15


def test_only_limit_examples_of_a_dataset_are_read(stripes):
    columns, read = stripes.split("train").columns, []

    class Files(Dataset):
        def prepare(self, batch, generator, training):
            return batch | {"images": batch["images"] * 2}

        def __len__(self):
            return 60

        def __getitem__(self, row):
            read.append(row)
            return {name: column[row] for name, column in columns.items()}

    stripes.split = lambda name: Files()

    images, _ = split_tensors(stripes, "train", CPU, "here", limit=2)

    assert read == [0, 59]
    assert torch.equal(images, columns["images"][[0, 59]] * 2)


def test_data_without_images_or_points_is_rejected(stripes):
    stripes.split = lambda name: Columns({"tokens": torch.zeros(3), "targets": torch.zeros(3)})

    with pytest.raises(
        InputError,
        match="here needs data with a column images or points; the data has tokens, targets; choose data of images",
    ):
        split_tensors(stripes, "train", CPU, "here")


def test_latent_vectors_depend_on_the_seed_only():
    assert torch.equal(standard_normal(8, 3, 1, CPU), standard_normal(8, 3, 1, CPU))
    assert not torch.equal(standard_normal(8, 3, 2, CPU), standard_normal(8, 3, 1, CPU))


def test_tensors_are_batched_alike_and_none_stays_none():
    rows = torch.arange(1203)

    cut = list(batched(rows, None, rows * 2))

    assert torch.equal(torch.cat([first for first, _, _ in cut]), rows)
    assert all(nothing is None and torch.equal(first * 2, second) for first, nothing, second in cut)
    assert len(cut) == 3


def test_isolated_random_numbers_follow_from_the_seed_and_change_nothing_outside():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    with isolated_rng(1, CPU):
        first = torch.rand(1)
    after = torch.rand(1)
    with isolated_rng(1, CPU):
        second = torch.rand(1)

    assert torch.equal(after, expected)
    assert torch.equal(first, second)
