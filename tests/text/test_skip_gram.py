from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.errors import InputError
from dlpipe.testing import check_resume
from dlpipe.training import Budget
from dlpipe_text.analogy_corpus import analogy_corpus
from dlpipe_text.corpus import Corpus
from dlpipe_text.skip_gram import SkipGram, encoded, keeping
from dlpipe_text.word_vectors import WordVectors

CPU = Compute(torch.device("cpu"))


def trainer_of(documents, epochs=2, **options) -> SkipGram:
    corpus = Corpus(lambda: iter(documents), str, min_count=1)
    model = WordVectors(corpus.facts["words"], vector_size=5)
    return SkipGram(model, corpus, CPU, 3, Budget(epochs=epochs), **{"sample": 0.0, **options})


def test_pairs_stay_within_the_window_and_the_sentence():
    trainer = trainer_of(["a b c d", "e f"], window=2, batch_size=6)
    words = trainer.model.words

    seen = set()
    for step in range(1, 60):
        trainer._step = step
        center, context = trainer._pairs(trainer._generator("step", trainer._step))
        seen |= {words[first] + words[second] for first, second in zip(center.tolist(), context.tolist(), strict=True)}

    assert seen == {"ab", "ac", "ba", "bc", "bd", "ca", "cb", "cd", "db", "dc", "ef", "fe"}


def test_every_word_is_a_center_once_in_an_epoch():
    trainer = trainer_of(["a b c d e f g"], batch_size=3, window=1)

    centers = []
    for step in range(1, trainer.steps_per_epoch + 1):
        trainer._step = step
        center, _ = trainer._pairs(trainer._generator("step", trainer._step))
        centers += center.unique().tolist()

    assert trainer.steps_per_epoch == 3
    assert sorted(centers) == list(range(7))


def test_the_gradients_are_those_of_autograd():
    trainer = trainer_of(["a b c d e f g a b a"], negative=2)
    model = trainer.model
    nn.init.normal_(model.outputs)
    vectors, outputs = model.vectors.clone().requires_grad_(), model.outputs.clone().requires_grad_()
    center, context = torch.tensor([0, 1, 0]), torch.tensor([2, 0, 3])

    loss = trainer._update(center, context, torch.Generator().manual_seed(1))

    drawn = torch.rand(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * trainer._noise[-1]
    noise = torch.searchsorted(trainer._noise, drawn, right=True)
    right = F.logsigmoid((vectors[center] * outputs[context]).sum(1))
    wrong = F.logsigmoid(-torch.einsum("pe,pke->pk", vectors[center], outputs[noise])) * (noise != context.unsqueeze(1))
    expected = -(right + wrong.sum(1))
    expected.sum().backward()
    assert_close(loss, expected.mean().detach())
    assert_close(model.vectors.grad.to_dense(), vectors.grad)
    assert_close(model.outputs.grad.to_dense(), outputs.grad)


def test_random_words_follow_the_frequency_to_a_power():
    trainer = trainer_of(["a a a a a a a a b"], noise_exponent=1.0)

    drawn = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * trainer._noise[-1]
    share = (torch.searchsorted(trainer._noise, drawn, right=True) == 0).double().mean()

    assert share == pytest.approx(8 / 9, abs=0.01)


def test_frequent_words_are_left_out_as_in_gensim():
    models = pytest.importorskip("gensim.models")
    corpus = analogy_corpus(num_sentences=500, language="en")
    theirs = models.Word2Vec(sample=1e-3)
    theirs.build_vocab(list(corpus.sentences()))

    ours = keeping(torch.tensor(corpus.vocabulary.counts, dtype=torch.float64), 1e-3).clamp(max=1)

    assert_close(ours, torch.tensor(theirs.wv.expandos["sample_int"] / (2**32 - 1)), atol=1e-6, rtol=0)
    assert (keeping(torch.tensor([3.0, 1.0]), 0.0) == 1).all()


def test_the_corpus_as_numbers():
    corpus = Corpus(lambda: iter(["a b x", "c", "x a"]), str, min_count=2)

    words, sentences = encoded(corpus)

    assert corpus.facts["words"] == ["x", "a"]
    assert words.tolist() == [1, 0, 0, 1]
    assert sentences.tolist() == [0, 0, 2, 2]


def test_it_learns_which_words_are_together():
    trainer = trainer_of(["a b", "c d"] * 50, epochs=20, batch_size=20, negative=3)

    losses = [float(metrics["loss"]) for metrics in itertools.islice(trainer.steps(), 200)]

    vectors, outputs = trainer.model.vectors, trainer.model.outputs
    number = {word: place for place, word in enumerate(trainer.model.words)}
    scores = vectors @ outputs.T
    assert losses[-1] < losses[0]
    assert scores[number["a"], number["b"]] > scores[number["a"], number["d"]]
    assert trainer.log_values()["lr"] == pytest.approx(2e-2 * 0.01)


def test_words_that_stand_alone_have_no_pairs():
    trainer = trainer_of(["a", "b", "a"])

    assert next(trainer.steps())["loss"] == 0


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path, root):
    check_resume(
        root / "pipelines" / "word_vectors.toml",
        tmp_path,
        assignments=[
            "data.num_sentences=300",
            "data.min_count=1",
            "trainer={use='text.skip_gram',epochs=3,batch_size=800,log_every=1}",
        ],
        stops=(2, 5),
    )


def test_what_it_cannot_use_is_refused():
    corpus = Corpus(lambda: iter(["a b"]), str, min_count=1)
    words = corpus.facts["words"]

    with pytest.raises(InputError, match="a model of type Linear and data of type Corpus; expected text.word_vectors"):
        SkipGram(nn.Linear(2, 3), corpus, CPU, 1, Budget(epochs=1))
    with pytest.raises(InputError, match="learns no vectors of letter n-grams; set subwords = false"):
        SkipGram(WordVectors(words, subwords=True, buckets=3), corpus, CPU, 1, Budget(epochs=1))
    with pytest.raises(InputError, match="the end must be known; give epochs or steps"):
        SkipGram(WordVectors(words), corpus, CPU, 1, Budget(minutes=1))
