from __future__ import annotations

from collections import defaultdict

import pytest
import torch

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.parallel_text import END, RESERVED_TARGETS, ParallelText
from dlpipe_text.word_features import PADDING
from dlpipe_text.word_translation import WordTranslation, translation_probabilities

#: "the" always stands beside a noun, which only the other pairs tell apart; "please" is translated by nothing.
PAIRS = [("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("a house please", "ein Haus")]


def read(pairs):
    data = ParallelText(lambda _: pairs, ("train",))
    split = data.split("train")
    return data, split.batch(torch.arange(len(split)))


def learned(pairs=PAIRS, iterations=20):
    data, batch = read(pairs)
    model = WordTranslation(data.facts["vocab_size"], data.facts["target_vocabulary"], iterations=iterations)
    model.fit(batch["tokens"], batch["targets"])
    return data, model


def test_a_dictionary_follows_from_sentences_and_their_translations():
    data, model = learned()

    written = [
        data.text(model.predict(model(data.encode(text)["tokens"].unsqueeze(0)))[0])
        for text in ("the house", "a book", "house the", "a zebra book")
    ]

    assert written == ["das Haus", "ein Buch", "Haus das", "ein Buch"]


def expected(sentences, iterations):
    """Return the probability of each target unit given a source unit, or none ("")."""
    pairs = [([*source.split(), ""], target.split()) for source, target in sentences]
    probability = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts = defaultdict(float)
        for source, target in pairs:
            for written in target:
                total = sum(probability[read, written] for read in source)
                for read in source:
                    counts[read, written] += probability[read, written] / total
        sums = defaultdict(float)
        for (read, _), count in counts.items():
            sums[read] += count
        probability = defaultdict(float, {pair: count / sums[pair[0]] for pair, count in counts.items()})
    return dict(probability)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_probabilities_follow_by_expectation_maximization(iterations):
    data, batch = read(PAIRS)
    names = data.facts["vocabulary"], data.facts["target_vocabulary"]

    sources, targets, probability = translation_probabilities(batch["tokens"], batch["targets"], iterations)

    found = {
        ("" if source == PADDING else names[0][source].strip("▁"), names[1][target].strip("▁")): value
        for source, target, value in zip(sources.tolist(), targets.tolist(), probability.tolist(), strict=True)
    }
    assert found == pytest.approx(expected(PAIRS, iterations))


def test_padding_and_other_are_left_out():
    data, model = learned()

    written = model(torch.tensor([[3, 1, 0, 0]]))

    assert written[0, 1:].tolist() == [IGNORE_INDEX] * 3
    assert int(written[0, 0]) > END
    assert data.facts["target_vocabulary"][: END + 1] == list(RESERVED_TARGETS)
