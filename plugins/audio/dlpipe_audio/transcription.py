"""How well a model writes down what is said: label and word error rate, and where the errors are.

The error rate is the number of labels to insert, delete or replace, divided by that of the labels that are said, as in
Graves et al. 2006, https://doi.org/10.1145/1143844.1143891, section 2.
Axes: T frames of a recording, F numbers per frame, K labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, ExampleScores, write_csv
from dlpipe.figures import COLORS, GREY, drawing, shortened
from dlpipe.messages import display_width, padded
from dlpipe.report_items import ReportItem
from dlpipe_audio.transcripts import TranscriptData

#: What stands for a label that is not there, and for the space between words.
MISSING, SPACE = "–", "␣"
#: From which probability a label is drawn, and how many letters a title has at most.
SHOWN, LONGEST = 0.1, 80


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, and what the model wrote."""

    row: int
    name: str
    true: Sequence[str]
    written: Sequence[str]

    @cached_property
    def pairs(self) -> list[tuple[str | None, str | None]]:
        """The labels side by side; one of them is None where a label was inserted or deleted."""
        pairs: list[tuple[str | None, str | None]] = []
        for each in Levenshtein.opcodes(self.true, self.written):
            true = list(self.true[each.src_start : each.src_end])
            written = list(self.written[each.dest_start : each.dest_end])
            pairs += zip_longest(true, written)  # of a replacement, both are as long
        return pairs

    @property
    def errors(self) -> int:
        """Labels to insert, delete or replace."""
        return sum(true != written for true, written in self.pairs)


class Transcription:
    """Compare what a model writes with what is said.

    ``evaluate`` returns ``label_error_rate``; the shares of labels that are ``inserted``, ``deleted`` and ``replaced``,
    whose sum it is; ``exact``, the share of transcripts without an error; and, if labels are letters,
    ``word_error_rate``. Error rates are above 1 if more is inserted than was said.
    ``write`` writes ``transcripts.txt``, true and written labels one above the other, with the most errors first;
    ``confusions.csv``, which labels were taken for which; and ``paths.png``, the probabilities of the labels over time.

    Args:
        count: recordings whose probabilities are drawn, evenly spaced; at most 20.
    """

    primary = "label_error_rate"
    goal: Literal["min"] = "min"

    def __init__(self, *, count: Annotated[int, Strict(), Field(ge=0, le=20)] = 3) -> None:
        self._count = count
        self._found: list[Transcript] = []
        self._drawn: list[tuple[Transcript, Tensor, Tensor]] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compare the transcripts of a split."""
        data = examples.data
        if not isinstance(data, TranscriptData):
            raise InputError(
                f"audio.transcription got data of type {type(data).__name__}; expected recordings with transcripts, "
                "such as audio.transcribed"
            )
        self._data = data
        segments = data.segments(examples.split)
        drawn = {round(step * (len(segments) - 1) / max(1, self._count - 1)) for step in range(self._count)}
        self._found, self._drawn = [], []
        for batch, outputs, predictions in examples.predictions(model):
            for number, (row, length) in enumerate(zip(batch["rows"].tolist(), batch["lengths"].tolist(), strict=True)):
                segment = segments[row]
                written = data.named(predictions[number])
                self._found.append(Transcript(row, segment.name, data.labels_of(segment), written))
                if row in drawn and isinstance(outputs, Tensor):
                    probabilities = outputs[number, :length].float().softmax(1).cpu()
                    self._drawn.append((self._found[-1], batch["frames"][number, :length].cpu(), probabilities))
        total = sum(len(each.true) for each in self._found)
        pairs = [pair for each in self._found for pair in each.pairs]
        inserted, deleted = (sum(pair[side] is None for pair in pairs) for side in (0, 1))
        errors = sum(each.errors for each in self._found)
        metrics = {
            "label_error_rate": errors / total,
            "inserted": inserted / total,
            "deleted": deleted / total,
            "replaced": (errors - inserted - deleted) / total,
            "exact": sum(not each.errors for each in self._found) / len(self._found),
        }
        if data.units == "letters":
            words = [("".join(each.true).split(), "".join(each.written).split()) for each in self._found]
            wrong = sum(Levenshtein.distance(true, written) for true, written in words)
            metrics["word_error_rate"] = wrong / sum(len(true) for true, _ in words)
        return metrics

    def example_scores(self) -> ExampleScores:
        """Return the label error rate of each recording; its weight is the number of its labels."""
        return ExampleScores(
            [each.row for each in self._found],
            [each.errors / len(each.true) for each in self._found],
            weights=[len(each.true) for each in self._found],
            names=[each.name for each in self._found],
            true=[self._data.written(each.true) for each in self._found],
            predicted=[self._data.written(each.written) for each in self._found],
        )

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the transcripts and the confusions of the last `evaluate`, and draw some."""
        (folder / "transcripts.txt").write_text("\n".join([*self._aligned(), ""]), encoding="utf-8")
        confused = Counter(pair for each in self._found for pair in each.pairs if pair[0] != pair[1])
        write_csv(
            folder / "confusions.csv",
            [
                ("said", "written", "count"),
                *((*map(_visible, pair), count) for pair, count in confused.most_common()),
            ],
        )
        items = [
            ReportItem(
                "transcripts.txt",
                "Transcripts",
                f"What is said above what was written, most errors first; {MISSING} stands for no label.",
            ),
            ReportItem(
                "confusions.csv",
                "Confused labels",
                f"{MISSING} stands for no label, {SPACE} for the space between words.",
            ),
        ]
        if self._drawn:
            self._draw(folder / "paths.png")
            items.insert(
                0,
                ReportItem(
                    "paths.png",
                    "Labels over time",
                    "The features of a recording, and below the probability of each label, and of the blank (dashed), "
                    "in each frame. The letters are those of the most probable path.",
                ),
            )
        return items

    def _aligned(self) -> Iterator[str]:
        wrong = sorted((each for each in self._found if each.errors), key=lambda each: -each.errors)
        yield f"{len(wrong)} of {len(self._found)} transcripts have an error"
        for each in wrong:
            yield ""
            yield f"{each.name}: {each.errors} of {len(each.true)}"
            shown = [(true or MISSING, written or MISSING) for true, written in each.pairs]
            widths = [max(map(display_width, pair)) for pair in shown]
            space = "" if self._data.units == "letters" else " "
            for title, side in (("said", 0), ("written", 1)):
                cells = (padded(pair[side], width) for pair, width in zip(shown, widths, strict=True))
                yield f"{title:<10}" + space.join(cells).rstrip()

    def _draw(self, path: Path) -> None:
        alphabet, features = self._data.facts["alphabet"], self._data.features
        hop = features.hop / features.rate_hz
        with drawing(path, 8, 2.4 * len(self._drawn)) as figure:
            axes = figure.subplots(2 * len(self._drawn), squeeze=False)[:, 0]
            for number, (transcript, frames, probabilities) in enumerate(self._drawn):
                picture, curves = axes[2 * number : 2 * number + 2]
                end = hop * len(frames)
                values = frames.T.numpy()
                picture.imshow(values, origin="lower", aspect="auto", extent=(0, end, 0, len(values)))
                picture.set_ylabel("feature", fontsize=7)
                said, written = (
                    shortened(self._data.written(part), LONGEST) for part in (transcript.true, transcript.written)
                )
                picture.set_title(f"said: {said}\nwritten: {written}", fontsize=8, loc="left")
                seconds = [hop * (frame + 0.5) for frame in range(len(probabilities))]
                curves.plot(seconds, probabilities[:, -1].numpy(), color=GREY, linewidth=0.6, linestyle="--")
                for label in range(len(alphabet)):
                    if float(probabilities[:, label].max()) > SHOWN:
                        color = COLORS[label % len(COLORS)]
                        curves.plot(seconds, probabilities[:, label].numpy(), color=color, linewidth=0.8)
                for frame, label in peaks(probabilities):
                    place = seconds[frame], 0.03 + float(probabilities[frame, label])
                    curves.text(*place, _visible(alphabet[label]), fontsize=6, ha="center")
                curves.set(ylim=(0, 1.25), xlim=(0, end))
                curves.set_ylabel("probability", fontsize=7)
                for each in (picture, curves):
                    each.tick_params(labelsize=6)
            axes[-1].set_xlabel("seconds", fontsize=8)


def _visible(label: str | None) -> str:
    """Return a label, or what stands for it."""
    if label is None:
        return MISSING
    return label if label.strip() else SPACE


def peaks(probabilities: Tensor) -> list[tuple[int, int]]:
    """Return where each label of the most probable path is most probable: (frame, label).

    Args:
        probabilities: (T, K + 1), the blank last.
    """
    best = probabilities.argmax(1)
    values, counts = best.unique_consecutive(return_counts=True)
    found, start = [], 0
    for label, count in zip(values.tolist(), counts.tolist(), strict=True):
        if label != probabilities.size(1) - 1:
            found.append((start + int(probabilities[start : start + count, label].argmax()), label))
        start += count
    return found
