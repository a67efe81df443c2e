"""Score predicted slots by chunk F1, as computed by conlleval, and list the errors.

Source: the counting rules of the CoNLL-2000 shared task, Tjong Kim Sang & Buchholz 2000,
https://aclanthology.org/W00-0726
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores, write_csv
from dlpipe.messages import display_width, padded
from dlpipe.report_items import ReportItem
from dlpipe_text.chunks import ChunkCounter, chunks
from dlpipe_text.tagged_text import TaggedText

WORST = 50  # sentences: as many as a person reads in one sitting


class SlotF1:
    """Compare predicted slots with true slots; a slot is correct if its words and its type match.

    ``evaluate`` returns ``f1``, ``precision`` and ``recall`` over all slots, and ``token_accuracy``.
    ``write`` writes ``slots.csv`` (scores per type), ``confusion.csv`` (true type by predicted type,
    counted in words), ``worst.txt`` and ``predictions.conll`` (word, true tag, predicted tag).
    """

    primary = "f1"
    goal: Literal["max"] = "max"

    def __init__(self) -> None:
        self._counter = ChunkCounter()
        self._rows: list[int] = []
        self._tagged: list[tuple[Sequence[str], Sequence[str], Sequence[str]]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the slot scores of a split of tagged text."""
        data = examples.data
        if not isinstance(data, TaggedText):
            raise InputError(
                f"text.slot_f1 got data of type {type(data).__name__}; expected tagged sentences, such as text.flights"
            )
        sentences = data.sentences(examples.split)
        self._counter, self._rows, self._tagged = ChunkCounter(), [], []
        for batch, _, predictions in examples.predictions(model):
            for row, length, predicted in zip(
                batch["rows"].tolist(), batch["lengths"].tolist(), predictions, strict=True
            ):
                words, gold = sentences[row]
                tags = data.tags(predicted[:length])
                self._counter.add(gold, tags)
                self._rows.append(row)
                self._tagged.append((words, gold, tags))
        overall = self._counter.overall
        return {
            "f1": overall.f1,
            "precision": overall.precision,
            "recall": overall.recall,
            "token_accuracy": self._counter.token_accuracy,
        }

    def example_scores(self) -> ExampleScores:
        """Return the F1 of each sentence; its weight is the number of its true and predicted slots."""
        counts = []
        for _, gold, tags in self._tagged:
            counter = ChunkCounter()
            counter.add(gold, tags)
            counts.append(counter.overall)
        return ExampleScores(
            self._rows,
            [score.f1 if score.gold + score.predicted else math.nan for score in counts],
            weights=[score.gold + score.predicted for score in counts],
            names=[" ".join(words) for words, _, _ in self._tagged],
            true=[" ".join(gold) for _, gold, _ in self._tagged],
            predicted=[" ".join(tags) for _, _, tags in self._tagged],
        )

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the tables of the last `evaluate`."""
        counter = self._counter
        scores: list[tuple[str, ...]] = [("slot", "f1", "precision", "recall", "true", "predicted")]
        for slot, score in counter.per_type.items():
            shares = [f"{share:.4f}" for share in (score.f1, score.precision, score.recall)]
            scores.append((slot, *shares, str(score.gold), str(score.predicted)))
        names = sorted({name for pair in counter.confusion for name in pair})
        confused: list[tuple[str, ...]] = [("true \\ predicted", *names)]
        confused += [(gold, *(str(counter.confusion[gold, predicted]) for predicted in names)) for gold in names]
        write_csv(folder / "slots.csv", scores)
        write_csv(folder / "confusion.csv", confused)
        with (folder / "predictions.conll").open("w", encoding="utf-8") as file:
            for words, gold, tags in self._tagged:
                file.writelines(f"{word} {right} {tag}\n" for word, right, tag in zip(words, gold, tags, strict=True))
                file.write("\n")
        (folder / "worst.txt").write_text("\n".join(self._worst()), encoding="utf-8")
        return [
            ReportItem("slots.csv", "Scores of each slot", "The last two columns count the slots of each kind."),
            ReportItem(
                "worst.txt",
                "Sentences with the most errors",
                "Each word above its true and its predicted tag.",
            ),
            ReportItem(
                "confusion.csv", "Confused slots", "Rows are true kinds of slots, columns predicted ones, in words."
            ),
            ReportItem(
                "predictions.conll",
                "All predictions",
                "A line for each word: the word, its true tag, its predicted tag.",
            ),
        ]

    def _worst(self) -> list[str]:
        """Return the sentences with the most wrong slots, each word above its true and predicted tag."""
        wrong = []
        for words, gold, tags in self._tagged:
            difference = set(chunks(gold)) ^ set(chunks(tags))
            if difference:
                wrong.append((len(difference), words, gold, tags))
        wrong.sort(key=lambda entry: -entry[0])
        lines = [f"{len(wrong)} of {len(self._tagged)} sentences have a wrong slot"]
        for count, words, gold, tags in wrong[:WORST]:
            widths = [max(map(display_width, column)) for column in zip(words, gold, tags, strict=True)]
            lines += ["", f"missed and spurious slots: {count}"]
            for title, row in (("", words), ("true", gold), ("predicted", tags)):
                cells = (padded(text, width) for text, width in zip(row, widths, strict=True))
                lines.append(f"{title:<10}" + "  ".join(cells).rstrip())
        return lines
