"""Chinese words from a segmenter: what is split, that nothing is lost, and what is said without its package."""

from __future__ import annotations

import sys

import pytest

from dlpipe.config.check import load_pipeline
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe_text.corpus_files import corpus
from dlpipe_text.labeled_files import labeled
from dlpipe_text.segmenters import segment_by
from dlpipe_text.text_units import segmented

TEXT = "我来到北京清华大学, it's OK。"


def pairs(run: str) -> list[str]:
    return [run[start : start + 2] for start in range(0, len(run), 2)]


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (True, ["我来", "到北", "京清", "华大", "学", ",", "it's", "OK", "。"]),
        (False, ["我来", "到北", "京清", "华大", "学", "it's", "OK"]),
    ],
)
def test_only_runs_of_chinese_are_segmented(marks, words):
    assert segmented(pairs, marks=marks)(TEXT) == words


def test_corpora_and_labeled_texts_have_the_words_of_jieba(write, tmp_path):
    pytest.importorskip("rjieba")
    table = tmp_path / "texts.csv"
    table.write_text(f'text,label\n"{TEXT}",a\n' + "".join(f"{n}好,{'ab'[n % 2]}\n" for n in range(20)), "utf-8")

    unlabeled = corpus(path=write(TEXT.encode()), segmenter="jieba", min_count=1)
    marked = corpus(path=write(TEXT.encode()), segmenter="jieba", min_count=1, punctuation=True)
    reviews = labeled(path=table, segmenter="jieba")

    words = ["我", "来到", "北京", "清华大学"]
    assert list(unlabeled.sentences()) == [[*words, "it's", "ok"]]
    assert list(marked.sentences()) == [[*words, ",", "it's", "ok", "。"]]
    assert reviews.units(TEXT) == [*words, ",", "it's", "ok", "。"]


@pytest.mark.parametrize("text", ["臺灣大學的圖書館", "ああテスト", "𠮷野家", "哈" * 5000])
def test_the_words_of_jieba_are_the_whole_text(text):
    pytest.importorskip("rjieba")

    assert "".join(segment_by("jieba")(text)) == text


def test_without_rjieba_the_message_says_how_to_install_it(monkeypatch, write):
    monkeypatch.setitem(sys.modules, "rjieba", None)

    with pytest.raises(
        InputError,
        match=r'segmenter = "jieba" needs the package rjieba, which cannot be imported \(.+\); install with: pip install '
        r"rjieba; or remove segmenter",
    ):
        corpus(path=write(TEXT.encode()), segmenter="jieba")


def test_a_segmenter_needs_words_as_units(tmp_path):
    file = tmp_path / "char.toml"
    file.write_text(
        'name = "n"\n[data]\nuse = "text.corpus"\npath = "a.txt"\nunit = "char"\nsegmenter = "jieba"\n'
        '[model]\nuse = "text.word_vectors"\n[trainer]\nuse = "text.skip_gram"\nepochs = 1\n'
    )

    with pytest.raises(PipelineError, match="segmenter"):
        load_pipeline(file, load_plugins())
