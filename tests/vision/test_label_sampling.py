from __future__ import annotations

import torch

from dlpipe_vision.label_sampling import long_tail, stratified_sample, with_wrong_labels


def test_dev_is_taken_from_everywhere_in_a_class():
    taken = stratified_sample(torch.arange(3).repeat_interleave(200), 60)

    places = taken.view(3, 20) - torch.arange(3)[:, None] * 200  # in each class
    assert (places.double().mean(1) - 99.5).abs().max() < 4 * 200 / (12 * 20) ** 0.5
    assert places.max() > 150 > 50 > places.min()
    assert places.diff().unique().numel() > 5  # at random, not every tenth


def test_the_only_image_of_a_class_stays_in_training():
    taken = stratified_sample(torch.tensor([0, 0, 0, 0, 1]), 4)

    assert 4 not in taken.tolist()
    assert len(taken) == 3


def test_wrong_labels_are_all_other_classes_alike():
    targets = torch.arange(3).repeat_interleave(4000)

    wrong = with_wrong_labels(targets, 1.0, 3)

    counts = (targets * 3 + wrong).bincount(minlength=9)
    assert counts.view(3, 3).diagonal().tolist() == [0, 0, 0]
    assert counts[counts > 0].min() > 1850


def test_of_a_long_tail_each_class_keeps_a_smaller_share_than_the_one_before():
    targets = torch.arange(5).repeat(80)

    rows = long_tail(targets, 16.0, 5)

    assert targets[rows].bincount().tolist() == [80, 40, 20, 10, 5]
    assert torch.equal(rows, rows.unique())
    assert torch.equal(rows, long_tail(targets, 16.0, 5))


def test_every_class_of_a_long_tail_keeps_an_image():
    targets = torch.arange(3).repeat(4)

    assert targets[long_tail(targets, 1000.0, 3)].bincount().tolist() == [4, 1, 1]
