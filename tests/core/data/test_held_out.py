from collections import Counter

from dlpipe.data.held_out import stratified_fold, stratified_sample

LABELS = ["a"] * 20 + ["b"] * 10 + ["c"]


def test_a_sample_has_the_same_share_of_each_class_and_leaves_a_class_of_one():
    chosen = stratified_sample(LABELS, 0.2, seed=3)

    assert Counter(LABELS[number] for number in chosen) == {"a": 4, "b": 2}


def test_a_sample_has_at_least_one_example_of_a_class_of_two():
    assert len(stratified_sample(["x", "x"], 0.01, seed=0)) == 1


def test_the_seed_decides_which_examples_are_held_out():
    assert stratified_sample(LABELS, 0.2, seed=3) == stratified_sample(LABELS, 0.2, seed=3)
    assert stratified_sample(LABELS, 0.2, seed=3) != stratified_sample(LABELS, 0.2, seed=4)


def test_each_example_is_in_one_fold_and_folds_have_nearly_one_size():
    folds = [stratified_fold(LABELS, fold, 5, seed=1) for fold in range(1, 6)]

    assert sorted(number for fold in folds for number in fold) == list(range(31))
    assert {len(fold) for fold in folds} == {6, 7}
    assert all(Counter(LABELS[number] for number in fold)["a"] == 4 for fold in folds)


def test_the_surplus_of_the_classes_goes_to_different_folds():
    labels = [label for label in "abcde" for _ in range(6)]

    assert [len(stratified_fold(labels, fold, 5, seed=1)) for fold in range(1, 6)] == [6] * 5
