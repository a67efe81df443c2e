from __future__ import annotations

import bz2
import gzip
import os
import re

import pytest
import torch

from dlpipe.errors import DataError, InputError
from dlpipe_text.corpus import Corpus
from dlpipe_text.corpus_files import corpus, lines_of
from dlpipe_text.word_data import terms_of
from dlpipe_text.word_vectors import WordVectors

NAMES = 'expected a word, or words with \\+ and - between blanks, such as "Rome - Italy \\+ Germany"'


def corpus_of(*documents, min_count=1, **options) -> Corpus:
    return Corpus(lambda: iter(documents), str, min_count=min_count, **options)


def lines(path, encoding="utf-8"):
    return list(lines_of(path, encoding))


def test_a_document_is_a_line_whatever_else_ends_a_line_elsewhere(write):
    path = write("\ufeffa b\u0085c\x97\u2028d\r\ne\x0cf\x1c\n\ng".encode())

    assert lines(path) == [(1, "a b\u0085c\x97\u2028d"), (2, "e\x0cf\x1c"), (3, ""), (4, "g")]


def test_control_characters_do_not_split_words_between_blanks(write):
    data = corpus(path=write("a\x97b c\u0085d\n"), unit="blank", min_count=1)

    assert list(data.sentences()) == [["a\x97b", "c\u0085d"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "big5"])
def test_characters_that_a_block_cuts_are_whole(write, encoding, monkeypatch):
    monkeypatch.setattr("dlpipe_text.corpus_files.BLOCK", 3)
    text = "太糟了\n很好 not bad\r\n再見"

    assert [line for _, line in lines(write(text.encode(encoding)), encoding)] == ["太糟了", "很好 not bad", "再見"]


@pytest.mark.parametrize("block", [3, 2**20])
def test_bytes_of_another_encoding_are_named_with_byte_and_line(write, monkeypatch, block):
    monkeypatch.setattr("dlpipe_text.corpus_files.BLOCK", block)
    path = write(b"gut\nsch\xc3\xb6n\nsch\xf6n\n")

    with pytest.raises(
        DataError, match=r"given.iob:3: byte 14 is 0xf6, not utf-8 .*; set encoding to that of the file"
    ):
        lines(path)


def test_a_nul_is_named_with_its_line(write):
    with pytest.raises(
        DataError, match=r'given.iob:2: a NUL; expected text. If this is UTF-16, set encoding = "utf-16"'
    ):
        lines(write(b"a\nb\0c\n"))


def test_compressed_files_and_folders_are_read(write, tmp_path):
    write(gzip.compress(b"one\n"), "texts/a.txt.gz")
    write(bz2.compress(b"two\n"), "texts/b/c.bz2")
    write(b"three\n", "texts/b/d")
    write(b"not text\n", "texts/README.md")
    write(b"not text\n", "texts/.hidden")

    data = corpus(path=tmp_path / "texts", min_count=1)

    assert list(data.sentences()) == [["one"], ["two"], ["three"]]


@pytest.mark.parametrize("name", ["cut.gz", "cut.bz2"])
def test_a_compressed_file_that_is_cut_off_is_not_read_as_if_whole(write, name):
    whole = (gzip if name.endswith("gz") else bz2).compress(os.urandom(5000).hex().encode())

    with pytest.raises(
        DataError, match=rf"{name}: cannot be unpacked .*; the file is damaged or cut off. Copy it again"
    ):
        lines(write(whole[:-2000], name))


def test_what_is_no_file_is_refused(tmp_path, write):
    with pytest.raises(DataError, match=r"no files in it; expected text"):
        corpus(path=tmp_path).facts  # noqa: B018
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"link: a link to a folder; expected files and folders"):
        corpus(path=tmp_path).facts  # noqa: B018
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        DataError, match=r"pipe: neither a file nor a folder; expected a file with text. Copy it to one"
    ):
        corpus(path=tmp_path / "pipe").facts  # noqa: B018
    with pytest.raises(DataError, match=r"the file is empty; expected text. Use another file"):
        corpus(path=write("", "empty")).facts  # noqa: B018
    with pytest.raises(DataError, match="path is not given"):
        corpus()
    for encoding in ("utf8x", "rot13", "hex"):
        with pytest.raises(InputError, match=f'encoding = "{encoding}": there is no such encoding'):
            corpus(path=tmp_path, encoding=encoding)
        with pytest.raises(InputError, match=f'encoding = "{encoding}": there is no such encoding'):
            next(lines_of(write("one\n"), encoding))


@pytest.mark.parametrize("block", [3, 100])
def test_the_mark_of_utf_16_is_recognized(write, monkeypatch, block):
    monkeypatch.setattr("dlpipe_text.corpus_files.BLOCK", block)

    with pytest.raises(DataError, match=r"given.iob:1: byte 0 is 0xff, not utf-8 .*, such as utf-16, or convert it"):
        lines(write("one two\n".encode("utf-16")))


@pytest.mark.parametrize("encoding", ["punycode", "utf-16"])
def test_what_has_no_place_in_the_file_is_an_error_of_its_encoding(write, encoding):
    with pytest.raises(
        DataError, match=rf"given.iob: not {encoding} \(.*\); set encoding to that of the file, such as"
    ):
        lines(write("one two\n"), encoding)


def test_a_long_line_is_cut_into_sentences_since_gensim_would_drop_the_rest(write):
    data = corpus(path=write("word " * 1_000_000 + "end\n"), min_count=1)

    assert [len(sentence) for sentence in data.sentences()] == [10_000] * 100 + [1]
    assert data.vocabulary.num_words == 1_000_001


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["it's", "not", "bad", "很", "好"]),
        ({"lowercase": False}, ["It's", "NOT", "bad", "很", "好"]),
        ({"punctuation": True}, ["it's", "not", "bad", "!", "很", "好", "。"]),
        ({"unit": "char"}, list("it'snotbad!很好。")),
        ({"unit": "blank"}, ["it's", "not", "bad!", "很好。"]),
    ],
)
def test_units(options, expected):
    assert list(corpus_of("It's NOT bad! 很好。", **options).sentences()) == [expected]


def test_the_vocabulary_is_sorted_as_gensim_sorts_it():
    models = pytest.importorskip("gensim.models")
    data = corpus_of("b a a c d d e f g g", "c e h", min_count=2)

    assert data.facts["words"] == models.Word2Vec(list(data.sentences()), min_count=2).wv.index_to_key
    assert data.vocabulary.counts == [2] * 5
    assert data.vocabulary.num_words == 13


def test_words_below_min_count_are_an_error_if_none_is_left():
    with pytest.raises(
        InputError, match=r"min_count = 3: 1 of 4 words occur so often; expected at least two words, so a "
    ):
        corpus_of("a a a b b c d", min_count=3).facts  # noqa: B018
    with pytest.raises(DataError, match="the corpus has no words"):
        corpus_of("!!", " ").facts  # noqa: B018


def test_no_file_is_read_to_find_a_word_after_restoring():
    state = corpus_of("b b a c").state()
    data = Corpus(lambda: pytest.fail("the corpus was read"), str)

    data.restore(state)

    assert data.encode("B - a")["words"].tolist() == [0, 2] + [0] * 14
    assert data.encode("B - a")["signs"].tolist() == [1, -1] + [0] * 14
    assert data.facts == {"words": ["b", "c", "a"]}


def test_the_words_of_an_item_are_no_answers():
    data = corpus_of("Rome Italy Paris")
    model, prediction = WordVectors(data.facts["words"], vector_size=2), torch.ones(2)

    assert data.present("rome + rome - italy", prediction, model)["nearest"] == ["paris"]
    with pytest.raises(
        InputError, match=r"'rome \+ italy \+ paris' has all words of the vocabulary, so that none is le"
    ):
        data.present("rome + italy + paris", prediction, model)


def test_cosines_are_numbers():
    data = corpus_of("a b")
    model = WordVectors(data.facts["words"], vector_size=2)
    model.vectors.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))

    answer = data.present(data.vocabulary.words[0], torch.tensor([1.0, 2.0]), model)

    assert answer["cosine"] == [0.1414]  # 1 / 50 ** 0.5


@pytest.mark.parametrize("item", ["a - A", "a + b - b - a"])
def test_an_expression_whose_sum_is_zero_is_refused(item):
    with pytest.raises(InputError, match=f"'{re.escape(item)}': the words cancel each other out, so that no vector is"):
        corpus_of("a b").encode(item)


def test_a_word_is_found_as_it_is_written_or_in_lower_case():
    data = corpus_of("Rome rome italy", lowercase=False)

    assert [data.vocabulary.words[data.id_of(word)] for word in ("Rome", "rome", "Italy")] == ["Rome", "rome", "italy"]
    assert data.id_of("Berlin") is None


def test_an_unknown_word_is_named_with_near_spellings():
    data = corpus_of("Rome rime romeo banana", lowercase=False)

    with pytest.raises(
        InputError,
        match=r'"Rme" is not among the 4 words .* at least 1 times .* Did you mean "rime" or "Rome" or "romeo"',
    ):
        data.encode("banana + Rme")


@pytest.mark.parametrize(
    ("item", "terms"),
    [
        ("word", [("word", 1)]),
        ("a - b + c", [("a", 1), ("b", -1), ("c", 1)]),
        (" − a  +\tb", [("a", -1), ("b", 1)]),
        ("well-known - c++", [("well-known", 1), ("c++", -1)]),
        ("蔡英文 - 臺灣", [("蔡英文", 1), ("臺灣", -1)]),
    ],
)
def test_expressions(item, terms):
    assert terms_of(item) == terms


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("", f"'': no word in it; {NAMES}"),
        ("+", f"no word in it; {NAMES}"),
        ("a +", f"no word after the last sign; {NAMES}"),
        ("a + - b", f"two signs in a row; {NAMES}"),
        ("new york", f"no sign before 'york'; {NAMES}. A phrase is one word: new_york"),
    ],
)
def test_what_is_no_expression_is_refused(item, message):
    with pytest.raises(InputError, match=message):
        terms_of(item)


def test_the_train_split_is_a_stream_of_ids_and_the_test_split_the_vocabulary():
    data = corpus_of("a b x", "b", "x b", min_count=2)

    train, test = data.split("train"), data.split("test")

    assert data.facts["words"] == ["b", "x"]
    assert [each["words"].tolist() for each in train] == [[0, 1], [0], [1, 0]]
    assert len(train) == 3
    assert torch.equal(test.columns["words"], torch.tensor([[0], [1]]))


def test_the_fingerprint_is_that_of_the_content(write):
    first = corpus(path=write("a a b b", "one.txt"))
    second = corpus(path=write("a a b b", "two.txt"))
    third = corpus(path=write("a a b c", "three.txt"))

    assert first.fingerprint() == second.fingerprint() != third.fingerprint()
