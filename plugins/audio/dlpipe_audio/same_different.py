"""Same or different: whether two recordings say the same word.

Source: Carlin, Thomas, Jansen & Hermansky 2011, "Rapid evaluation of speech representations for spoken term discovery";
as in Kamper, Wang & Livescu 2016, https://arxiv.org/abs/1510.01032, with and without pairs of one speaker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dlpipe.evaluation import Examples
from dlpipe.figures import BLUE, GREY, drawing
from dlpipe.report_items import ReportItem
from dlpipe_audio.retrieval import average_precision, cosines
from dlpipe_audio.word_vectors import require_two_speakers, word_vectors

WHO = "audio.same_different"
BINS = 60


class SameDifferent:
    """Measure the average precision of calling all pairs of a split the same word, in the order of their cosines.

    ``evaluate`` returns ``ap`` of all pairs, and ``cross_speaker_ap``, where pairs of the same word from the same
    speaker, which are easy, are left out (NaN if a part of a split has no others).
    ``write`` writes ``cosines.png``, the distributions of both kinds of pairs.
    """

    primary = "cross_speaker_ap"
    goal: Literal["max"] = "max"

    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        """Compare all pairs."""
        words = word_vectors(model, examples, WHO)
        require_two_speakers(examples, WHO)
        first, second = torch.triu_indices(len(words.segments), len(words.segments), offset=1)
        scores = cosines(words.vectors)[first, second]
        same = words.words[first] == words.words[second]
        kept = ~(same & (words.speakers[first] == words.speakers[second]))
        self._scores: tuple[Tensor, Tensor] = scores[same & kept], scores[~same]
        return {
            "ap": average_precision(scores, same),
            "cross_speaker_ap": average_precision(scores[kept], same[kept]),
        }

    def write(self, folder: Path) -> list[ReportItem]:
        """Draw how often each cosine occurs."""
        same, different = self._scores
        with drawing(folder / "cosines.png", 5, 3) as figure:
            axes = figure.subplots()
            for scores, color, label in (
                (different, GREY, "different words"),
                (same, BLUE, "same word, two speakers"),
            ):
                if len(scores):
                    axes.hist(scores.numpy(), BINS, range=(-1, 1), density=True, alpha=0.6, color=color, label=label)
            axes.set(xlabel="cosine of the vectors", ylabel="density of pairs")
            axes.legend(frameon=False)
        return [
            ReportItem(
                "cosines.png",
                "Same word or another",
                "The less the two histograms overlap, the better the vectors separate words.",
            )
        ]
