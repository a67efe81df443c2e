"""Fit a linear classifier of n-grams at once: naive Bayes, NBSVM, logistic regression.

Source: Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification",
https://aclanthology.org/P12-2018, sections 2.1 (naive Bayes) and 2.3 (NBSVM)
Departs from it: several classes, each against the others.
Axes: N texts, M n-grams, K classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.data import Columns, Ragged
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, OnlyWith, PositiveFloat
from dlpipe.protocols import Data
from dlpipe.training import OneStep
from dlpipe_text.ngram_classifier import NgramClassifier
from dlpipe_text.vocabulary import RESERVED

Array = NDArray[np.float64]
Method = Literal["naive_bayes", "nbsvm", "logistic_regression"]
#: Of the solvers of scikit-learn; the defaults (100, 1000) are sometimes too few.
MAX_ITERATIONS = 10_000


class NgramFit(OneStep):
    """Find the weights of text.ngram_classifier in one step.

    Naive Bayes and logistic regression give probabilities. The logits of NBSVM are distances from the separating plane,
    and the probabilities made of them are not calibrated.

    Args:
        method: multinomial naive Bayes; a linear support vector machine on n-grams that are weighted by the log-count
            ratios of naive Bayes (NBSVM); or logistic regression.
        smoothing: added to the count of each n-gram in each class.
        inverse_regularization: C of scikit-learn; the smaller, the smaller the weights.
        interpolation: share of the support vector machine's weights; the rest is their mean size, as in naive Bayes.
    """

    model: NgramClassifier

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        seed: int,
        *,
        method: Method = "naive_bayes",
        smoothing: Annotated[PositiveFloat, OnlyWith(method=("naive_bayes", "nbsvm"))] = 1.0,
        inverse_regularization: Annotated[PositiveFloat, OnlyWith(method=("nbsvm", "logistic_regression"))] = 1.0,
        interpolation: Annotated[Fraction, OnlyWith(method="nbsvm")] = 0.25,
    ) -> None:
        if not isinstance(model, NgramClassifier):
            raise InputError(
                f"text.ngram_fit got a model of type {type(model).__name__}; expected text.ngram_classifier"
            )
        super().__init__(model)
        self._counts, self._targets = _counted(data.split("train"), model)
        self._method, self._smoothing, self._seed = method, smoothing, seed
        self._inverse_regularization, self._interpolation = inverse_regularization, interpolation

    def step(self) -> dict[str, Tensor]:
        """Set the weights, and return ``loss``, the mean cross-entropy of the training texts."""
        weights, bias = self._fit()
        with torch.no_grad():
            self.model.weights.weight[: len(RESERVED)] = 0
            self.model.weights.weight[len(RESERVED) :] = torch.from_numpy(weights)
            self.model.bias.copy_(torch.from_numpy(bias))
        logits = torch.from_numpy(self._counts @ weights + bias)
        return {"loss": F.cross_entropy(logits, torch.from_numpy(self._targets))}

    def _fit(self) -> tuple[Array, Array]:
        """Return weights (M, K) and bias (K,)."""
        num_classes = len(self.model.bias)
        if self._method == "naive_bayes":
            return naive_bayes(self._counts, self._targets, num_classes, self._smoothing)
        if self._method == "logistic_regression":
            found = LogisticRegression(C=self._inverse_regularization, max_iter=MAX_ITERATIONS)
            found.fit(self._counts, self._targets)
            return _for_both(found.coef_.T, found.intercept_)
        # Of two classes, the second against the first is enough.
        classes = range(num_classes) if num_classes > 2 else [1]
        columns = [self._nbsvm(self._targets == number) for number in classes]
        return _for_both(np.stack([w for w, _ in columns], axis=1), np.array([b for _, b in columns]))

    def _nbsvm(self, positive: NDArray[np.bool_]) -> tuple[Array, float]:
        """Return weights (M,) and bias of a class, whose texts (N,) are marked, against all others."""
        ratio = log_count_ratio(self._counts, positive, self._smoothing)
        machine = LinearSVC(C=self._inverse_regularization, random_state=self._seed % 2**32, max_iter=MAX_ITERATIONS)
        machine.fit(self._counts.multiply(ratio).tocsr(), positive)
        weights = machine.coef_[0]
        mixed = (1 - self._interpolation) * np.abs(weights).mean() + self._interpolation * weights
        return mixed * ratio, float(machine.intercept_[0])


def naive_bayes(
    counts: csr_array, targets: NDArray[np.int64], num_classes: int, smoothing: float
) -> tuple[Array, Array]:
    """Return the log-probabilities of n-grams in each class (M, K), and those of the classes (K,)."""
    of_class = np.eye(num_classes)[targets]  # (N, K)
    totals = counts.T @ of_class + smoothing  # (M, K)
    return np.log(totals / totals.sum(0)), np.log(of_class.mean(0))


def log_count_ratio(counts: csr_array, positive: NDArray[np.bool_], smoothing: float) -> Array:
    """Return ``log (p / |p|) / (q / |q|)`` (M,): p and q are the smoothed counts in marked texts and in all others."""
    weights, _ = naive_bayes(counts, positive.astype(np.int64), 2, smoothing)
    ratio: Array = weights[:, 1] - weights[:, 0]
    return ratio


def _counted(split: Any, model: NgramClassifier) -> tuple[csr_array, NDArray[np.int64]]:
    """Return the counts of the n-grams (N, M), without "other", and the targets (N,)."""
    assert isinstance(split, Columns)  # the model asks for the facts of text.labeled and text.reviews
    ngrams, targets = split.columns["ngrams"], split.columns["targets"]
    assert isinstance(ngrams, Ragged)
    assert isinstance(targets, Tensor)
    # The solver of scikit-learn's LinearSVC takes 32-bit indices only.
    ids = ngrams.values[:-1].cpu().numpy().astype(np.int32)
    starts = np.concatenate([[0], ngrams.lengths.cumsum(0).numpy()]).astype(np.int32)
    counts = csr_array((np.ones(len(ids)), ids, starts), shape=(len(ngrams), model.weights.num_embeddings))
    counts.sum_duplicates()
    if model.binary:
        counts.data[:] = 1
    return counts[:, len(RESERVED) :], targets.cpu().numpy()


def _for_both(weights: Array, bias: Array) -> tuple[Array, Array]:
    """Return weights (M, K) and bias (K,); a single column is that of the second class, against zeros for the first."""
    if len(bias) > 1:
        return weights, bias
    return np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
