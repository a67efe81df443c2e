from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe_text.labeled_text import LabeledText
from dlpipe_text.ngram_classifier import NgramClassifier
from dlpipe_text.ngram_fit import NgramFit, log_count_ratio
from dlpipe_text.reviews import reviews

sklearn_text = pytest.importorskip("sklearn.feature_extraction.text")
linear_model = pytest.importorskip("sklearn.linear_model")
naive_bayes = pytest.importorskip("sklearn.naive_bayes")

FEW = [("a a b", "x"), ("b c", "x"), ("a c c", "y")]


def data_of(texts, ngrams=1) -> LabeledText:
    return LabeledText({"train": texts}.__getitem__, ("train",), ngrams=ngrams)


def fitted(data, *, binary=True, **options) -> tuple[NgramClassifier, float]:
    model = NgramClassifier(data.facts["num_ngrams"], data.facts["num_classes"], binary=binary)
    metrics = next(NgramFit(model, data, 3, **options).steps())
    return model, float(metrics["loss"])


def logits_of(model, data, text) -> torch.Tensor:
    return model(data.encode(text)["ngrams"].unsqueeze(0))[0]


def test_naive_bayes_by_hand():
    data = data_of(FEW)

    model, _ = fitted(data, binary=False, smoothing=1.0)

    # x: a twice, b twice, c once, each plus one, of eight; y: a once, c twice, of six.
    expected = [math.log(2 / 3 * 3 / 8 * 3 / 8 * 2 / 8), math.log(1 / 3 * 2 / 6 * 2 / 6 * 3 / 6)]
    assert_close(logits_of(model, data, "a a c unseen"), torch.tensor(expected))


def test_an_n_gram_counts_once_if_binary():
    data = data_of(FEW)

    model, _ = fitted(data)

    assert_close(logits_of(model, data, "a a a"), logits_of(model, data, "a"))
    # x: a, b, b, c and one each, of seven; y: a, c and one each, of five.
    assert_close(logits_of(model, data, "a"), torch.tensor([2 / 3 * 2 / 7, 1 / 3 * 2 / 5]).log())


def some_reviews(ngrams):
    data = reviews(num_train=300, num_dev=40, num_test=40, ngrams=ngrams)
    texts, labels = zip(*data.texts("train"), strict=True)
    return data, texts, labels


@pytest.mark.parametrize("binary", [False, True])
def test_it_equals_the_naive_bayes_of_scikit_learn(binary):
    data, texts, labels = some_reviews(2)
    vectorizer = sklearn_text.CountVectorizer(analyzer=lambda text: data._ngrams_of(data.units(text)), binary=binary)
    theirs = naive_bayes.MultinomialNB(alpha=0.5).fit(vectorizer.fit_transform(texts), labels)

    model, _ = fitted(data, binary=binary, smoothing=0.5)

    unseen = [text for text, _ in data.texts("test")]
    with torch.no_grad():
        ours = torch.stack([logits_of(model, data, text) for text in unseen]).log_softmax(1)
    np.testing.assert_allclose(ours, theirs.predict_log_proba(vectorizer.transform(unseen)), rtol=1e-4, atol=1e-5)


def test_it_equals_the_logistic_regression_of_scikit_learn_and_tells_its_loss():
    data, texts, labels = some_reviews(2)
    vectorizer = sklearn_text.CountVectorizer(analyzer=lambda text: data._ngrams_of(data.units(text)), binary=True)
    theirs = linear_model.LogisticRegression(C=0.3, max_iter=10_000).fit(vectorizer.fit_transform(texts), labels)
    probabilities = theirs.predict_proba(vectorizer.transform(texts))

    model, loss = fitted(data, method="logistic_regression", inverse_regularization=0.3)

    with torch.no_grad():
        ours = torch.stack([logits_of(model, data, text) for text in texts]).softmax(1)
    np.testing.assert_allclose(ours, probabilities, atol=1e-4)
    assert loss == pytest.approx(
        -np.log(probabilities[range(300), [int(label == "positive") for label in labels]]).mean(), rel=1e-3
    )


def test_the_log_count_ratio_by_hand():
    fit = NgramFit(NgramClassifier(5, 2), data_of(FEW), 0)

    ratio = log_count_ratio(fit._counts, np.array([False, False, True]), 1.0)

    np.testing.assert_allclose(ratio, np.log([(2 / 5) / (2 / 7), (1 / 5) / (3 / 7), (2 / 5) / (2 / 7)]))


def test_nbsvm_without_the_machine_is_a_multiple_of_the_ratio_and_differs_with_it():
    data = data_of([("good film", "pos"), ("bad film", "neg"), ("good plot", "pos"), ("bad plot , good cast", "neg")])

    plain, _ = fitted(data, method="nbsvm", interpolation=0.0)
    mixed, _ = fitted(data, method="nbsvm", interpolation=1.0)

    ratio = log_count_ratio(NgramFit(plain, data, 0)._counts, np.array([True, False, True, False]), 1.0)
    scale = plain.weights.weight[2:, 1].detach().numpy() / ratio
    np.testing.assert_allclose(scale, scale[0], rtol=1e-5)
    assert not torch.allclose(plain.weights.weight, mixed.weights.weight)
    assert logits_of(mixed, data, "good").argmax() == 1


@pytest.mark.parametrize("method", ["naive_bayes", "nbsvm", "logistic_regression"])
def test_three_classes(method):
    texts = [
        ("red rose", "r"),
        ("green leaf", "g"),
        ("blue sky", "b"),
        ("red sun", "r"),
        ("green tree", "g"),
        ("blue sea", "b"),
    ]
    data = data_of(texts)

    model, _ = fitted(data, method=method)

    assert [int(logits_of(model, data, color).argmax()) for color in ("blue", "green", "red")] == [0, 1, 2]


def test_data_without_n_grams_and_other_models_are_refused():
    with pytest.raises(ValueError, match="the data counts no n-grams; set ngrams in its table, such as ngrams = 2"):
        NgramClassifier(0, 2)
    with pytest.raises(
        InputError, match=r"text\.ngram_fit got a model of type Linear; expected text\.ngram_classifier"
    ):
        NgramFit(nn.Linear(1, 1), data_of(FEW), 0)


SMALL = ["data.num_train=60", "data.num_dev=10", "data.num_test=10"]


def test_a_run_evaluates_and_predicts(root, tmp_path):
    registry = load_plugins()
    pipeline = load_pipeline(root / "pipelines" / "sentiment_naive_bayes.toml", registry, SMALL)

    folder = run(pipeline, registry, tmp_path)
    (answer,) = predict(open_run(folder.path), [("item", "the film is good")])

    assert "test/sentiment/accuracy" in json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert answer["label"] in ("negative", "positive")


def test_gradients_find_weights_too(root, tmp_path):
    registry = load_plugins()
    changes = [
        *SMALL,
        "data.language=en",
        "trainer={use='core.supervised', epochs=20, optimizer={use='adam', lr=0.05}}",
    ]

    folder = run(
        load_pipeline(root / "pipelines" / "sentiment_naive_bayes.toml", registry, changes), registry, tmp_path
    )

    losses = [json.loads(line).get("train/loss") for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < 0.5 * math.log(2)


def test_nbsvm_mixes_the_weights_of_the_machine_with_their_mean_size():
    svm = pytest.importorskip("sklearn.svm")
    data, _, labels = some_reviews(1)
    model, _ = fitted(data, method="nbsvm", interpolation=0.25, inverse_regularization=0.5)

    counts, positive = NgramFit(model, data, 3)._counts, np.array([label == "positive" for label in labels])
    ratio = log_count_ratio(counts, positive, 1.0)
    machine = svm.LinearSVC(C=0.5, random_state=3, max_iter=10_000).fit(counts.multiply(ratio).tocsr(), positive)
    weights = machine.coef_[0]
    assert weights.min() < 0  # so that their mean size is not their mean
    expected = (0.75 * np.abs(weights).mean() + 0.25 * weights) * ratio
    np.testing.assert_allclose(model.weights.weight[2:, 1].detach(), expected, rtol=1e-3, atol=1e-5)
    assert float(model.bias[1].detach()) == pytest.approx(machine.intercept_[0], rel=1e-3)
