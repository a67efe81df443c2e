from __future__ import annotations

import pytest
import torch

from dlpipe.data import IGNORE_INDEX
from dlpipe.errors import DataError, InputError
from dlpipe.messages import Weighted
from dlpipe_text.iob import MAX_WORDS
from dlpipe_text.memory_network import MemoryNetwork
from dlpipe_text.question_data import Question, QuestionData

TRAIN = [
    Question(("Mary went home", "Tom left"), "where is Mary", "home", [0], "where"),
    Question(("Mary left",), "is Tom home", "No", [], "yes_no"),
]
TEST = [Question(("Ann left",), "where is Ann", "out", [0], "where")]


def small(train=TRAIN, test=TEST, **options) -> QuestionData:
    return QuestionData({"train": train, "test": test}.__getitem__, ("train", "test"), **options)


def test_words_and_answers_come_from_train_in_lower_case():
    data = small()

    words = ["<pad>", "<other>", "home", "is", "left", "mary", "tom", "went", "where", "no"]
    assert data.facts == {"vocabulary": words, "vocab_size": 10, "labels": ["home", "no"], "num_classes": 2}


def test_a_batch_has_the_words_and_the_sizes_of_the_sentences():
    batch = small().split("train").batch(torch.tensor([0, 1]))

    assert batch["tokens"].tolist() == [[5, 7, 2, 6, 4, 8, 3, 5], [5, 4, 3, 6, 2, 0, 0, 0]]
    assert batch["sentence_sizes"].tolist() == [[3, 2, 3], [2, 3, 0]]
    assert batch["targets"].tolist() == [0, 1]
    assert batch["lengths"].tolist() == [8, 5]


def test_rare_words_become_other_but_answers_keep_their_words():
    data = small(min_count=2)

    assert data.facts["vocabulary"] == ["<pad>", "<other>", "home", "is", "left", "mary", "tom", "no"]
    assert data.split("train").batch(torch.tensor([0]))["tokens"].tolist() == [[5, 1, 2, 6, 4, 1, 3, 5]]


def test_an_answer_that_train_does_not_have_is_left_out_of_the_targets():
    assert small().split("test").batch(torch.tensor([0]))["targets"].tolist() == [IGNORE_INDEX]


def test_an_item_is_encoded_as_its_question():
    data = small()
    predicting = small(train=[])
    predicting.restore(data.state())

    encoded = predicting.encode("Mary went home.  Tom left!\nWhere is Mary ?")

    batch = data.split("train").batch(torch.tensor([0]))
    assert {name: values.tolist() for name, values in encoded.items()} == {
        name: batch[name][0].tolist() for name in ("tokens", "sentence_sizes")
    }
    assert TRAIN[0].item == "Mary went home. Tom left. where is Mary?"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            "Mary went home.",
            r'"Mary went home\." does not end with "\?"; expected a story and a question, such as "Mary w',
        ),
        (
            "Where is Mary?",
            r'"Where is Mary\?" has no sentence before the question; expected both, such as "Mary walked',
        ),
        (" . ?", "has no sentence before the question"),
        (
            "a. " * MAX_WORDS + "b?",
            r'a story has 10,001 words \("a"\); expected at most 10,000, since a batch is padded to ',
        ),
    ],
)
def test_an_item_without_story_or_question_is_refused(item, message):
    with pytest.raises(InputError, match=message):
        small().encode(item)


def test_one_answer_is_refused():
    with pytest.raises(DataError, match=r'all 1 training questions have the answer "home"; expected at least two'):
        _ = small(TRAIN[:1]).facts


def test_a_story_that_is_too_long_is_refused():
    long = Question(("Tom left",) * 5001, "where is Tom", "home", [], "where")

    with pytest.raises(
        DataError, match=r'a story has 10,005 words \("tom left"\); expected at most 10,000.*Leave out its'
    ):
        small(test=[long]).split("test")


def test_the_answer_is_presented_with_the_words_that_are_not_known():
    data = small()
    item = "Ann went home. Where is Mary?"

    answer = data.present(
        item, torch.tensor(0), torch.tensor([0.75, 0.25]), torch.nn.Identity(), data.encode(item), top=1
    )

    assert answer == {
        "label": "home", "probability": 0.75, "top": [{"label": "home", "probability": 0.75}],
        "unknown": ["ann"], "unknown_share": 0.1667,
    }  # fmt: skip


def test_an_explanation_has_the_attention_of_each_hop():
    data = small()
    model = MemoryNetwork(data.facts["vocabulary"], data.facts["labels"], hops=2, embed_dim=3).eval()
    example = data.encode(TRAIN[0].item)

    answer = data.present(TRAIN[0].item, torch.tensor(0), None, model, example, explain=True)

    weights = model.sentence_attention(**{name: values[None] for name, values in example.items()})[0]
    assert answer["hop_2"] == [
        Weighted("mary went home. ", weights[1, 0].item()), Weighted("tom left. ", weights[1, 1].item())
    ]  # fmt: skip
    assert list(answer) == ["label", "unknown", "unknown_share", "hop_1", "hop_2"]


def test_the_fingerprint_changes_with_the_supporting_facts():
    changed = [TRAIN[0], Question(("Mary left",), "is Tom home", "No", [0], "yes_no")]

    assert small().fingerprint() == small().fingerprint() != small(changed).fingerprint()


def test_names_are_the_ends_of_the_items():
    long = Question(("Tom left",) * 50, "where is Tom", "home", [], "where")

    names = small(test=[*TEST, long]).names("test")

    assert names[0] == "Ann left. where is Ann?"
    assert len(names[1]) == 100
    assert names[1].startswith("...")
    assert names[1].endswith("Tom left. where is Tom?")
