from __future__ import annotations

import torch

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.parallel_text import END, RESERVED_TARGETS, ParallelText
from dlpipe_text.word_translation import WordTranslation

#: "the" always stands beside a noun, which only the other pairs tell apart; "please" is translated by nothing.
PAIRS = [("the house", "das Haus"), ("the book", "das Buch"), ("a book", "ein Buch"), ("a house please", "ein Haus")]


def learned(pairs=PAIRS, iterations=20):
    data = ParallelText(lambda _: pairs, ("train",))
    model = WordTranslation(data.facts["vocab_size"], data.facts["target_vocabulary"], iterations=iterations)
    split = data.split("train")
    batch = split.batch(torch.arange(len(split)))
    model.fit(batch["tokens"], batch["targets"])
    return data, model


def test_a_dictionary_follows_from_sentences_and_their_translations():
    data, model = learned()

    written = [
        data.text(model.predict(model(data.encode(text)["tokens"].unsqueeze(0)))[0])
        for text in ("the house", "a book", "house the", "a zebra book")
    ]

    assert written == ["das Haus", "ein Buch", "Haus das", "ein Buch"]


def test_one_iteration_is_that_of_the_paper():
    """From equal probabilities, a pair counts 1 / (units of its source, and the one for none) per occurrence."""
    pairs = [("a b", "x"), ("a", "x y")]
    data, model = learned(pairs, iterations=1)

    # "a" with x: 1/3 + 1/2, with y: 1/2; "b" with x: 1/3 only.
    names = data.facts["target_vocabulary"]
    translation = dict(zip(data.facts["vocabulary"], model.translation.tolist(), strict=True))
    assert names[translation["▁a"]] == "▁x"
    assert names[translation["▁b"]] == "▁x"


def test_padding_and_other_are_left_out():
    data, model = learned()

    written = model(torch.tensor([[3, 1, 0, 0]]))

    assert written[0, 1:].tolist() == [IGNORE_INDEX] * 3
    assert int(written[0, 0]) > END
    assert data.facts["target_vocabulary"][: END + 1] == list(RESERVED_TARGETS)
