"""What a change of one phone does to vectors, on vectors for which that is known."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.segments import Segment
from dlpipe_audio.vector_differences import MinimalPair, VectorDifferences, minimal_pairs

WORDS = {word: tuple(word) for word in ("fear", "near", "fame", "name", "mat", "mad")}


class Words:
    """Words by two speakers; the only frame of a word is its number."""

    splits = ("test",)

    def __init__(self, words=WORDS):
        self.rows = [(word, speaker) for word in words for speaker in ("x", "y")]
        self._words = words

    def segments(self, split):
        return [Segment(f"{word}-{speaker}", word, speaker, self._words[word]) for word, speaker in self.rows]

    def split(self, name):
        numbers = [[float(list(self._words).index(word))] for word, _ in self.rows]
        return Columns({"frames": Ragged(torch.tensor(numbers), torch.ones(len(numbers), dtype=torch.long))})


class Listener(nn.Module):
    """Predicts a vector for each word."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = torch.tensor(vectors)

    def forward(self, frames, lengths):
        return self.vectors[frames[:, 0, 0].long()]

    def predict(self, outputs):
        return outputs


def judged(vectors, words=WORDS):
    evaluator = VectorDifferences(max_changes=3)
    return evaluator, evaluator.evaluate(
        Listener(vectors), Examples(Words(words), "test", Compute(torch.device("cpu")))
    )


#: f → n adds (1, 0), t → d adds (0, 1).
RIGHT = [[0.0, 0.0], [1.0, 0.0], [5.0, 7.0], [6.0, 7.0], [2.0, 3.0], [2.0, 2.0]]


def test_minimal_pairs_differ_in_one_phone_and_are_equally_long():
    words = {"fear": ("f", "ɪɹ"), "near": ("n", "ɪɹ"), "nine": ("n", "aɪ", "n"), "line": ("l", "aɪ", "n"), "fine": ()}

    assert minimal_pairs(words) == [
        MinimalPair(("fear", "near"), ("f", "n"), 0),
        MinimalPair(("line", "nine"), ("l", "n"), 0),
    ]


def test_the_same_change_in_the_same_direction_has_a_cosine_of_1():
    _, found = judged(RIGHT)

    assert found == pytest.approx({"cosine": 1.0, "other_cosine": 0.0})


def test_the_opposite_direction_has_a_cosine_of_minus_1():
    _, found = judged([*RIGHT[:2], [6.0, 7.0], [5.0, 7.0], *RIGHT[4:]])

    assert found["cosine"] == pytest.approx(-1.0)


def test_changes_at_another_place_are_not_the_same():
    with pytest.raises(InputError, match=r"the test split has no two such pairs. Use more words"):
        judged([[0.0, 0.0]] * 4, {word: tuple(word) for word in ("ba", "da", "ab", "ad")})


def test_pairs_with_a_word_in_common_are_not_compared():
    with pytest.raises(InputError, match=r"the test split has no two such pairs"):
        judged([[0.0, 0.0]] * 3, {word: tuple(word) for word in ("fear", "near", "hear")})


def test_words_without_phones_are_refused():
    with pytest.raises(
        InputError, match=r"audio.vector_differences: the phones of 'fame' are not known; use data that"
    ):
        judged(RIGHT, WORDS | {"fame": ()})


def test_differences_are_drawn_and_listed(tmp_path):
    evaluator, _ = judged(RIGHT)

    evaluator.write(tmp_path)

    assert (tmp_path / "vector_differences.png").is_file()
    with (tmp_path / "vector_differences.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["first_phone", "second_phone", "place", "pairs", "cosine", "words"],
            ["f", "n", "1", "2", "1.0", "fame-name fear-near"],
            ["d", "t", "3", "1", "", "mad-mat"],
        ]


def test_the_arrows_of_a_change_start_at_zero_and_are_as_long_as_their_differences(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.extend(self.axes))
    evaluator, _ = judged([*RIGHT[:3], [5.5, 7.0], *RIGHT[4:]])

    evaluator.write(tmp_path)

    [panel] = drawn
    arrows = [text for text in panel.texts if isinstance(text, Annotation)]
    assert panel.get_title() == "f → n, phone 1 (1.00)"
    assert [arrow.xyann for arrow in arrows] == [(0, 0), (0, 0)]
    assert [pytest.approx([abs(part) for part in arrow.xy], abs=1e-6) for arrow in arrows] == [[0.5, 0], [1, 0]]


def test_a_part_of_the_words_may_have_no_pairs(tmp_path):
    class Half(Words):
        def split(self, name):
            return Columns({"frames": Ragged(torch.zeros(2, 1), torch.ones(2, dtype=torch.long))})

    evaluator = VectorDifferences()

    found = evaluator.evaluate(Listener(RIGHT), Examples(Half(), "test", Compute(torch.device("cpu")), limit=1))
    evaluator.write(tmp_path)

    assert math.isnan(found["cosine"])
    assert not (tmp_path / "vector_differences.png").exists()
