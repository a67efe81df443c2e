from __future__ import annotations

import pytest
import torch

from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe_audio import partners
from dlpipe_audio.partners import FOUND, Partners, SoundAlikes, sounding_alike
from dlpipe_audio.segments import Segment
from dlpipe_audio.tone_words import tone_words

WHO = [("no", "a"), ("yes", "b"), ("no", "b"), ("no", "a"), ("hm", "a"), ("yes", "a"), ("no", "c")]
SEGMENTS = [Segment(str(row), word, speaker) for row, (word, speaker) in enumerate(WHO)]
LENGTHS = torch.arange(1, 8)
FRAMES = Ragged(torch.arange(7.0).repeat_interleave(LENGTHS).unsqueeze(1), LENGTHS)


def drawn(training, seed=0):
    partners = Partners(FRAMES, SEGMENTS)
    split = Columns({"frames": FRAMES, "partners": partners.blocks}, prepare=partners)
    batch = partners(split.batch(torch.arange(7)), torch.Generator().manual_seed(seed), training)
    assert torch.equal(batch["partners_lengths"], LENGTHS[batch["partners"][:, 0, 0].long()])
    return batch["partners"][:, 0, 0].long().tolist()


def test_a_partner_says_the_same_word_with_another_voice():
    found = [drawn(True, seed) for seed in range(30)]

    for rows in found:
        for row, partner in enumerate(rows):
            assert WHO[row][0] == WHO[partner][0]
            assert WHO[row][1] != WHO[partner][1] or row == partner == 4
    assert {rows[0] for rows in found} == {2, 6}
    assert {rows[2] for rows in found} == {0, 3, 6}


def test_in_evaluation_the_partner_is_always_the_same():
    assert drawn(False, 0) == drawn(False, 1)


def test_a_batch_without_the_column_is_left_alone():
    batch = {"frames": torch.zeros(2, 3, 1)}

    assert Partners(FRAMES, SEGMENTS)(batch, torch.Generator(), True) is batch


def alike(sounds=3, each=12):
    """Return recordings of sounds, by two speakers: frames that are near a direction of their own, and who speaks."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(2 * sounds * each) % sounds
    lengths = torch.randint(3, 6, (len(kinds),), generator=generator)
    frames = torch.eye(sounds)[kinds.repeat_interleave(lengths)]
    values = frames + 0.1 * torch.randn(frames.shape, generator=generator)
    # What is said is unknown: all words have one name.
    segments = [Segment(str(row), "?", "a" if row < sounds * each else "b") for row in range(len(kinds))]
    return Ragged(values, lengths), segments, kinds


def test_recordings_that_sound_alike_are_found_without_their_words():
    frames, segments, kinds = alike()

    found = sounding_alike(frames, segments)

    own, other = found[:, :FOUND], found[:, FOUND:]
    assert (kinds[found] == kinds.unsqueeze(1)).float().mean() > 0.95
    assert not (found == torch.arange(len(found)).unsqueeze(1)).any()
    first = torch.arange(len(kinds)) < len(kinds) // 2
    assert (first[own] == first.unsqueeze(1)).all()
    assert (first[other] != first.unsqueeze(1)).all()


def test_a_found_partner_is_drawn_anew_in_training_only():
    frames, segments, _ = alike()
    alikes = SoundAlikes(frames, sounding_alike(frames, segments))
    split = Columns({"frames": frames, "partners": alikes.rows}, prepare=alikes)

    def partners(training, seed):
        return alikes(split.batch(torch.arange(9)), torch.Generator().manual_seed(seed), training)

    def row(found, place):
        lengths = found["partners_lengths"].tolist()
        return found["partners"][place, : lengths[place]]

    assert torch.equal(partners(False, 0)["partners"], partners(False, 1)["partners"])
    first = int(alikes.rows[0, 0])
    expected = frames.gather(frames.indices(torch.tensor([first]), frames.lengths[[first]]))[0]
    assert torch.equal(row(partners(False, 0), 0), expected)
    assert len({row(partners(True, seed), 0).numpy().tobytes() for seed in range(30)}) > 10


def test_all_pairs_of_a_split_are_compared_once_also_without_a_cache(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path / "file"))
    data = tone_words(num_words=40, num_speakers=10, features={"hop_ms": 20.0}, pairs="alike")
    compared, alike = [], partners._alike
    monkeypatch.setattr(partners, "_alike", lambda *given: compared.append(None) or alike(*given))

    first, second = (data.split("test").columns["partners"] for _ in range(2))

    assert len(compared) == 1
    assert torch.equal(first, second)


def test_a_recording_without_others_is_its_own_partner():
    frames, segments, _ = alike(sounds=1, each=1)

    assert sounding_alike(frames, segments[:2]).tolist() == [[0] * 2 + [1, 0], [1] * 2 + [0, 1]]


def test_too_many_recordings_to_compare_all_pairs_are_refused():
    many = [Segment(str(row), "no", "a") for row in range(5001)]

    with pytest.raises(InputError, match=r"each other: 5,001 are too many; expected at most 5,000"):
        sounding_alike(FRAMES, many)


def test_partners_are_found_again_where_other_speakers_say_the_same():
    frames, segments, kinds = alike()
    first = sounding_alike(frames, segments)
    swapped = [Segment(each.name, each.word, f"speaker {row % 2}") for row, each in enumerate(segments)]

    own = sounding_alike(frames, swapped)[:, :FOUND]

    assert (own % 2 == torch.arange(len(kinds)).unsqueeze(1) % 2).all()
    assert not torch.equal(own, first[:, :FOUND])
