from __future__ import annotations

import pytest
import torch
from torch import nn

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe_text.memory_network import MemoryNetwork
from dlpipe_text.question_answering import QuestionAnswering
from dlpipe_text.question_data import Question, QuestionData

QUESTIONS = [
    Question(("Mary went home", "Tom went out", "Ann left"), "where is Mary", "home", [0], "where"),
    Question(("Tom went out",), "where is Tom", "out", [0], "where"),
    Question(("Mary went home", "Tom left"), "is Mary home", "yes", [0, 1], "yes_no"),
    Question(("Tom left",), "is Mary home", "perhaps", [], "yes_no"),
]
TRAIN = [*QUESTIONS[:3], Question(("Mary left",), "is Mary home", "no", [0], "yes_no")]


class FixedNetwork(MemoryNetwork):
    """Give fixed answers and attention, by the number of words of a story."""

    def __init__(self, data):
        super().__init__(data.facts["vocabulary"], data.facts["labels"], hops=2)
        answers = {11: "home", 6: "home", 8: "yes", 5: "no"}
        self.classes = {size: data.facts["labels"].index(answer) for size, answer in answers.items()}
        #: Of each hop, the most attended sentence.
        self.places = {11: (0, 2), 6: (0, 0), 8: (1, 1), 5: (0, 0)}

    def forward(self, tokens, sentence_sizes):
        classes = [self.classes[size] for size in sentence_sizes.sum(1).tolist()]
        return nn.functional.one_hot(torch.tensor(classes), 4).float()

    def sentence_attention(self, tokens, sentence_sizes):
        found = torch.full((len(tokens), 2, sentence_sizes.size(1)), 0.1)
        for row, size in enumerate(sentence_sizes.sum(1).tolist()):
            for hop, place in enumerate(self.places[size]):
                found[row, hop, place] = 0.7
        return found


class FixedClasses(nn.Module):
    """Answer everything with the first class."""

    def forward(self, tokens):
        return torch.eye(4)[torch.zeros(len(tokens), dtype=torch.int64)]


def evaluated(model=None, **options):
    data = QuestionData({"train": TRAIN, "test": QUESTIONS}.__getitem__, ("train", "test"))
    evaluator = QuestionAnswering(data.facts["labels"], **options)
    examples = Examples(data, "test", Compute(torch.device("cpu"), evaluation_batch_size=3))
    return evaluator, evaluator.evaluate(model or FixedNetwork(data), examples)


def test_answers_are_counted_by_kind_and_the_attention_is_compared_with_the_facts():
    _, metrics = evaluated()

    assert metrics == pytest.approx(
        {
            "accuracy": 2 / 4,  # an answer that train does not have is wrong
            "accuracy_where": 1 / 2,
            "accuracy_yes_no": 1 / 2,
            "fact_in_hop_1": 3 / 3,  # of the questions with known facts
            "fact_in_hop_2": 2 / 3,
            "facts_found": 3 / 4,
        }
    )


def test_another_model_is_judged_by_its_answers_only(tmp_path):
    evaluator, metrics = evaluated(FixedClasses())

    assert set(metrics) == {"accuracy", "accuracy_where", "accuracy_yes_no"}
    assert [item.file for item in evaluator.write(tmp_path)] == ["kinds.csv", "answers.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "kinds.csv"]


def test_the_scores_of_the_questions_make_the_accuracy():
    evaluator, metrics = evaluated()
    found = evaluator.example_scores()

    assert found.metric() == metrics["accuracy"]
    assert found.true == ["home", "out", "yes", "perhaps"]
    assert found.predicted == ["home", "home", "yes", "no"]


def test_the_tables_show_kinds_answers_and_attention(tmp_path):
    evaluator, _ = evaluated()

    items = evaluator.write(tmp_path)

    assert (tmp_path / "kinds.csv").read_text().splitlines() == [
        "kind,questions,accuracy,fact_in_hop_1,fact_in_hop_2,facts_found",
        "where,2,0.5000,1.0000,0.5000,1.0000",
        "yes_no,2,0.5000,1.0000,1.0000,0.5000",
        "all,4,0.5000,1.0000,0.6667,0.7500",
    ]
    assert (tmp_path / "answers.csv").read_text().splitlines()[:2] == [
        "row,kind,question,true,predicted,facts,most attended",
        "0,where,where is Mary?,home,home,1,1 3",
    ]
    assert (tmp_path / "attention.csv").read_text().splitlines()[:3] == [
        "row,question,sentence,text,fact,hop 1,hop 2",
        "0,where is Mary?,1,Mary went home,1,0.7000,0.1000",
        "0,where is Mary?,2,Tom went out,0,0.1000,0.1000",
    ]
    assert {item.file for item in items} == {path.name for path in tmp_path.iterdir()}


def test_no_attention_is_drawn_if_none_is_asked_for(tmp_path):
    evaluator, _ = evaluated(count=0)

    evaluator.write(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "kinds.csv"]


def test_data_other_than_questions_is_refused():
    examples = Examples(object(), "dev", Compute(torch.device("cpu")))  # type: ignore[arg-type]

    with pytest.raises(
        InputError, match=r"data of type object; expected questions about stories, such as text\.stories"
    ):
        QuestionAnswering(["yes", "no"]).evaluate(nn.Identity(), examples)
