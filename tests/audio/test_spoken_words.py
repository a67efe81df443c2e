from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
import torch

from dlpipe.errors import DataError, InputError
from dlpipe_audio import spoken_words as module
from dlpipe_audio.english_words import WORDS
from dlpipe_audio.pseudo_words import CONSONANTS, VOWELS, pseudo_words, spelled
from dlpipe_audio.segments import Segment
from dlpipe_audio.spoken_words import VARIANTS, SpokenWords, spoken, spoken_words

ORDERS = [
    {"text": "banana", "voice": "en-us+m3", "speed": 160, "pitch": 50},
    {"text": "fear", "voice": "en+f4", "speed": 140, "pitch": 60},
    {"text": "near", "voice": "en-gb-scotland+Andy", "speed": 200, "pitch": 40},
]


@pytest.mark.usefixtures("espeak")
def test_the_same_list_is_spoken_alike_in_every_process():
    first, again = spoken(ORDERS), spoken(ORDERS)

    assert len(first) == 3
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert all(0.2 < len(wave) / 22_050 < 1.5 and wave.abs().max() > 0.1 for wave in first)


@pytest.mark.usefixtures("espeak")
def test_every_voice_exists_and_speaks():
    orders = [{"text": "banana", "voice": f"en-us+{variant}", "speed": 160, "pitch": 50} for variant in VARIANTS]

    waves = spoken(orders)

    assert len({tuple(wave[:2000:50].tolist()) for wave in waves}) > len(VARIANTS) - 3


@pytest.mark.usefixtures("espeak")
def test_an_unknown_voice_is_refused():
    with pytest.raises(DataError, match=r"espeak-ng failed: ValueError: espeak-ng has no voice 'en-us\+nobody'"):
        spoken([ORDERS[0] | {"voice": "en-us+nobody"}])


@pytest.mark.usefixtures("espeak")
def test_words_have_noise_and_the_rate_that_is_asked_for():
    source = SpokenWords(40, 10, 1, 8000)
    segment = source.segments("test")[0]

    wave = source.waveform(segment)

    assert 0.2 < len(wave) / 8000 < 1.5
    assert wave[:50].abs().min() > 0
    assert torch.equal(wave, SpokenWords(40, 10, 1, 8000).waveform(segment))


def test_words_are_spoken_as_in_the_published_measurements():
    orders = [
        module._order(Segment(f"{word}_{speaker}_0", word, speaker))
        for word, speaker in (("fear", "3"), ("near", "12"))
    ]

    assert orders == [
        {"text": "fear", "voice": "en-gb-x-rp+m2", "speed": 124, "pitch": 45},
        {"text": "near", "voice": "en-gb-scotland+anika", "speed": 134, "pitch": 40},
    ]


def test_a_process_that_fails_says_which_data_needs_no_synthesizer(monkeypatch, tmp_path):
    child = tmp_path / "child.py"
    child.write_text("raise OSError('libespeak-ng.so: wrong architecture')")
    monkeypatch.setattr(module, "_CHILD", child)

    with pytest.raises(
        DataError, match=r"espeak-ng failed: OSError: libespeak.*or use audio.tone_words, which does not"
    ):
        spoken(ORDERS)


def test_the_library_is_imported_by_no_other_module_than_that_of_the_child(root):
    for path in (root / "plugins" / "audio").rglob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert path.name == "speak.py" or "espeakng_loader" not in names


def test_words_rhyme_with_their_neighbors_and_have_phones():
    assert WORDS["fear"][1:] == WORDS["near"][1:]
    assert WORDS["fame"][1:] == WORDS["name"][1:]
    assert all(phones for phones in WORDS.values())


def test_more_words_or_voices_than_there_are_cannot_be_asked_for():
    with pytest.raises(InputError, match="num_words = 206: expected at most 205"):
        spoken_words(num_words=206)
    with pytest.raises(InputError, match="num_speakers = 49: expected at most 48"):
        spoken_words(num_speakers=49)


def test_pseudo_words_are_the_same_every_time_and_none_is_an_english_one():
    words = pseudo_words(300)

    assert list(words) == list(pseudo_words(400))[:300]
    assert not set(words.values()) & set(WORDS.values())
    assert {phone for phones in words.values() for phone in phones} == {*CONSONANTS, *VOWELS}
    assert spelled(("s", "ɛ", "tʃ", "oʊ")) == "[[s'EtSoU]]"


def test_pseudo_words_are_for_training_only_and_two_voices_say_each():
    plain, more = SpokenWords(40, 10, 1, 8000), SpokenWords(40, 10, 1, 8000, num_pseudowords=60)

    extra = more.segments("train")[len(plain.segments("train")) :]

    assert [more.segments(split) for split in ("dev", "test")] == [plain.segments(split) for split in ("dev", "test")]
    assert len(extra) == 120
    assert len({(segment.word, segment.speaker) for segment in extra}) == 120
    assert {segment.speaker for segment in extra} == {segment.speaker for segment in plain.segments("train")}


@pytest.mark.usefixtures("espeak")
def test_espeak_speaks_the_phones_of_pseudo_words():
    program = (
        "import json, sys; from dlpipe_audio.speak import spoken; "
        "print(json.dumps([phones for _, phones in spoken(map(json.loads, sys.stdin))]))"
    )
    words = list(pseudo_words(40).values())
    orders = [{"text": spelled(word), "voice": "en-us+m3", "speed": 160, "pitch": 50} for word in words]

    done = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(map(json.dumps, orders)),
        text=True,
        capture_output=True,
        check=True,
    )

    for phones, word in zip(json.loads(done.stdout), words, strict=True):
        assert "".join(phones).replace("ˈ", "")[:2] == "".join(word)[:2]
