from __future__ import annotations

import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.tone_words import tone_words
from dlpipe_audio.transcribed import transcribed
from dlpipe_audio.transcription import Transcript, Transcription, peaks

from .test_transcripts import listed

TRUE = ["ab a", "ba", "a", "b a b"]
#: Of the first, a letter is deleted; of the second one is inserted and one is replaced; the rest is right.
WRITTEN = ["aba", "bba a", "a", "b a b"]


class Writer(nn.Module):
    """A model that writes given texts, whatever it hears."""

    def __init__(self, data, texts):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        labels = data.facts["alphabet"]
        rows = [[labels.index(letter) for letter in texts[segment.name]] for segment in data.segments("test")]
        self.lengths = data.split("test").columns["frames"].lengths.tolist()  # by which recordings are told apart
        self.rows = torch.tensor([row + [IGNORE_INDEX] * (20 - len(row)) for row in rows])

    def forward(self, frames, lengths):
        return frames.new_zeros(len(frames), frames.size(1), 4)

    def predict(self, outputs, lengths):
        return self.rows[[self.lengths.index(length) for length in lengths.tolist()]]


@pytest.fixture
def judged(write):
    files = listed([*TRUE, "ab b"], ("path", "text", "split"), [*4 * ["test"], "train"])

    def judged(written=WRITTEN, units="letters"):
        data = transcribed(write(files) / "list.tsv", rate_hz=8000, units=units)
        texts = {f"{number}.wav": text for number, text in enumerate(written)}
        evaluator = Transcription(count=2)
        examples = Examples(data, "test", Compute(torch.device("cpu"), evaluation_batch_size=3))
        return evaluator, evaluator.evaluate(Writer(data, texts), examples)

    return judged


def test_errors_are_counted_by_kind(judged):
    _, metrics = judged()

    total = sum(map(len, TRUE))
    assert metrics == pytest.approx(
        {
            "label_error_rate": 4 / total,
            "inserted": 3 / total,
            "deleted": 1 / total,
            "replaced": 0.0,
            "exact": 0.5,
            "word_error_rate": 4 / 7,
        }
    )


def test_the_scores_of_recordings_add_up_to_that_of_all(judged):
    evaluator, metrics = judged()

    scores = evaluator.example_scores()

    weighted = sum(score * weight for score, weight in zip(scores.scores, scores.weights, strict=True))
    assert weighted / sum(scores.weights) == pytest.approx(metrics["label_error_rate"])
    assert sorted(zip(scores.rows, scores.true, scores.predicted, strict=True)) == list(
        zip(range(4), TRUE, WRITTEN, strict=True)
    )


def test_true_and_written_labels_stand_above_each_other(judged, tmp_path):
    evaluator, _ = judged()

    items = evaluator.write(tmp_path)

    assert [item.file for item in items] == ["paths.png", "transcripts.txt", "confusions.csv"]
    assert (tmp_path / "transcripts.txt").read_text().splitlines() == [
        "2 of 4 transcripts have an error",
        "",
        "1.wav: 3 of 2",
        "said      b–––a",
        "written   bba a",
        "",
        "0.wav: 1 of 4",
        "said      ab a",
        "written   ab–a",
    ]
    assert (tmp_path / "confusions.csv").read_text().splitlines()[0] == "said,written,count"
    assert "–,b,1" in (tmp_path / "confusions.csv").read_text()
    assert (tmp_path / "paths.png").stat().st_size > 5000


def test_a_replaced_label_stands_above_what_replaced_it():
    assert Transcript(0, "", "abcd", "axyd").pairs == [("a", "a"), ("b", "x"), ("c", "y"), ("d", "d")]


def test_the_sign_for_a_missing_label_may_be_a_label():
    deleted, same = Transcript(0, "", "1–2", "12"), Transcript(0, "", "1–2", "1–2")

    assert deleted.pairs == [("1", "1"), ("–", None), ("2", "2")]
    assert (deleted.errors, same.errors) == (1, 0)


def test_each_label_of_the_most_probable_path_has_one_peak():
    probabilities = torch.tensor([[0.5, 0.2, 0.3], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.6, 0.1, 0.3], [0.1, 0.8, 0.1]])

    assert peaks(probabilities) == [(1, 0), (3, 0), (4, 1)]


def test_data_without_transcripts_is_refused():
    examples = Examples(tone_words(num_words=40, num_speakers=10), "test", Compute(torch.device("cpu")))

    with pytest.raises(
        InputError,
        match=r"audio\.transcription got data of type WordData; expected recordings with transcripts, such as audio\.trans",
    ):
        Transcription().evaluate(nn.Identity(), examples)
