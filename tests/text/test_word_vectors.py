from __future__ import annotations

import sys
from importlib import metadata

import pytest
import torch
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.errors import PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe_text.word_vectors import WordVectors, nearest_words, ngram_hash, ngrams_of


def tiny(size=3) -> WordVectors:
    model = WordVectors(["a", "b", "c", "d", "Rome"], vector_size=size)
    model.vectors.copy_(torch.tensor([[1, 0, 0], [2, 1, 0], [0, 3, 0], [0, 0, 1], [1, 1, 1]])[:, :size])
    return model


def test_vectors_begin_within_one_over_their_size():
    vectors = WordVectors([str(number) for number in range(500)], vector_size=8).vectors

    assert vectors.abs().max() <= 1 / 8
    assert vectors.mean().abs() < 0.01
    assert vectors.min() < -0.12
    assert vectors.max() > 0.12


def test_an_expression_is_the_sum_of_vectors_of_length_one():
    model = tiny()

    result = model(torch.tensor([[2, 3, 0]]), torch.tensor([[1.0, -1.0, 0.0]]))

    assert_close(result, torch.tensor([[0.0, 1.0, -1.0]]))


def test_the_nearest_words_are_those_of_the_largest_cosine_without_the_excluded_ones():
    cosines, numbers = nearest_words(tiny(), torch.tensor([[5.0, 0, 0], [0, 0, 1]]), torch.tensor([[0], [3]]), 2)

    assert numbers[0].tolist() == [1, 4]
    assert numbers[1, 0] == 4
    assert_close(cosines[:, 0], torch.tensor([2 / 5**0.5, 1 / 3**0.5]))


def test_queries_in_blocks_have_the_same_neighbors(monkeypatch):
    queries, excluded = torch.randn(7, 3), torch.zeros(7, 1, dtype=torch.long)
    whole = nearest_words(tiny(), queries, excluded, 3)
    monkeypatch.setattr("dlpipe_text.word_vectors.BLOCK", 11)

    assert_close(nearest_words(tiny(), queries, excluded, 3), whole)


def test_a_small_vocabulary_has_fewer_neighbors():
    _, numbers = nearest_words(tiny(), torch.ones(1, 3), torch.tensor([[0]]), 10)

    assert sorted(numbers[0].tolist()) == [1, 2, 3, 4]
    assert nearest_words(tiny(), torch.ones(1, 3), torch.zeros(1, 7, dtype=torch.long), 10)[1].shape == (1, 0)


def test_vector_of_a_word_or_none():
    model = tiny()

    assert_close(model.vector_of("Rome"), torch.ones(3))
    assert_close(model.vector_of("C"), torch.tensor([0.0, 3.0, 0.0]))
    assert model.vector_of("rome") is None


@pytest.mark.parametrize("word", ["night", "蔡英文", "a", "naïve", "new_york"])
@pytest.mark.parametrize("span", [(3, 6), (1, 2), (1, 4)])
def test_n_grams_and_their_hashes_are_those_of_gensim(word, span):
    fasttext = pytest.importorskip("gensim.models.fasttext")

    ours = [ngram_hash(each) % 1000 for each in ngrams_of(word, *span)]

    assert sorted(ours) == sorted(fasttext.ft_ngram_hashes(word, *span, 1000))


def test_an_unknown_word_has_the_mean_of_its_n_grams():
    models = pytest.importorskip("gensim.models")
    theirs = models.FastText([["night", "day", "nights"] * 3], vector_size=4, bucket=50, min_count=1).wv
    ours = WordVectors(theirs.index_to_key, vector_size=4, subwords=True, buckets=50)
    ours.ngrams.copy_(torch.from_numpy(theirs.vectors_ngrams))

    assert_close(ours.vector_of("nightly"), torch.from_numpy(theirs["nightly"]))
    assert ours.vector_of("") is None


def test_the_n_grams_have_an_order():
    with pytest.raises(ValueError, match="max_ngram = 2 is below min_ngram = 3; expected at least as much"):
        WordVectors(["a"], subwords=True, max_ngram=2)


def test_without_gensim_the_message_names_it_and_how_to_install_it(monkeypatch, root):
    def distribution(name):
        if name == "gensim":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    installed = metadata.distribution
    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setitem(sys.modules, "gensim", None)
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    monkeypatch.delitem(sys.modules, "dlpipe_text.gensim_word2vec", raising=False)

    with pytest.raises(
        PipelineError, match=r'use = "text.gensim_word2vec" needs gensim; install with: pip install .+\[text\]'
    ):
        load_pipeline(root / "pipelines" / "word_vectors.toml", load_plugins())
