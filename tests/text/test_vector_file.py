from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest
import torch

from dlpipe.config.check import load_pipeline
from dlpipe.errors import DataError, InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe_text.load_vectors import LoadVectors
from dlpipe_text.vector_file import VectorFile, vectors_in
from dlpipe_text.word_vectors import WordVectors

WORDS = ["the", "蔡英文", "a\u0085b", "12", "naïve"]
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3) / 7


def as_text(header=True):
    rows = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in zip(WORDS, VECTORS, strict=True))
    return (f"5 3\n{rows}" if header else rows).encode()


def as_binary(end=b"\n"):
    return b"5 3\n" + b"".join(
        word.encode() + b" " + row.tobytes() + end for word, row in zip(WORDS, VECTORS, strict=True)
    )


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (as_text(), "w.txt"),
        (as_text(header=False), "glove.txt"),
        (as_text().replace(b"\n", b" \n"), "w.vec"),
        (as_binary(), "w.bin"),
        (as_binary(end=b""), "old.bin"),
        (gzip.compress(as_binary()), "w.bin.gz"),
    ],
)
def test_the_format_is_detected(write, content, name, monkeypatch):
    monkeypatch.setattr("dlpipe_text.corpus_files.BLOCK", 5)
    data = VectorFile(path=write(content, name))

    assert data.facts["words"] == WORDS
    assert np.array_equal(data.split("train").columns["vectors"].numpy(), VECTORS)


def test_the_fingerprint_is_that_of_the_content(write):
    content = as_text()
    expected = hashlib.sha256(content).hexdigest()[:16]

    assert VectorFile(path=write(content, "w.txt")).fingerprint() == expected


def test_only_the_first_words_and_the_first_of_two_vectors_count(write):
    path = write("a 1 2\nb 3 4\na 5 6\nc 7 8\n")

    with pytest.warns(UserWarning, match="1 words occur more than once; the first vector counts"):
        assert VectorFile(path=path).split("train").columns["vectors"].tolist() == [[1, 2], [3, 4], [7, 8]]
    assert VectorFile(path=path, max_words=2).facts["words"] == ["a", "b"]


def test_one_word_is_too_few(root):
    table = "data={use='text.vector_file', path='w.txt', max_words=1}"

    with pytest.raises(PipelineError, match=r"\[data\] max_words = 1: expected a whole number of at least 2"):
        load_pipeline(root / "pipelines" / "word_vectors.toml", load_plugins(), [table])


def test_words_of_glove_may_contain_blanks(write):
    assert [word for word, _ in vectors_in(write("a 1 2\nb c 3 4\n"))] == ["a", "b c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (as_text()[:-20], r"given.iob:6: |the first line promises 5"),
        (as_binary()[:-9], r"4 words; the first line promises 5, so the file is cut off or damaged"),
        (as_text().replace(b"5 3", b"6 3", 1), "5 words; the first line promises 6"),
        (b"a 1 2\nb 1 x\n", r':2: "b 1 x.*" is not a word with 2 numbers .*; expected a file of word2vec or GloVe'),
        (b"a 1 2\nb 1\n", r":2: .* is not a word with 2 numbers"),
        (b"a 1 2\nb 1 nan\n", r":2: 2 numbers; expected a word with 2 finite numbers"),
        (as_binary().replace(VECTORS[1].tobytes(), b"\xff" * 12), r"given.iob: the vector of word 2, .* is not finite"),
        (b"one line\n", r"is not a word with 1 numbers"),
        (b"9 99999\n", "vectors of 99999 numbers; expected 1 to 10,000"),
        (b"a 1 2\n", "1 words; expected at least two"),
        (as_binary().replace("蔡".encode(), b"\xff\xff\xff"), "word 2 is .*, not UTF-8"),
    ],
)
def test_other_files_are_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        VectorFile(path=write(content)).facts  # noqa: B018


def test_no_end_of_a_line_is_refused_before_it_fills_the_memory(write):
    with pytest.raises(DataError, match=r"no end of a line or a word in 1,048,576 bytes"):
        list(vectors_in(write(b"x" * 3 * 2**20)))


def test_vectors_are_taken_over_in_one_step(write):
    data = VectorFile(path=write(as_text()))
    model = WordVectors(data.facts["words"], vector_size=3)

    next(LoadVectors(model, data).steps())

    assert np.array_equal(model.vectors.numpy(), VECTORS)
    assert data.encode("12 - THE")["words"][:2].tolist() == [3, 0]


def test_vectors_of_another_width_are_refused(write):
    data = VectorFile(path=write(as_text()))
    words = data.facts["words"]

    with pytest.raises(
        InputError, match="vectors of the file have 3 numbers, those of the model 5; set vector_size = 3"
    ):
        LoadVectors(WordVectors(words, vector_size=5), data)
    with pytest.raises(InputError, match="a file has no vectors of letter n-grams; set subwords = false"):
        LoadVectors(WordVectors(words, vector_size=3, subwords=True, buckets=5), data)
    with pytest.raises(
        InputError, match="model of type Linear and data of type VectorFile; expected text.word_vectors"
    ):
        LoadVectors(torch.nn.Linear(2, 3), data)
    with pytest.raises(DataError, match="path is not given; give a file of word vectors"):
        VectorFile()
