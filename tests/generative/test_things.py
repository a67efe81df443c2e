import pytest
import torch
from torch.utils.data import Dataset

from dlpipe.data.columns import Columns
from dlpipe.errors import InputError
from dlpipe_generative.things import isolated, normal, parts, things

CPU = torch.device("cpu")


def test_a_split_is_one_tensor_prepared_as_for_judging(stripes):
    columns = stripes.split("test").columns
    noted = []

    def prepare(batch, generator, training):
        noted.append(training)
        return batch | {"images": batch["images"] * 2}

    stripes.split = lambda name: Columns(columns, prepare=prepare)

    images, classes = things(stripes, "test", CPU, "here")

    assert torch.equal(images, columns["images"] * 2)
    assert torch.equal(classes, columns["targets"])
    assert noted == [False]


def test_only_so_many_are_returned_from_all_over_the_split(stripes):
    images, classes = things(stripes, "train", CPU, "here", limit=7)

    columns, rows = stripes.split("train").columns, torch.tensor([0, 9, 19, 29, 39, 49, 59])
    assert torch.equal(images, columns["images"][rows])
    assert torch.equal(classes, columns["targets"][rows])
    assert len(things(stripes, "test", CPU, "here", limit=99)[0]) == 15


def test_so_many_of_a_dataset_are_read_and_no_more(stripes):
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

    images, _ = things(stripes, "train", CPU, "here", limit=2)

    assert read == [0, 59]
    assert torch.equal(images, columns["images"][[0, 59]] * 2)


def test_data_of_neither_images_nor_points_is_refused(stripes):
    stripes.split = lambda name: Columns({"tokens": torch.zeros(3), "targets": torch.zeros(3)})

    with pytest.raises(
        InputError, match="here learns to draw images or points; this data has tokens, targets: choose data of images"
    ):
        things(stripes, "train", CPU, "here")


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    assert torch.equal(normal(8, 3, 1, CPU), normal(8, 3, 1, CPU))
    assert not torch.equal(normal(8, 3, 2, CPU), normal(8, 3, 1, CPU))


def test_rows_are_cut_alike_and_none_stays_none():
    rows = torch.arange(1203)

    cut = list(parts(rows, None, rows * 2))

    assert torch.equal(torch.cat([first for first, _, _ in cut]), rows)
    assert all(nothing is None and torch.equal(first * 2, second) for first, nothing, second in cut)
    assert len(cut) == 3


def test_what_is_drawn_in_isolation_follows_from_its_seed_and_changes_nothing_outside():
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)

    with isolated(1, CPU):
        first = torch.rand(1)
    after = torch.rand(1)
    with isolated(1, CPU):
        second = torch.rand(1)

    assert torch.equal(after, wanted)
    assert torch.equal(first, second)
