import numpy as np
import pytest
from sklearn import datasets

from dlpipe.tabular.sklearn_tables import read_sklearn


def test_classes_are_the_names_that_scikit_learn_gives_them():
    table, targets = read_sklearn("sklearn:iris")
    bunch = datasets.load_iris()

    assert targets == ["target"]
    assert table.frame.columns == [*bunch.feature_names, "target"]
    assert table.frame["target"].to_list() == [str(bunch.target_names[number]) for number in bunch.target]
    assert np.array_equal(table.frame.drop("target").to_numpy(), bunch.data)


def test_the_measurements_of_diabetes_are_not_scaled_over_all_examples():
    table, _ = read_sklearn("sklearn:diabetes")

    assert table.frame["age"].min() == 19
    assert table.frame["age"].max() == 79


def test_linnerud_has_three_targets():
    table, targets = read_sklearn("sklearn:linnerud")

    assert targets == ["Weight", "Waist", "Pulse"]
    assert table.frame.columns == ["Chins", "Situps", "Jumps", *targets]


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "digits"])
def test_the_other_data_sets_are_read(name):
    table, targets = read_sklearn(f"sklearn:{name}")

    assert len(table) == len(getattr(datasets, f"load_{name}")().target)
    assert table.frame[targets[0]].n_unique() == {"wine": 3, "breast_cancer": 2, "digits": 10}[name]
