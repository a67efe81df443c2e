"""Judge word vectors by analogies: "Rome - Italy + Germany" should be nearest to Berlin.

Source: Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space", section 4,
https://arxiv.org/abs/1301.3781; the method is 3CosAdd of Levy & Goldberg 2014, https://aclanthology.org/W14-1618
Axes: N questions, E numbers of a vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.errors import DataError, InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.report_items import ReportItem
from dlpipe_text.corpus_files import lines_of
from dlpipe_text.iob import quoted
from dlpipe_text.word_data import Question, WordData
from dlpipe_text.word_vectors import WordVectors, nearest_words

#: Three words of a question, and one for an answer.
MIN_WORDS = 4
#: What is returned besides the share of each section.
METRICS = ("accuracy", "coverage", "accuracy_of_all")


class Analogies:
    """Answer "a is to b as c is to what" by the word whose vector is nearest to b - a + c (vectors of length 1).

    The words of the question are no answers; without this rule, c itself would be the answer to most. A question
    with a word outside of the vocabulary is left out of ``accuracy`` and of that of its section, and wrong in
    ``accuracy_of_all``; ``coverage`` is the share of the others. ``write`` writes ``sections.csv`` and ``answers.csv``.

    Args:
        questions: a file with ": section" lines and four words in each other line, as questions-words.txt; without,
            those of the corpus.
        encoding: of the file.
        write_answers: write every question with its answer, not only the shares.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(self, *, questions: Path | None = None, encoding: str = "utf-8", write_answers: bool = False) -> None:
        self._path, self._encoding, self._write_answers = questions, encoding, write_answers
        self._sections: list[Sequence[object]] = []
        self._answers: list[Sequence[object]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the share of right answers, in all and by section; the split has no influence."""
        vectors, data = vectors_and_data("text.analogies", model, examples)
        questions = list(read_questions(self._path, self._encoding)) if self._path else list(data.questions)
        if not questions:
            raise InputError('the data has no questions of its own; give a file: questions = "questions-words.txt"')
        numbers = [[data.id_of(word) for word in question] for _, question in questions]
        known = [row for row, found in enumerate(numbers) if None not in found]
        if not known:
            raise InputError(
                f"none of the {len(questions):,} questions, such as {' '.join(questions[0][1])}, has all its words in "
                "the vocabulary; expected at least one. Check the language and the spelling of the questions"
            )
        if len(data.vocabulary.words) < MIN_WORDS:
            raise InputError(
                f"a vocabulary of {len(data.vocabulary.words)} words; expected at least {MIN_WORDS}, as those of the "
                "question are no answers. Use a larger corpus, or a smaller min_count"
            )
        found = answers(vectors, torch.tensor([numbers[row] for row in known]))
        right: dict[str, list[bool]] = defaultdict(list)
        total: dict[str, int] = defaultdict(int)
        for section, _ in questions:
            total[section] += 1
        self._answers = []
        for row, answer in zip(known, found.tolist(), strict=True):
            section, words = questions[row]
            right[section].append(answer == numbers[row][3])
            self._answers.append((section, *words, data.vocabulary.words[answer], int(right[section][-1])))
        self._sections = [(name, count, len(right[name]), sum(right[name])) for name, count in total.items()]
        num_right = sum(map(sum, right.values()))
        shares = {name: sum(each) / len(each) for name, each in right.items() if each}
        return {
            "accuracy": num_right / len(known),
            "coverage": len(known) / len(questions),
            "accuracy_of_all": num_right / len(questions),
            **{name.replace("/", "-"): share for name, share in shares.items()},
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the numbers of questions by section, and all answers of the last `evaluate` if they are wanted."""
        write_csv(folder / "sections.csv", [("section", "questions", "covered", "right"), *self._sections])
        if self._write_answers:
            heading = ("section", "a", "b", "c", "expected", "found", "right")
            write_csv(folder / "answers.csv", [heading, *self._answers])
        items = [
            ReportItem(
                "sections.csv",
                "Analogies by section",
                "Covered are the questions of which every word has a vector.",
            )
        ]
        if self._write_answers:
            items.append(ReportItem("answers.csv", "Answers", "a is to b as c is to … ?"))
        return items


def answers(model: WordVectors, questions: Tensor) -> Tensor:
    """Return the number of the word (N,) that completes each question (N, 4), whose fourth word is not looked at."""
    unit = F.normalize(model.vectors.detach(), dim=1)
    a, b, c = (unit[questions[:, place].to(unit.device)] for place in range(3))
    _, found = nearest_words(model, b - a + c, questions[:, :3], 1)
    return found[:, 0]


def vectors_and_data(evaluator: str, model: nn.Module, examples: Examples) -> tuple[WordVectors, WordData]:
    """Return the model and the data if they are word vectors and a corpus.

    Raises:
        InputError: they are not.
    """
    if not isinstance(model, WordVectors) or not isinstance(examples.data, WordData):
        raise InputError(
            f"{evaluator} got a model of type {type(model).__name__} and data of type {type(examples.data).__name__}; "
            "expected text.word_vectors and a corpus such as text.corpus"
        )
    return model, examples.data


def read_questions(path: Path, encoding: str) -> list[Question]:
    """Read the questions of a file.

    Raises:
        DataError: the file cannot be read, has none, a line without four words, or a section with the name of a metric.
    """
    found: list[Question] = []
    section = "questions"
    for number, line in lines_of(path, encoding):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip() or section
            if section in METRICS:
                raise DataError(f"{path}:{number}: the section {quoted(section)} is named as a metric; rename it")
        elif len(words) == 4:
            found.append((section, (words[0], words[1], words[2], words[3])))
        elif words:
            raise DataError(
                f"{path}:{number}: {quoted(line)} has {len(words)} words; expected four, or a colon and the name of a "
                "section. Correct the line"
            )
    if not found:
        raise DataError(f"{path}: no questions; expected four words in a line. Use another file")
    return found
