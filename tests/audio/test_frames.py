"""Single frames with their neighbors, and the vote of the frames of a recording."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.frames import frames
from dlpipe_audio.frames_vote import FramesVote
from dlpipe_audio.recorded_words import folder

from .conftest import audio, digits, tone

OPTIONS = {"rate_hz": 8000, "test_speakers": ["bob"], "dev_speakers": ["cem"]}


class Listener(nn.Module):
    """Says for each frame what is known of it; knows the frames by their values."""

    def __init__(self, images, outputs):
        super().__init__()
        self.known = {image.numpy().tobytes(): output for image, output in zip(images, outputs, strict=True)}

    def forward(self, images):
        return torch.stack([self.known[image.numpy().tobytes()] for image in images])


def vote(data, outputs):
    listener = Listener(data.split("test").columns["images"], outputs)
    return FramesVote().evaluate(listener, Examples(data, "test", Compute(torch.device("cpu"))))


def test_a_frame_has_its_neighbors_and_the_first_and_the_last_frame_of_a_word_are_repeated(write):
    path = write(digits())
    word = folder(path, **OPTIONS).split("test").batch(torch.tensor([0]))["frames"][0]

    data = frames(path, context=2, **OPTIONS)
    images = data.split("test").columns["images"]

    assert data.facts["image_shape"] == images.shape[1:] == (1, 5, 13)
    for frame, rows in ((0, [0, 0, 0, 1, 2]), (7, [5, 6, 7, 8, 9]), (len(word) - 1, [-3, -2, -1, -1, -1])):
        assert torch.equal(images[frame, 0], word[rows])


def test_a_word_ends_where_the_next_one_begins(write):
    path = write(digits())
    words = folder(path, **OPTIONS).split("test")

    images = frames(path, context=1, **OPTIONS).split("test").columns["images"]

    first = int(words.columns["frames"].lengths[0])
    assert torch.equal(images[first, 0, 0], words.batch(torch.tensor([1]))["frames"][0, 0])


def test_the_class_of_a_frame_is_the_word_and_the_part_of_the_word(write):
    path = write(digits())
    length = int(folder(path, **OPTIONS).split("test").columns["frames"].lengths[-1])

    data = frames(path, states=3, **OPTIONS)
    targets = data.split("test").columns["targets"][-length:]

    assert data.facts["labels"] == ["no 1", "no 2", "no 3", "yes 1", "yes 2", "yes 3"]
    assert targets.tolist() == sorted(targets.tolist())
    counts = targets.bincount()
    assert counts[:3].sum() == 0
    assert counts[3:].max() - counts[3:].min() <= 1
    assert set(frames(path, **OPTIONS).split("test").columns["targets"].tolist()) == {0, 1}


def test_a_word_that_training_lacks_has_no_class(write):
    data = frames(write(digits() | {"maybe_bob_0.wav": audio(tone())}), states=2, **OPTIONS)

    targets = data.split("test").columns["targets"]

    assert set(targets.tolist()) == {0, 1, 2, 3, IGNORE_INDEX}
    assert FramesVote().evaluate(
        Listener(data.split("test").columns["images"], torch.zeros(len(targets), 4)),
        Examples(data, "test", Compute(torch.device("cpu"))),
    )["accuracy"] == pytest.approx(0.5)


def test_a_frame_is_named_by_its_recording_and_time(write):
    path = write(digits() | {"no_ann@home_9.wav": audio(tone())})
    data = frames(path, **OPTIONS)
    split, names = data.split("test"), data.names("test")

    item = str(path / names[40])

    assert names[3] == "no_bob_0.wav@0.03"
    assert len(set(names)) == len(names) == len(split)
    assert torch.equal(data.encode(item)["images"], split.columns["images"][40])
    assert item in list(data.expand(item.partition("@")[0]))
    assert list(data.expand(item)) == [item]
    assert next(data.expand(str(path / "no_ann@home_9.wav"))).endswith("@home_9.wav@0")
    told = data.present(item, torch.tensor(1), torch.tensor([0.5, 0.5]))
    assert told == {"label": "yes", "probability": 0.5}
    assert {name.partition("@")[0] for name in data.expand(str(path))} >= {item.partition("@")[0]}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("yes_bob_0.wav", r'yes_bob_0.wav": expected a recording and a time in seconds, such as yes.wav@0.25'),
        ("yes_bob_0.wav@soon", r"yes_bob_0.wav@soon.*expected a recording and a time"),
        ("yes_bob_0.wav@nan", r"expected a recording and a time"),
        ("yes_bob_0.wav@1e999", r"expected a recording and a time"),
        ("0.25", r'/0.25": expected a recording and a time'),
        ("yes_bob_0.wav@7", r'yes_bob_0.wav@7": the recording has frames from 0 to 0.2 s'),
        ("yes_bob_0.wav@-1", r"the recording has frames from 0 to 0.2 s"),
    ],
)
def test_what_names_no_frame_is_refused(write, item, message):
    path = write(digits())

    with pytest.raises(InputError, match=message):
        frames(path, **OPTIONS).encode(str(path / item))


def test_recordings_in_two_splits_are_found_frame_by_frame(write):
    data = frames(write(digits() | {"no_bob_9.wav": digits()["no_ann_0.wav"]}), **OPTIONS)

    same, _ = data.copies("test", "train")

    assert [name.partition("@")[0] for name, found in zip(data.names("test"), same, strict=True) if found] == [
        "no_bob_9.wav"
    ] * int(same.sum())
    assert same.any()


def test_context_and_states_decide_the_fingerprint(write):
    path = write(digits())

    found = {frames(path, **OPTIONS, **options).fingerprint() for options in ({}, {"context": 4}, {"states": 2})}

    assert len(found) == 3


def test_the_frames_of_a_recording_vote_with_their_probabilities(write):
    data = frames(write(digits()), states=2, **OPTIONS)
    targets = data.split("test").columns["targets"]
    # In one frame in ten, the right state is certain; all others say something else, hardly more likely.
    wrong = (targets + 2) % 4
    outputs = nn.functional.one_hot(wrong, 4) * 0.1
    outputs[::10] = nn.functional.one_hot(targets[::10], 4) * 9.0

    found = vote(data, outputs)

    assert found == {"accuracy": 1.0, "frame_accuracy": pytest.approx(0.1, abs=0.01)}


def test_all_states_of_a_word_are_votes_for_it(write):
    data = frames(write(digits()), states=2, **OPTIONS)
    targets = data.split("test").columns["targets"]
    other_state = targets + 1 - 2 * (targets % 2)

    found = vote(data, nn.functional.one_hot(other_state, 4) * 5.0)

    assert found == {"accuracy": 1.0, "frame_accuracy": 0.0}


def test_words_are_not_frames(write):
    examples = Examples(folder(write(digits()), **OPTIONS), "test", Compute(torch.device("cpu")))

    with pytest.raises(InputError, match=r"audio.frames_vote judges the frames of audio.frames; WordData has none"):
        FramesVote().evaluate(nn.Linear(1, 1), examples)


def test_recordings_that_cannot_be_used_are_left_out_where_the_user_asks_for_it(write):
    path = write(digits() | {"yes_bob_9.wav": b""})

    with pytest.warns(UserWarning, match=r"1 of 9 words of the test split cannot be used and are left out"):
        data = frames(path, skip_bad=True, **OPTIONS).split("test")

    assert len(data) == len(frames(write(digits(), "without"), **OPTIONS).split("test"))
