from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError, PipelineError
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_resume
from dlpipe.training import Budget
from dlpipe_text.analogy_corpus import analogy_corpus
from dlpipe_text.corpus import Corpus
from dlpipe_text.word_vectors import WordVectors

gensim_models = pytest.importorskip("gensim.models")

from dlpipe_text.gensim_word2vec import GensimWord2Vec  # noqa: E402  imports gensim

pytestmark = pytest.mark.usefixtures("without_report")

MODES = list(itertools.product(("skip_gram", "cbow"), ("negative_sampling", "hierarchical_softmax"), (False, True)))


def trained(corpus, epochs=2, subwords=False, seed=7, steps=None, **options):
    model = WordVectors(
        corpus.facts["words"], vector_size=12, subwords=subwords, **({"buckets": 900} if subwords else {})
    )
    trainer = GensimWord2Vec(
        model, corpus, seed, Budget(epochs=epochs), **{"job_words": 700, "loss_every": 1, **options}
    )
    metrics = list(itertools.islice(trainer.steps(), steps or epochs * trainer.steps_per_epoch))
    trainer.close()
    return trainer, metrics


def by_gensim(corpus, subwords=False, **options):
    common = {"vector_size": 12, "epochs": 2, "seed": 7, "workers": 1, "batch_words": 700}
    if subwords:
        return gensim_models.FastText(list(corpus.sentences()), bucket=900, **common, **options).wv
    return gensim_models.Word2Vec(list(corpus.sentences()), **common, **options).wv


@pytest.mark.parametrize(("architecture", "loss", "subwords"), MODES)
def test_the_vectors_are_those_of_gensim_bit_for_bit(architecture, loss, subwords):
    corpus = analogy_corpus(num_sentences=700, language="en")

    trainer, _ = trained(corpus, architecture=architecture, loss=loss, subwords=subwords)
    hierarchical = loss == "hierarchical_softmax"
    expected = by_gensim(
        corpus, subwords, sg=int(architecture == "skip_gram"), hs=int(hierarchical), negative=0 if hierarchical else 5
    )

    assert corpus.facts["words"] == expected.index_to_key
    assert np.array_equal(trainer.model.vectors.numpy(), expected.vectors)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"window": 2}, {"window": 2}),
        ({"negative": 3}, {"negative": 3}),
        ({"noise_exponent": 0.5}, {"ns_exponent": 0.5}),
        ({"sample": 1e-2}, {"sample": 1e-2}),
        ({"sample": 0.0}, {"sample": 0}),
        ({"learning_rate": 0.05, "min_learning_rate": 0.01}, {"alpha": 0.05, "min_alpha": 0.01}),
        ({"architecture": "cbow", "cbow_mean": False}, {"sg": 0, "cbow_mean": 0}),
        ({"job_words": 5}, {"batch_words": 5}),  # below the length of the first sentence
    ],
)
def test_each_option_is_that_of_gensim(ours, theirs):
    corpus = analogy_corpus(num_sentences=300, language="en", min_count=2)

    trainer, _ = trained(corpus, **ours)

    common = {"vector_size": 12, "epochs": 2, "seed": 7, "workers": 1, "batch_words": 700, "sg": 1, "min_count": 2}
    expected = gensim_models.Word2Vec(list(corpus.sentences()), **{**common, **theirs}).wv
    assert np.array_equal(trainer.model.vectors.numpy(), expected.vectors)


def test_the_loss_is_that_of_every_nth_job_and_changes_no_vector():
    corpus = analogy_corpus(num_sentences=700, language="en")

    trainer, every = trained(corpus)
    sparse, third = trained(corpus, loss_every=3)

    assert len(every) > 6
    assert third == [metrics if job % 3 == 0 else {} for job, metrics in enumerate(every)]
    assert np.array_equal(sparse.model.vectors.numpy(), trainer.model.vectors.numpy())


def test_two_workers_learn_too_and_say_that_no_two_runs_are_the_same():
    corpus = analogy_corpus(num_sentences=700, language="en")

    trainer, metrics = trained(corpus, workers=2, job_words=300)

    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert "no two runs are the same; workers = 1 is reproducible" in trainer.caveats[0]


def test_no_job_after_the_last_step_is_begun():
    corpus = analogy_corpus(num_sentences=300, language="en")

    trainer, metrics = trained(corpus, workers=2)

    assert trainer.state_dict()["started"] == len(metrics)


def test_what_runs_while_the_state_is_saved_is_a_step_later():
    corpus = analogy_corpus(num_sentences=700, language="en")
    _, metrics = trained(corpus, workers=2, steps=9)
    trainer, first = trained(corpus, workers=2, steps=3)
    state = trainer.state_dict()

    assert state["started"] == 3 + len(state["waiting"]) > 3
    model = WordVectors(corpus.facts["words"], vector_size=12)
    again = GensimWord2Vec(model, corpus, 7, Budget(epochs=2), job_words=700, workers=2, loss_every=1)
    model.load_state_dict(trainer.model.state_dict())
    again.load_state_dict(state)
    rest = list(itertools.islice(again.steps(), len(metrics) - len(first)))
    again.close()

    assert len(rest) == 6
    assert rest[0]["loss"] == pytest.approx(state["waiting"][0, 1] / state["waiting"][0, 0])


@pytest.mark.parametrize("options", [[], ["model.subwords=true", "model.buckets=500"]])
def test_a_resumed_run_equals_an_undisturbed_one(tmp_path, root, options):
    check_resume(
        root / "pipelines" / "word_vectors.toml",
        tmp_path,
        assignments=[
            "data.num_sentences=800",
            "trainer.epochs=2",
            "trainer.job_words=700",
            "trainer.log_every=3",
            *options,
        ],
    )


def test_a_run_answers_expressions_and_words(tmp_path, root):
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "word_vectors.toml", registry, ["data.num_sentences=20_000"])
    trained = open_run(run(pipeline, registry, tmp_path).path)

    [capital, president] = predict(trained, [("", "Rome - Italy + Germany"), ("", "蔡英文")])

    assert capital["nearest"][0] == "Berlin"
    assert president["nearest"][0] == "馬英九"
    [misspelled] = predict(trained, [("item 1", "Romme")])
    assert re.match(r'item 1: "Romme" is not among the [\d,]+ words .* Did you mean "Rome"', str(misspelled))


def test_it_needs_to_know_the_end():
    corpus = analogy_corpus(num_sentences=300, language="en")
    with pytest.raises(InputError, match=r"the end must be known; give epochs or steps"):
        GensimWord2Vec(WordVectors(corpus.facts["words"]), corpus, 1, Budget(minutes=1))


@pytest.mark.parametrize("option", ['start={run="runs/vectors"}', 'freeze=["outputs"]'])
def test_it_draws_the_first_weights_itself_so_that_start_and_freeze_are_refused(root, option):
    message = rf'\[model\] {option.split("=")[0]} has no effect with \[trainer\] use = "text.gensim_word2vec"'
    with pytest.raises(PipelineError, match=message):
        load_pipeline(root / "pipelines" / "word_vectors.toml", load_plugins(), [f"model.{option}"])


@pytest.mark.parametrize("trainer", ["text.gensim_word2vec", "text.skip_gram"])
def test_sample_is_a_share(root, trainer):
    """For gensim, a number from 1 on is one of occurrences."""
    with pytest.raises(PipelineError, match=r"\[trainer\] sample = 1.0: expected a number of at least 0 and below 1"):
        load_pipeline(
            root / "pipelines" / "word_vectors.toml",
            load_plugins(),
            [f"trainer={{use='{trainer}', epochs=1, sample=1.0}}"],
        )


def test_other_models_and_data_are_refused():
    with pytest.raises(InputError, match=r"a model of type Linear and data of type Corpus; expected text.word_vectors"):
        GensimWord2Vec(torch.nn.Linear(2, 3), Corpus(lambda: iter(["a b"]), str), 1, Budget(epochs=1))


def test_the_rates_are_in_order():
    corpus = analogy_corpus(num_sentences=300, language="en")
    model = WordVectors(corpus.facts["words"])
    with pytest.raises(InputError, match=r"min_learning_rate = 0.1: expected at most learning_rate = 0.025"):
        GensimWord2Vec(model, corpus, 1, Budget(epochs=1), min_learning_rate=0.1)
