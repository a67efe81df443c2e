from __future__ import annotations

import pytest

from dlpipe.errors import DataError
from dlpipe_text.babi import babi, read_questions

FILE = """1 Mary moved to the bathroom.
2 Where is Mary? \tbathroom\t1
3 John went to the hallway.
4 Where is John? \thallway\t3
1 John went home.
2 Is John home?\tyes\t1
"""


def folder(write, **files):
    """Write files named like ``qa1_train``."""
    for name, text in files.items():
        path = write(text, f"babi/{name}.txt")
    return path.parent


def test_a_question_is_about_the_sentences_before_it(write):
    questions = list(read_questions(write(FILE, "qa1_train.txt")))

    assert [story for story, _ in questions] == [1, 1, 2]
    second = questions[1][1]
    assert second.story == ("Mary moved to the bathroom", "John went to the hallway")
    assert (second.question, second.answer, second.facts, second.kind) == ("Where is John", "hallway", [1], "qa1")


def test_a_later_sentence_does_not_change_the_story_of_an_earlier_question(write):
    first = next(read_questions(write(FILE, "qa1_train.txt")))[1]

    assert first.story == ("Mary moved to the bathroom",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mary left.", r':2: "Mary left\."; expected a number, a space and a sentence, such as "1 Mary moved'),
        ("3 Mary left.", r":2: the number 3 follows 1; expected 2, or 1 for a new story\. Correct the numbers"),
        ("2 ...", r':2: "\.\.\." has no word; expected a sentence\. Correct or delete the line'),
        ("1 Where is Tom?\thome", r":2: a question before any sentence of its story; expected a sentence first"),
        ("2 Where is Tom?\t\t1", r':2: the question "Where is Tom\?" has no answer; expected one after a tab'),
        ("2 Where is Tom?\thome\t2", r':2: supporting fact "2"; expected the number of a sentence before the question'),
        ("2 Where is Tom?\thome\tx", r':2: supporting fact "x"; expected the number of a sentence before the question'),
    ],
)
def test_a_mistake_is_named_with_its_line(write, line, message):
    path = write(f"1 Tom went home.\n{line}\n", "qa1_train.txt")

    with pytest.raises(DataError, match=message):
        list(read_questions(path))


def test_a_file_without_questions_is_refused(write):
    with pytest.raises(DataError, match=r"qa1_train\.txt: no question; expected lines with a question, a tab and its"):
        list(read_questions(write("1 Tom went home.\n", "qa1_train.txt")))


def test_several_tasks_are_learned_together(write):
    path = folder(
        write, qa1_train=FILE, qa1_valid=FILE, qa1_test=FILE, qa12_train=FILE, qa12_valid=FILE, qa12_test=FILE
    )
    data = babi(path=path, tasks=[12, 1, 12])

    assert data.splits == ("train", "dev", "test")
    assert [question.kind for question in data.questions("test")] == ["qa12"] * 3 + ["qa1"] * 3


def test_without_a_file_for_dev_every_tenth_story_is(write):
    stories = "".join(
        f"1 Tom went {'in' if n % 2 else 'out'}.\n2 Is number {n} there?\t{n % 2}\t1\n" for n in range(1, 24)
    )
    data = babi(path=folder(write, **{"qa1_one-fact_train": stories}))

    assert data.splits == ("train", "dev")
    assert [each.question for each in data.questions("dev")] == ["Is number 10 there", "Is number 20 there"]
    assert len(data.questions("train")) == 21


def test_a_missing_path_is_named():
    with pytest.raises(
        DataError, match=r"path is not given; expected the folder with qa1_train\.txt.*--set data\.path="
    ):
        babi()


def test_a_file_instead_of_the_folder_is_refused(write):
    with pytest.raises(DataError, match=r"qa1_train\.txt: a file; expected the folder with qa1_train\.txt"):
        babi(path=write(FILE, "qa1_train.txt"))


def test_a_task_without_file_is_named_with_what_there_is(write):
    with pytest.raises(
        DataError, match=r"no training file of qa2 in this folder, which contains qa1_train\.txt; expected"
    ):
        babi(path=folder(write, qa1_train=FILE), tasks=[2])


def test_two_files_for_one_split_are_refused(write):
    path = folder(write, **{"qa1_train": FILE, "qa1_one-fact_train": FILE})

    with pytest.raises(
        DataError, match=r"qa1_one-fact_train\.txt and qa1_train\.txt are both for train of qa1; expected"
    ):
        babi(path=path)


def test_a_test_file_for_some_tasks_only_is_refused(write):
    path = folder(write, qa1_train=FILE, qa1_test=FILE, qa2_train=FILE)

    with pytest.raises(
        DataError, match=r"no test file beside qa2_train\.txt, but other tasks have one; expected a test"
    ):
        babi(path=path, tasks=[1, 2])


def test_the_files_of_babi_are_read(real_data):
    data = babi(path=real_data / "babi" / "en-valid", tasks=[1, 8, 19])

    assert {split: len(data.questions(split)) for split in data.splits} == {"train": 2700, "dev": 300, "test": 3000}
    assert "football,milk" in data.facts["labels"]
