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
    # The beginnings of transcripts are nodes of a tree: the one before each, its last label, and those after it.
    before, last, after = [-1], [-1], dict[tuple[int, int], int]()
    # Of each that is followed, the most probable first: the probability of the paths that end with a blank, and of
    # those that do not.
    beam = {0: (1.0, 0.0)}
    for *labels, blank in probabilities:
        # With more labels, a transcript would have more than `beam_size` continuations that are more probable; but one
        # that is followed may also be said by a path on which its last label comes only now.
        likely = {*nlargest(beam_size + 1, range(len(labels)), key=labels.__getitem__), *(last[node] for node in beam)}
        likely.discard(-1)
        found: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for node, (paused, speaking) in beam.items():
            total = paused + speaking
            found[node][0] += total * blank
            if node:
                found[node][1] += speaking * labels[last[node]]
            for label in likely:
                # The same label once more needs a blank before it.
                probability = labels[label] * (paused if label == last[node] else total)
                if probability:
                    if (longer := after.setdefault((node, label), len(last))) == len(last):
                        before.append(node)
                        last.append(label)
                    found[longer][1] += probability
        best = nlargest(beam_size, found.items(), key=lambda entry: sum(entry[1]))
        # In proportion to the largest one, since the product of many probabilities would become 0.
        largest = sum(best[0][1]) or 1.0
        beam = {node: (paused / largest, speaking / largest) for node, (paused, speaking) in best}
    transcript, node = [], next(iter(beam))
    while node:
        transcript.append(last[node])
        node = before[node]
    return transcript[::-1]
