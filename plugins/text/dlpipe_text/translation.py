"""How good translations are: BLEU and chrF, as computed by sacreBLEU, and where the model looked for each unit.

Sources: Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation",
https://aclanthology.org/P02-1040; Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation",
https://aclanthology.org/W15-3049; Post 2018, "A Call for Clarity in Reporting BLEU Scores",
https://aclanthology.org/W18-6319
Axes: S units of a source, T units of a target.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, Strict
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX, Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples, write_csv
from dlpipe.figures import drawing, shortened
from dlpipe.report_items import ReportItem
from dlpipe_text.parallel_text import ParallelText
from dlpipe_text.word_features import PADDING

#: Bounds of the numbers of units of a source for which BLEU is computed apart.
BOUNDS = (5, 10, 15, 20, 30, 50)
#: Translations that a person reads in one sitting.
WORST = 50


@dataclass(frozen=True)
class Translated:
    """A source with the translation that it should have, and that of the model."""

    row: int
    source: str
    true: str
    written: str
    length: int


class Translation:
    """Compare what a model writes with the targets of a split.

    ``evaluate`` returns ``bleu`` and ``chrf``, from 0 to 100, of the whole split, with the texts put together from
    their units; ``exact``, the share of texts that are as the target; and ``length_ratio``, the length of what is
    written in units of BLEU, divided by that of the targets.
    ``write`` writes ``translations.txt``, the worst first by chrF; ``by_length.csv``, BLEU by the length of the source;
    ``scores.txt`` with what sacreBLEU reports for comparisons with other work; and ``attention.png``, which units of
    the source the model looked at when it wrote each unit.

    Args:
        tokenize: how BLEU splits texts into words: "13a" as is usual for most languages, "zh" for Chinese, "intl" by
            the categories of Unicode, "char" into characters, "none" at blanks.
        count: texts whose attention is drawn, evenly spaced; at most 20.
    """

    primary = "bleu"
    goal: Literal["max"] = "max"

    def __init__(
        self,
        *,
        tokenize: Literal["13a", "zh", "intl", "char", "none"] = "13a",
        count: Annotated[int, Strict(), Field(ge=0, le=20)] = 4,
    ) -> None:
        self._bleu, self._chrf, self._count = BLEU(tokenize=tokenize), CHRF(), count
        self._found: list[Translated] = []
        self._attention: list[tuple[Sequence[str], Sequence[str], Tensor]] = []
        self._reports: list[str] = []

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Return the scores of a split."""
        data = examples.data
        if not isinstance(data, ParallelText):
            raise InputError(
                f"text.translation got data of type {type(data).__name__}; expected texts with translations, such as "
                "text.parallel"
            )
        pairs = data.pairs(examples.split)
        self._found, drawn = [], []
        wanted = {round(step * (len(pairs) - 1) / max(1, self._count - 1)) for step in range(self._count)}
        for batch, _, predictions in examples.predictions(model):
            for number, (row, length) in enumerate(zip(batch["rows"].tolist(), batch["lengths"].tolist(), strict=True)):
                source, true = map(data.normalized, pairs[row])
                self._found.append(Translated(row, source, true, data.text(predictions[number]), length))
                if row in wanted:
                    drawn.append((batch["tokens"][number, :length], predictions[number]))
        self._attention = list(_attention(model, examples, data, drawn))
        written, targets = [each.written for each in self._found], [[each.true for each in self._found]]
        bleu, chrf = self._bleu.corpus_score(written, targets), self._chrf.corpus_score(written, targets)
        self._reports = [
            f"{score}\n{metric.get_signature()}" for score, metric in ((bleu, self._bleu), (chrf, self._chrf))
        ]
        return {
            "bleu": bleu.score,
            "chrf": chrf.score,
            "exact": sum(each.written == each.true for each in self._found) / len(self._found),
            "length_ratio": bleu.sys_len / bleu.ref_len,
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Write the translations and tables of the last `evaluate`, and draw where the model looked."""
        (folder / "translations.txt").write_text("\n".join([*self._worst(), ""]), encoding="utf-8")
        (folder / "scores.txt").write_text("\n".join([*self._reports, ""]), encoding="utf-8")
        write_csv(folder / "by_length.csv", [("units of the source", "texts", "bleu"), *self._by_length()])
        items = [
            ReportItem("translations.txt", "Translations", f"The {WORST} worst by chrF: source, target, translation."),
            ReportItem("by_length.csv", "BLEU by length", "Texts are grouped by the number of units in their source."),
            ReportItem("scores.txt", "Scores of sacreBLEU", "With the signatures that say how they were computed."),
        ]
        if self._attention:
            self._draw(folder / "attention.png")
            items.insert(
                0,
                ReportItem(
                    "attention.png",
                    "Attention",
                    "Each row is a unit that the model wrote; the darker a column, the more the model looked at that "
                    "unit of the source when it wrote it.",
                ),
            )
        return items

    def _worst(self) -> Iterator[str]:
        wrong = [
            (self._chrf.sentence_score(each.written, [each.true]).score, each)
            for each in self._found
            if each.written != each.true
        ]
        yield f"{len(wrong)} of {len(self._found)} texts are not as their target"
        for score, each in sorted(wrong, key=lambda entry: entry[0])[:WORST]:
            yield from ("", f"chrF {score:.1f}")
            for title in ("source", "true", "written"):
                yield f"{title:<10}{getattr(each, title)}"

    def _by_length(self) -> Iterator[tuple[str, int, str]]:
        for least, most in zip((1, *(bound + 1 for bound in BOUNDS)), (*BOUNDS, None), strict=True):
            inside = [each for each in self._found if least <= each.length and (most is None or each.length <= most)]
            if inside:
                score = self._bleu.corpus_score([each.written for each in inside], [[each.true for each in inside]])
                yield f"{least} and more" if most is None else f"{least} to {most}", len(inside), f"{score.score:.2f}"

    def _draw(self, path: Path) -> None:
        rows = [max(len(written), 3) for _, written, _ in self._attention]
        with drawing(path, 7, 0.9 * len(rows) + 0.2 * sum(rows)) as figure:
            grid = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
            for axes, (source, written, weights) in zip(grid, self._attention, strict=True):
                axes.imshow(weights.numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
                for ticks, units in ((axes.set_xticks, source), (axes.set_yticks, written)):
                    ticks(range(len(units)), [shortened(unit, 14) for unit in units], fontsize=7)
                axes.tick_params(axis="x", rotation=40)


def _attention(
    model: nn.Module, examples: Examples, data: ParallelText, texts: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Sequence[str], Sequence[str], Tensor]]:
    """Yield the units of a source, those that the model wrote, and the weights (T, S) with which it looked at them.

    Args:
        texts: the units of each source (S,), and what the model wrote, which it is now given as the target.
    """
    written = [prediction[prediction != IGNORE_INDEX].cpu() for _, prediction in texts]
    if not any(map(len, written)):
        return
    sources, targets = (
        Ragged(torch.cat([*units]), torch.tensor([*map(len, units)]), padding=padding)
        for units, padding in (([tokens.cpu() for tokens, _ in texts], PADDING), (written, IGNORE_INDEX))
    )
    split = Columns({"tokens": sources, "targets": targets})
    for batch, outputs, _ in examples.predictions_on(model, split):
        if (weights := getattr(outputs, "attention", None)) is None:
            return
        for number, row in enumerate(batch["rows"].tolist()):
            source, target = data.source_names(texts[row][0]), data.target_names(written[row])
            yield source, target, weights[number, : len(target), : len(source)].float().cpu()
