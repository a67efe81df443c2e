"""The evaluators of vectors of words, on vectors whose right scores are known."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from dlpipe.compute import Compute
from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_audio.baselines import down_sampled, segment_means
from dlpipe_audio.phone_distance import PhoneDistance, spearman
from dlpipe_audio.query_by_example import HEAD, SMOOTHED, QueryByExample
from dlpipe_audio.reconstruction import Reconstruction
from dlpipe_audio.same_different import SameDifferent
from dlpipe_audio.segments import Segment
from dlpipe_audio.seq2seq_autoencoder import Seq2SeqAutoEncoder
from dlpipe_audio.tone_sentences import tone_sentences
from dlpipe_audio.word_map import WordMap

WORDS = ["bat", "bad", "so"]


class Words:
    """Words by speakers; the frames of a word are its number, and the first is as long as the second."""

    splits = ("test",)

    def __init__(self, speakers=("x", "y", "z"), phones=True):
        self.rows = [(word, speaker) for word in WORDS for speaker in speakers]
        self._phones = phones

    def segments(self, split):
        return [Segment(f"{w}-{s}", w, s, tuple(w) if self._phones else ()) for w, s in self.rows]

    def split(self, name):
        lengths = torch.tensor([5 if word.startswith("b") else 9 for word, _ in self.rows])
        values = torch.cat(
            [torch.full((int(n), 1), float(WORDS.index(w))) for (w, _), n in zip(self.rows, lengths, strict=True)]
        )
        return Columns({"frames": Ragged(values, lengths)})


class Listener(nn.Module):
    """Predicts a vector for each word; with `deaf` all are the same."""

    def __init__(self, vectors, deaf=False):
        super().__init__()
        self.vectors, self.deaf = torch.tensor(vectors), deaf

    def forward(self, frames, lengths):
        return torch.ones(len(frames), 2) if self.deaf else self.vectors[frames[:, 0, 0].long()]

    def predict(self, outputs):
        return outputs


ALIKE = Listener([[1.0, 0.0], [0.9, 0.3], [0.0, 1.0]])


def examples(data=None):
    return Examples(data or Words(), "test", Compute(torch.device("cpu")))


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_vectors_that_are_right_find_everything(tmp_path):
    evaluator = QueryByExample()

    found = evaluator.evaluate(ALIKE, examples())

    assert found == pytest.approx({"map": 1.0, "p_at_10": 1.0, "matched_map": 1.0, "same_different_ap": 1.0})


def test_matched_distractors_leave_out_words_of_another_length():
    # "so" is confused with "bat", and is longer: without the match it is among the wrong answers, with it not.
    confused = Listener([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])

    found = QueryByExample().evaluate(confused, examples())

    assert found["matched_map"] == 1.0
    assert found["map"] < 0.9


def test_the_table_compares_all_methods_and_says_how_long_a_comparison_takes(tmp_path):
    evaluator = QueryByExample(baselines=True, num_parts=2)
    torch.manual_seed(0)
    model = Seq2SeqAutoEncoder(1, hidden_dim=4, vector_dim=3)

    found = evaluator.evaluate(model, examples())
    evaluator.write(tmp_path)

    head, *rows = rows_of(tmp_path / "comparison.csv")
    assert tuple(head) == HEAD
    assert [row[0] for row in rows] == [
        "chance",
        "duration alone",
        "this model, untrained",
        "down-sampling",
        "segment means",
        "dynamic time warping",
        "this model",
    ]
    assert all(float(row[5]) > 0 for row in rows[1:])
    assert rows[5][6] == "1"
    assert round(found["dtw_map"], 4) == float(rows[5][1])


def test_smoothed_vectors_are_compared_beside_the_others(tmp_path):
    evaluator = QueryByExample(baselines=True, num_parts=2, neighbors=1)
    torch.manual_seed(0)

    found = evaluator.evaluate(Seq2SeqAutoEncoder(1, hidden_dim=4, vector_dim=3), examples())
    evaluator.write(tmp_path)

    rows = {row[0]: row for row in rows_of(tmp_path / "comparison.csv")}
    assert {name: float(rows[method][1]) for name, method in SMOOTHED.items()} == pytest.approx(
        {name: found[name] for name in SMOOTHED}, abs=1e-4
    )
    # Warping is part of the smoothed comparison.
    assert float(rows["dynamic time warping, smoothed"][5]) >= float(rows["dynamic time warping"][5])
    assert "smoothed_map" not in QueryByExample(baselines=True).evaluate(ALIKE, examples())


def test_without_neighbors_each_speaker_is_centered():
    class Voices(Words):
        """The second number of a frame is that of the speaker."""

        def split(self, name):
            numbers = [[float(WORDS.index(word)), float("xyz".index(speaker))] for word, speaker in self.rows]
            return Columns({"frames": Ragged(torch.tensor(numbers), torch.ones(len(numbers), dtype=torch.int64))})

    class Voiced(Listener):
        """Adds as much of the voice to the vector of a word as the words differ."""

        def forward(self, frames, lengths):
            return super().forward(frames, lengths) + 2 * torch.eye(3)[frames[:, 0, 1].long()]

    found = QueryByExample(neighbors=0).evaluate(Voiced(torch.eye(3).tolist()), examples(Voices()))

    assert found["map"] < 1
    assert found["smoothed_map"] == 1


def test_baselines_leave_the_predictions_of_the_model_alone():
    torch.manual_seed(0)
    model, shared = Seq2SeqAutoEncoder(1, hidden_dim=4, vector_dim=3), examples()
    state = {name: value.clone() for name, value in model.state_dict().items()}

    first = QueryByExample(baselines=True).evaluate(model, shared)
    again = QueryByExample().evaluate(model, shared)

    assert {name: first[name] for name in again} == again
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_only_so_many_words_are_used():
    found = QueryByExample(max_words=4).evaluate(ALIKE, examples())

    assert found["map"] == 1.0


@pytest.mark.parametrize("evaluator", [QueryByExample(), SameDifferent()])
def test_words_of_one_speaker_cannot_be_searched(evaluator):
    with pytest.raises(
        InputError, match=r"hold out at least two speakers, or leave the split out with splits = \[...\]"
    ):
        evaluator.evaluate(ALIKE, examples(Words(speakers=("x",))))


@pytest.mark.parametrize("evaluator", [QueryByExample(baselines=True, num_parts=2, neighbors=1), SameDifferent()])
def test_the_metrics_of_a_part_of_the_split_in_which_no_word_has_two_speakers_are_nan(evaluator, tmp_path):
    class Part(Words):
        def segments(self, split):
            return sorted(super().segments(split), key=lambda segment: segment.speaker)

        def split(self, name):
            return Words(speakers=("x",)).split(name)

    torch.manual_seed(0)

    found = evaluator.evaluate(Seq2SeqAutoEncoder(1, hidden_dim=4, vector_dim=3), examples(Part()))
    evaluator.write(tmp_path)

    assert math.isnan(found[evaluator.primary])


def test_other_data_and_other_models_are_refused():
    class Scores(Listener):
        def predict(self, outputs):
            return outputs.argmax(1)

    with pytest.raises(InputError, match=r"audio.query_by_example judges spoken words; Columns has none"):
        QueryByExample().evaluate(ALIKE, examples(Columns({"frames": torch.zeros(2)})))
    with pytest.raises(InputError, match=r"judges vectors of words; Scores predicts a tensor of shape \(9,\)"):
        QueryByExample().evaluate(Scores([[0.0]] * 3), examples())


def test_average_precision_of_pairs_is_1_for_right_vectors_and_chance_for_equal_ones(tmp_path):
    evaluator = SameDifferent()

    right = evaluator.evaluate(ALIKE, examples())
    evaluator.write(tmp_path)

    assert right == pytest.approx({"ap": 1.0, "cross_speaker_ap": 1.0})
    assert (tmp_path / "cosines.png").is_file()
    two = SameDifferent().evaluate(ALIKE, examples(Words(speakers=("x", "x", "y"))))
    assert two["cross_speaker_ap"] == pytest.approx(1.0)


def test_words_that_differ_in_fewer_phones_are_more_similar(tmp_path):
    evaluator = PhoneDistance()

    found = evaluator.evaluate(ALIKE, examples())
    evaluator.write(tmp_path)

    assert found["cosine_at_0"] > found["cosine_at_1"]
    assert found["spearman"] < -0.8
    table = rows_of(tmp_path / "phone_distance.csv")
    assert [row[:2] for row in table] == [["edit_distance", "pairs_of_words"], ["0", "3"], ["1", "1"], ["3", "2"]]
    with pytest.raises(InputError, match=r"the phones of 'bat' are not known; use data that provides phones"):
        PhoneDistance().evaluate(ALIKE, examples(Words(phones=False)))


def test_rank_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    first, second = torch.tensor([1.0, 2.0, 2.0, 5.0, 0.0]), torch.tensor([3.0, 1.0, 4.0, 4.0, 2.0])

    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_reconstructions_are_measured_against_the_mean_frame():
    class Perfect(Listener):
        def decode(self, vectors, length):
            return vectors[:, :1].unsqueeze(1).expand(-1, length, -1)

    found = Reconstruction().evaluate(Perfect([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), examples())

    assert found["mse"] == 0
    assert found["mean_frame_mse"] > 0.5
    with pytest.raises(InputError, match=r"Listener reconstructs nothing; use audio.seq2seq_autoencoder"):
        Reconstruction().evaluate(ALIKE, examples())


def test_the_map_shows_words_and_the_vectors_fit_the_projector(tmp_path):
    evaluator = WordMap(max_words=2)

    assert evaluator.evaluate(ALIKE, examples()) == {}
    evaluator.write(tmp_path)

    assert (tmp_path / "word_map.png").is_file()
    assert [row[:2] for row in rows_of(tmp_path / "words.csv")] == [
        ["word", "first_sound"],
        ["bad", "b"],
        ["bat", "b"],
        ["so", "s"],
    ]
    assert (tmp_path / "vectors.tsv").read_text().splitlines()[0] == "1\t0"
    assert (tmp_path / "words.tsv").read_text().splitlines()[:2] == ["word\tspeaker\tname", "bat\tx\tbat-x"]


def test_the_map_draws_at_most_so_many_words_each_at_its_place(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.extend(self.axes))
    evaluator = WordMap(max_words=2)

    evaluator.evaluate(ALIKE, examples())
    evaluator.write(tmp_path)

    places = {word: (float(x), float(y)) for word, _, x, y in rows_of(tmp_path / "words.csv")[1:]}
    [axes] = drawn
    assert [(text.get_text(), text.xy) for text in axes.texts] == [(word, places[word]) for word in ("bad", "so")]
    assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [places["bad"], places["so"]]


def test_simple_vectors_keep_what_they_say():
    word = torch.arange(6.0).unsqueeze(1)

    assert segment_means([word], 3).tolist() == [[0.5, 2.5, 4.5]]
    assert down_sampled([word], 3).tolist() == [[0.0, 2.5, 5.0]]
    assert segment_means([word[:2]], 3).shape == (1, 3)
    assert math.isfinite(float(down_sampled([word[:1]], 3).sum()))


def test_sentences_are_not_taken_for_words():
    data = tone_sentences(num_words=40, num_speakers=10, sentences=1)

    with pytest.raises(InputError, match=r"audio\.query_by_example judges spoken words; TranscriptData has none"):
        QueryByExample().evaluate(nn.Identity(), Examples(data, "test", Compute(torch.device("cpu"))))
