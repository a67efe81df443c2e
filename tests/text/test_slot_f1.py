from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation.examples import Examples
from dlpipe_text.slot_f1 import SlotF1
from dlpipe_text.tagged_text import TaggedText

SENTENCES = [
    (["leave", "taipei", "now"], ["O", "B-from", "O"]),
    (["arrive", "new", "york", "at", "noon"], ["O", "B-to", "I-to", "O", "B-time"]),
]


class FixedTags(nn.Module):
    """Predict fixed tags, looked up by the first token of a sentence."""

    def __init__(self, data: TaggedText, answers: dict[str, list[str]]) -> None:
        super().__init__()
        labels = data.facts["labels"]
        self.answers = {
            int(data.encode(word)["tokens"][0]): [labels.index(tag) for tag in tags] for word, tags in answers.items()
        }

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens

    def predict(self, outputs: Tensor) -> Tensor:
        tags = torch.zeros_like(outputs)
        for row, first in enumerate(outputs[:, 0].tolist()):
            answer = self.answers[first]
            tags[row, : len(answer)] = torch.tensor(answer)
        return tags


def evaluated(answers: dict[str, list[str]]) -> tuple[SlotF1, dict[str, float]]:
    data = TaggedText({"train": SENTENCES, "dev": SENTENCES}.__getitem__, ("train", "dev"))
    evaluator = SlotF1()
    examples = Examples(data, "dev", Compute(torch.device("cpu")))
    return evaluator, evaluator.evaluate(FixedTags(data, answers), examples)


def test_data_other_than_tagged_sentences_is_refused():
    examples = Examples(object(), "dev", Compute(torch.device("cpu")))  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"data of type object; expected tagged sentences, such as text\.flights"):
        SlotF1().evaluate(nn.Identity(), examples)


def test_correct_tags_score_one():
    _, metrics = evaluated({words[0]: tags for words, tags in SENTENCES})

    assert metrics == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "token_accuracy": 1.0}


def test_a_slot_with_a_wrong_end_counts_as_missed_and_as_spurious():
    wrong = {"leave": ["O", "B-from", "O"], "arrive": ["O", "B-to", "O", "O", "O"]}

    _, metrics = evaluated(wrong)

    assert metrics == {"f1": 2 * 1 / (3 + 2), "precision": 1 / 2, "recall": 1 / 3, "token_accuracy": 6 / 8}


def test_the_scores_of_the_sentences_make_the_f1():
    evaluator, metrics = evaluated({"leave": ["O", "B-from", "O"], "arrive": ["O", "B-to", "O", "O", "O"]})
    found = evaluator.example_scores()

    assert found.metric() == pytest.approx(metrics["f1"])
    assert found.weights == [2, 3]
    assert found.names == [" ".join(words) for words, _ in SENTENCES]


def test_the_tables_show_the_errors(tmp_path):
    evaluator, _ = evaluated({"leave": ["O", "B-to", "O"], "arrive": ["O", "B-to", "I-to", "O", "B-time"]})

    evaluator.write(tmp_path)

    assert (tmp_path / "slots.csv").read_text().splitlines() == [
        "slot,f1,precision,recall,true,predicted",
        "from,0.0000,0.0000,0.0000,1,0",
        "time,1.0000,1.0000,1.0000,1,1",
        "to,0.6667,0.5000,1.0000,1,2",
    ]
    assert (tmp_path / "confusion.csv").read_text().splitlines()[2] == "from,0,0,0,1"
    worst = (tmp_path / "worst.txt").read_text().splitlines()
    assert worst[0] == "1 of 2 sentences have a wrong slot"
    assert [line.split() for line in worst[3:]] == [
        ["leave", "taipei", "now"],
        ["true", "O", "B-from", "O"],
        ["predicted", "O", "B-to", "O"],
    ]
    assert (tmp_path / "predictions.conll").read_text().startswith("leave O O\ntaipei B-from B-to\nnow O O\n\n")


def test_the_sentence_with_the_most_errors_comes_first(tmp_path):
    evaluator, _ = evaluated({"leave": ["O", "O", "O"], "arrive": ["O", "O", "O", "O", "O"]})

    evaluator.write(tmp_path)

    worst = (tmp_path / "worst.txt").read_text().splitlines()
    assert [line for line in worst if "missed" in line] == [
        "missed and spurious slots: 2",
        "missed and spurious slots: 1",
    ]
