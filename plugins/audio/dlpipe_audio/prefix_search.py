"""Search for the most probable transcript of a recording, whose probability is that of all paths that say it.

Source: Graves & Jaitly 2014, "Towards End-to-End Speech Recognition with Recurrent Neural Networks",
https://proceedings.mlr.press/v32/graves14.html, algorithm 1, without a language model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import nlargest


def most_probable(probabilities: Sequence[Sequence[float]], beam_size: int) -> list[int]:
    """Return the labels of the most probable transcript that is found.

    Args:
        probabilities: of each label in each frame, the blank last.
        beam_size: transcripts that are followed at a time; if it is as large as their number, the result is exact.
    """
    # Of each beginning of a transcript, the most probable first: the probability of the paths that end with a blank,
    # and of those that do not.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    for *labels, blank in probabilities:
        found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for said, (paused, speaking) in beam.items():
            total = paused + speaking
            found[said][0] += total * blank
            if said:
                found[said][1] += speaking * labels[said[-1]]
            for label, probability in enumerate(labels):
                # The same label once more needs a blank before it.
                before = paused if said and label == said[-1] else total
                if before * probability:
                    found[*said, label][1] += before * probability
        best = nlargest(beam_size, found.items(), key=lambda entry: sum(entry[1]))
        # In proportion to the largest one, since the product of many probabilities would become 0.
        largest = sum(best[0][1]) or 1.0
        beam = {said: (paused / largest, speaking / largest) for said, (paused, speaking) in best}
    return list(next(iter(beam)))
