"""How well questions about stories are answered, and which sentences a memory network looks at to answer them.

Source of the table of hops: figure 2 of Sukhbaatar et al. 2015, https://arxiv.org/abs/1503.08895
Axes: K hops, S sentences of a story.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores, write_csv
from dlpipe.figures import BLUE, drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_text.question_data import Question, QuestionData, SupportsSentenceAttention

#: Sentences of a story that are drawn, the last ones, and letters of a sentence.
MOST_DRAWN, LONGEST = 20, 60


@dataclass(frozen=True)
class Answered:
    """A question, what the model answered, and the attention of each hop to each sentence (K, S), if there is one."""

    row: int
    question: Question
    answer: str
    attention: Tensor

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.answer == self.question.answer.lower()

    @property
    def found(self) -> list[int]:
        """The number of the most attended sentence of each hop."""
        return self.attention.argmax(1).tolist()


class QuestionAnswering:
    """Compare answers with the right ones, in all and for each kind of question, and the attention with the facts.

    ``evaluate`` returns ``accuracy``, and ``accuracy_<kind>`` if there are several kinds. For a memory network also
    ``fact_in_hop_<k>``, the share of questions with known supporting facts for which the most attended sentence of
    hop k is one of them, and ``facts_found``, the share of supporting facts that are the most attended sentence of some
    hop.
    ``write`` writes ``kinds.csv`` (these scores by kind), ``answers.csv`` (all answers) and, for a memory network,
    ``attention.png`` and ``attention.csv``, the attention of each hop to the sentences of some stories.

    Args:
        labels: the answers by class.
        count: stories of each kind whose attention is drawn; at most 5.
    """

    primary = "accuracy"
    goal: Literal["max"] = "max"

    def __init__(self, labels: Sequence[str], *, count: Annotated[int, Strict(), Field(ge=0, le=5)] = 1) -> None:
        self._labels, self._count = list(labels), count
        self._answered: list[Answered] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the scores of a split of questions."""
        data = examples.data
        if not isinstance(data, QuestionData):
            raise InputError(
                f"text.question_answering got data of type {type(data).__name__}; expected questions about stories, "
                "such as text.stories"
            )
        questions = data.questions(examples.split)
        self._answered = []
        for batch, _, predictions in examples.predictions(model):
            attention = torch.zeros(len(predictions), 0, 0)
            if isinstance(model, SupportsSentenceAttention):
                with torch.inference_mode():
                    attention = model.sentence_attention(batch["tokens"], batch["sentence_sizes"]).float().cpu()
            for row, predicted, each in zip(batch["rows"].tolist(), predictions.tolist(), attention, strict=True):
                question = questions[row]
                answered = Answered(row, question, self._labels[predicted], each[:, : len(question.story)])
                self._answered.append(answered)
        self._answered.sort(key=lambda each: each.row)
        metrics = _scores(self._answered)
        by_kind = self._by_kind()
        if len(by_kind) > 1:
            metrics |= {f"accuracy_{kind}": _scores(answered)["accuracy"] for kind, answered in by_kind.items()}
        return metrics

    def example_scores(self) -> ExampleScores:
        """Return 1 for each right answer and 0 for each wrong one."""
        return ExampleScores(
            [each.row for each in self._answered],
            [float(each.right) for each in self._answered],
            true=[each.question.answer for each in self._answered],
            predicted=[each.answer for each in self._answered],
        )

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the tables of the last `evaluate`, and draw the attention of a memory network."""
        by_kind = {**self._by_kind(), "all": self._answered}
        scores = {kind: _scores(answered) for kind, answered in by_kind.items()}
        names = list(scores["all"])
        rows = [
            (kind, len(by_kind[kind]), *(f"{each[name]:.4f}" if name in each else "" for name in names))
            for kind, each in scores.items()
        ]
        write_csv(folder / "kinds.csv", [("kind", "questions", *names), *rows])
        heading = ("row", "kind", "question", "true", "predicted", "facts", "most attended")
        write_csv(folder / "answers.csv", [heading, *map(_row, self._answered)])
        items = [
            ReportItem(
                "kinds.csv",
                "Scores by kind of question",
                "fact_in_hop_1 is the share of questions for which the most attended sentence of hop 1 is one of the "
                "supporting facts, facts_found the share of these facts that some hop attends to most.",
            ),
            ReportItem(
                "answers.csv",
                "All answers",
                "Facts and the most attended sentence of each hop are numbers of sentences.",
            ),
        ]
        shown = [each for answered in self._by_kind().values() for each in answered[: self._count]]
        if any(each.attention.numel() for each in shown):
            self._draw(folder / "attention.png", shown)
            write_csv(folder / "attention.csv", [*_attention_rows(shown)])
            items = [
                ReportItem(
                    "attention.png",
                    "Attention to the sentences of stories",
                    f"A column for each hop, with the share of its attention. * marks the supporting facts. Of a long "
                    f"story, the last {MOST_DRAWN} sentences are shown.",
                ),
                *items,
                ReportItem("attention.csv", "Attention", "The numbers of the picture, for all sentences."),
            ]
        return items

    def _by_kind(self) -> dict[str, list[Answered]]:
        """Return the answers by the kind of question, in the order of the split."""
        by_kind: dict[str, list[Answered]] = defaultdict(list)
        for each in self._answered:
            by_kind[each.question.kind].append(each)
        return dict(by_kind)

    def _draw(self, path: Path, shown: Sequence[Answered]) -> None:
        heights = [min(len(each.question.story), MOST_DRAWN) for each in shown]
        with drawing(path, 8, sum(0.22 * height + 0.75 for height in heights)) as figure:
            grid = figure.subplots(len(shown), squeeze=False, height_ratios=[height + 3 for height in heights])[:, 0]
            for axes, each, height in zip(grid, shown, heights, strict=True):
                first = len(each.question.story) - height
                values = each.attention[:, first:].T.numpy()
                axes.imshow(abs(values), cmap=_shades(), vmin=0, vmax=1, aspect="auto")
                for place, row in enumerate(values):
                    for hop, value in enumerate(row):
                        color = "white" if value > 0.6 else "black"
                        axes.text(hop, place, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
                facts = set(each.question.facts)
                sentences = [
                    shortened(sentence, LONGEST) + ("  *" if number in facts else "   ")
                    for number, sentence in enumerate(each.question.story)
                ][first:]
                axes.set_yticks(range(height), sentences, fontsize=7)
                axes.set_xticks(range(len(each.attention)), [f"hop {hop + 1}" for hop in range(len(each.attention))])
                axes.tick_params(length=0, labelsize=7)
                verdict = "right" if each.right else f"wrong, expected {each.question.answer}"
                axes.set_title(f"{each.question.question}? {each.answer} ({verdict})", fontsize=9, loc="left")


def _shades() -> object:
    from matplotlib.colors import LinearSegmentedColormap  # as late as in `dlpipe.figures`

    return LinearSegmentedColormap.from_list("attention", ["white", BLUE])


def _scores(answered: Sequence[Answered]) -> dict[str, float]:
    """Return the accuracy of some answers and, if there are attention and facts, how they fit together."""
    metrics = {"accuracy": sum(each.right for each in answered) / len(answered)}
    known = [each for each in answered if each.question.facts and each.attention.numel()]
    for hop in range(len(known[0].attention) if known else 0):
        hits = sum(each.found[hop] in each.question.facts for each in known)
        metrics[f"fact_in_hop_{hop + 1}"] = hits / len(known)
    if known:
        found = sum(len(set(each.found) & set(each.question.facts)) for each in known)
        metrics["facts_found"] = found / sum(len(set(each.question.facts)) for each in known)
    return metrics


def _row(each: Answered) -> tuple[object, ...]:
    facts = " ".join(str(number + 1) for number in each.question.facts)
    found = " ".join(str(number + 1) for number in each.found) if each.attention.numel() else ""
    question = each.question
    return each.row, question.kind, f"{question.question}?", question.answer, each.answer, facts, found


def _attention_rows(shown: Sequence[Answered]) -> Iterator[tuple[object, ...]]:
    hops = [f"hop {hop + 1}" for hop in range(len(shown[0].attention))]
    yield ("row", "question", "sentence", "text", "fact", *hops)
    for each in shown:
        for number, sentence in enumerate(each.question.story):
            weights = (f"{weight:.4f}" for weight in each.attention[:, number].tolist())
            fact = int(number in each.question.facts)
            yield (each.row, f"{each.question.question}?", number + 1, sentence, fact, *weights)
