from __future__ import annotations

import gc
import random
import tracemalloc

import pytest

from dlpipe_text.packed_sentences import PackedSentences
from dlpipe_text.tagged_files import iob

SENTENCES = [(["show", "O", "show"], ["O", "B-x", "O"]), ([], []), (["flights"], ["O"])]


def test_packed_sentences_are_what_was_packed():
    packed = PackedSentences(iter(SENTENCES))

    assert list(packed) == SENTENCES
    assert [packed[row] for row in (2, 0, -1)] == [SENTENCES[2], SENTENCES[0], SENTENCES[2]]
    assert len(packed) == 3
    with pytest.raises(IndexError):
        packed[3]


@pytest.mark.slow
def test_tagged_text_takes_at_most_forty_bytes_a_word(tmp_path):
    draw, words = random.Random(0), [f"word{number}" for number in range(500)]
    sentences = [draw.choices(words, k=10) for _ in range(20_000)]
    text = "\n\n".join("\n".join(f"{word} {'O' if len(word) == 5 else 'B-x'}" for word in each) for each in sentences)
    (tmp_path / "train.iob").write_text(text)
    (tmp_path / "dev.iob").write_text("word1 O\nword22 B-x\n")
    data = iob(path=tmp_path)
    tracemalloc.start()
    tensors = data.split("train").nbytes  # which torch allocates, unseen by tracemalloc
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] + tensors
    tracemalloc.stop()

    assert kept / 200_000 <= 40
