from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
import torch
from torch.testing import assert_close

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe_audio.ctc_recognizer import CTCRecognizer
from dlpipe_audio.prefix_search import most_probable

LABELS = ["a", "b"]
BLANK = len(LABELS)


def tiny(**options):
    torch.manual_seed(0)
    return CTCRecognizer(3, LABELS, **{"hidden_dim": 4, "num_layers": 1, "dropout": 0.0} | options)


def collapsed(path):
    """Return what a path says: equal neighbors are one label, and blanks are none."""
    return tuple(label for label, _ in itertools.groupby(path) if label != BLANK)


def transcripts(probabilities):
    """Return the probability of each transcript, by adding up all paths."""
    found = defaultdict(float)
    for path in itertools.product(range(BLANK + 1), repeat=len(probabilities)):
        found[collapsed(path)] += math.prod(frame[label] for frame, label in zip(probabilities, path, strict=True))
    return found


@pytest.mark.parametrize("said", [(0,), (1, 0), (0, 0), (0, 1, 0)])
def test_the_loss_adds_up_all_paths_that_say_a_transcript(said):
    logits = torch.randn(1, 4, BLANK + 1, generator=torch.Generator().manual_seed(1))
    found = transcripts(logits.double().softmax(2)[0].tolist())

    loss = tiny().loss(logits, torch.tensor([said]), torch.tensor([4]), torch.tensor([len(said)]))

    assert float(loss) == pytest.approx(-math.log(found[said]) / len(said), rel=1e-5)


def test_the_loss_is_the_mean_over_all_labels_and_depends_on_no_padding():
    model, generator = tiny(), torch.Generator().manual_seed(2)
    logits = torch.randn(2, 6, BLANK + 1, generator=generator)
    targets = torch.tensor([[0, 1, 1], [1, IGNORE_INDEX, IGNORE_INDEX]])
    lengths, counts = torch.tensor([6, 2]), torch.tensor([3, 1])

    loss = model.loss(logits, targets, lengths, counts)

    first = model.loss(logits[:1], targets[:1], lengths[:1], counts[:1])
    second = model.loss(logits[1:, :2], targets[1:, :1], lengths[1:], counts[1:])
    assert_close(loss, (3 * first + second) / 4)
    assert_close(model.eval().loss(logits, targets, lengths, counts), loss)


def test_transcripts_as_long_as_their_recordings_share_their_lengths():
    logits = torch.randn(2, 3, BLANK + 1)
    targets, lengths = torch.tensor([[0, 1, 0], [1, 0, IGNORE_INDEX]]), torch.tensor([3, 2])

    assert_close(tiny().loss(logits, targets, lengths), tiny().loss(logits, targets, lengths, lengths.clone()))


def test_evaluation_leaves_out_labels_that_the_model_does_not_know():
    model = tiny().eval()
    logits = torch.randn(1, 5, BLANK + 1)

    loss = model.loss(logits, torch.tensor([[0, IGNORE_INDEX, 1]]), torch.tensor([5]), torch.tensor([3]))

    assert_close(loss, model.loss(logits, torch.tensor([[0, 1]]), torch.tensor([5]), torch.tensor([2])))


def test_the_best_path_is_collapsed_and_ends_with_its_recording():
    paths = torch.tensor([[0, 0, 2, 0, 1, 1], [2, 1, 2, 2, 0, 0], [2, 2, 2, 2, 2, 2]])
    logits = torch.nn.functional.one_hot(paths, BLANK + 1).float()

    found = tiny().predict(logits, torch.tensor([6, 4, 6]))

    padding = IGNORE_INDEX
    assert found.tolist() == [[0, 0, 1, *3 * [padding]], [1, *5 * [padding]], 6 * [padding]]


def test_the_most_probable_transcript_need_not_be_that_of_the_best_path():
    probabilities = torch.tensor([[[0.4, 0.0, 0.6], [0.4, 0.0, 0.6]]])  # no label: 0.36; "a": 0.64

    best, searched = (tiny(beam_size=size).predict(probabilities.log(), torch.tensor([2])) for size in (1, 5))

    assert best.tolist() == [[IGNORE_INDEX, IGNORE_INDEX]]
    assert searched.tolist() == [[0, IGNORE_INDEX]]


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_most_probable_transcript(seed):
    scores = 2 * torch.randn(5, BLANK + 1, generator=torch.Generator().manual_seed(seed))
    probabilities = scores.double().softmax(1).tolist()
    expected = transcripts(probabilities)

    assert tuple(most_probable(probabilities, 100)) == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("seed", range(5))
def test_a_narrow_beam_loses_nothing_by_leaving_out_improbable_labels(seed):
    scores = 2 * torch.randn(12, 8, generator=torch.Generator().manual_seed(seed))
    probabilities = scores.double().softmax(1).tolist()

    assert most_probable(probabilities, 2) == followed(probabilities, 2)


def followed(probabilities, beam_size):
    """Search in the same way, but with all labels."""
    beam = {(): (1.0, 0.0)}
    for *labels, blank in probabilities:
        found = defaultdict(lambda: [0.0, 0.0])
        for said, (paused, speaking) in beam.items():
            found[said][0] += (paused + speaking) * blank
            if said:
                found[said][1] += speaking * labels[said[-1]]
            for label, probability in enumerate(labels):
                repeats = said and label == said[-1]
                found[*said, label][1] += (paused if repeats else paused + speaking) * probability
        beam = dict(sorted(found.items(), key=lambda entry: -sum(entry[1]))[:beam_size])
    return list(next(iter(beam)))


def test_a_long_recording_has_a_transcript_although_its_probability_is_too_small_for_a_number():
    probabilities = [[0.9, 0.0, 0.1], *[[1e-9, 1e-9, 1e-6]] * 100, [0.0, 0.9, 0.1]]

    assert most_probable(probabilities, 3) == [0, 1]


@pytest.mark.parametrize("longest", [7, 60])
@pytest.mark.parametrize("cell", ["lstm", "gru", "none"])
def test_scores_depend_on_no_padding(cell, longest):
    model = tiny(cell=cell, context=2) if cell != "none" else CTCRecognizer(3, LABELS, cell=cell, context=2)
    frames = torch.randn(2, longest, 3)
    frames[1, 4:] = 0.0

    both = model.eval()(frames, torch.tensor([longest, 4]))

    assert both.shape == (2, longest, BLANK + 1)
    assert_close(both[1, :4], model(frames[1:, :4], torch.tensor([4]))[0])


def test_a_batch_of_unknown_labels_has_a_finite_loss():
    targets = torch.full((1, 2), IGNORE_INDEX)

    loss = tiny().eval().loss(torch.randn(1, 5, BLANK + 1), targets, torch.tensor([5]), torch.tensor([2]))

    assert loss.isfinite()


def test_targets_that_are_no_transcripts_are_refused():
    with pytest.raises(
        InputError, match=r"got targets of shape \(2,\); expected transcripts, a sequence of labels for each"
    ):
        tiny().loss(torch.randn(2, 5, BLANK + 1), torch.tensor([0, 1]), torch.tensor([5, 5]))


def test_without_a_recurrent_layer_a_score_depends_on_a_frame_and_its_neighbors_only():
    model = CTCRecognizer(3, LABELS, cell="none", context=2).eval()
    frames = torch.randn(1, 9, 3, requires_grad=True)

    model(frames, torch.tensor([9]))[0, 4].sum().backward()

    assert frames.grad.abs().sum((0, 2)).nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
