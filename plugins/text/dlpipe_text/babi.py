"""``text.babi``: the bAbI tasks of Weston et al. 2015, https://arxiv.org/abs/1502.05698, or files in their format.

A line has its number in the story, from 1, and a sentence; or a question, its answer and the numbers of the sentences
that the answer follows from, separated by tabs. A question is asked about all sentences of the story before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict

from dlpipe.errors import DataError
from dlpipe.fields import Positive
from dlpipe_text.iob import entries_of, is_folder, lines_of, listing, quoted
from dlpipe_text.question_data import Question, QuestionData
from dlpipe_text.text_units import letters_of

_LINE = re.compile(r"(\d+) (.*)")
#: ``qa1_train.txt``, or as in the original archive ``qa1_single-supporting-fact_train.txt``.
_FILE = re.compile(r"(qa\d+)_(?:.+_)?(train|valid|test)\.txt")
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
#: Without a file for dev, every tenth story of the training file is for dev, as in section 4 of the memory networks.
HELD_OUT = 10


def babi(
    *,
    path: Path | None = None,
    tasks: Annotated[Sequence[Annotated[int, Strict(), Field(ge=1, le=20)]], Field(min_length=1)] = (1,),
    min_count: Positive = 1,
) -> QuestionData:
    """Read the bAbI tasks (or your own stories in their format), one task or several together.

    Args:
        path: the folder with qa1_train.txt, qa1_valid.txt, qa1_test.txt and so on. Without qa1_valid.txt, every tenth
            story of the training file is for dev.
        tasks: numbers of the tasks, which are learned together.
        min_count: words that occur less often in training become "other".
    """
    if path is None:
        raise DataError(
            "path is not given; expected the folder with qa1_train.txt, qa1_test.txt and so on. "
            "Give it: --set data.path=FOLDER"
        )
    files = [_files(path, f"qa{task}") for task in dict.fromkeys(tasks)]

    def read(split: str) -> list[Question]:
        return [question for each in files for question in _split(each, split)]

    untested = [each["train"].name for each in files if "test" not in each]
    if 0 < len(untested) < len(files):
        raise DataError(
            f"{path}: no test file beside {', '.join(untested)}, but other tasks have one; expected a test file for "
            "each task, or for none. Add the file, or leave out the task"
        )
    splits = ["train", "dev"] if untested else ["train", "dev", "test"]
    return QuestionData(read, splits, min_count=min_count)


def _files(folder: Path, task: str) -> Mapping[str, Path]:
    """Return the files of a task by split."""
    if not is_folder(folder):
        raise DataError(f"{folder}: a file; expected the folder with {task}_train.txt. Give its folder")
    found: dict[str, Path] = {}
    for entry in entries_of(folder):
        match = _FILE.fullmatch(entry.name)
        if match and match[1] == task:
            if (split := SPLITS[match[2]]) in found:
                raise DataError(
                    f"{folder}: {found[split].name} and {entry.name} are both for {split} of {task}; expected one. "
                    "Remove the other"
                )
            found[split] = entry
    if "train" not in found:
        raise DataError(
            f"{folder}: no training file of {task} in this folder, which contains {listing(folder)}; expected "
            f"{task}_train.txt. Give the folder with the files, or other tasks"
        )
    return found


def _split(files: Mapping[str, Path], split: str) -> Iterator[Question]:
    """Yield the questions of a task for a split."""
    if split == "test" or "dev" in files:
        yield from (question for _, question in read_questions(files[split]))
        return
    for story, question in read_questions(files["train"]):
        if (story % HELD_OUT == 0) == (split == "dev"):
            yield question


def read_questions(path: Path) -> Iterator[tuple[int, Question]]:
    """Yield the questions of a file, each with the number of its story, from 1.

    Raises:
        DataError: it cannot be read, or a line is in another format.
    """
    kind = path.name.split("_")[0]
    sentences: list[str] = []
    places: dict[int, int] = {}  # number of a line in its story -> number of its sentence
    story = last = 0
    asked = False
    for row, text in lines_of(path):
        where = f"{path}:{row}"
        match = _LINE.fullmatch(text.rstrip())
        if not match:
            raise DataError(
                f"{where}: {quoted(text)}; expected a number, a space and a sentence, such as "
                '"1 Mary moved to the bathroom."'
            )
        number = int(match[1])
        if number == 1:
            sentences, places, story = [], {}, story + 1
        elif number != last + 1:
            raise DataError(
                f"{where}: the number {number} follows {last}; expected {last + 1}, or 1 for a new story. "
                "Correct the numbers"
            )
        last = number
        sentence, *answers = (field.strip() for field in match[2].split("\t"))
        if not letters_of(sentence):
            raise DataError(f"{where}: {quoted(sentence)} has no word; expected a sentence. Correct or delete the line")
        if not answers:
            places[number] = len(sentences)
            sentences.append(sentence.rstrip("."))
            continue
        if not sentences:
            raise DataError(f"{where}: a question before any sentence of its story; expected a sentence first")
        if not answers[0]:
            raise DataError(f"{where}: the question {quoted(sentence)} has no answer; expected one after a tab")
        facts = _facts(" ".join(answers[1:]), places, where)
        asked = True
        yield story, Question(tuple(sentences), sentence.rstrip("?"), answers[0], facts, kind)
    if not asked:
        raise DataError(f"{path}: no question; expected lines with a question, a tab and its answer. Use another file")


def _facts(text: str, places: Mapping[int, int], where: str) -> list[int]:
    """Return the numbers of the sentences that an answer follows from."""
    found = []
    for word in text.split():
        if not word.isdecimal() or int(word) not in places:
            raise DataError(
                f"{where}: supporting fact {quoted(word)}; expected the number of a sentence before the question. "
                "Correct it"
            )
        found.append(places[int(word)])
    return sorted(found)
