"""The vote of the most similar training examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dlpipe.baselines.classifier import Classifier, log
from dlpipe.baselines.scaled_features import Array, tensor
from dlpipe.errors import InputError
from dlpipe.fields import Positive

#: Candidates for the nearest neighbors that are compared exactly, besides twice as many as vote.
SPARE = 10


class NearestNeighbors(Classifier):
    """Let the nearest training examples, by Euclidean distance, vote for their classes.

    All training examples are part of the model. The results are those of scikit-learn's KNeighborsClassifier, except
    where several examples have the same distance.

    Args:
        num_classes: K.
        features: the column; needed if the data has several that could be meant.
        cardinalities: how many categories each column of a table has, number 0 included; from the data.
        standardize: whether the mean of each feature becomes 0 and its standard deviation 1.
        num_neighbors: how many vote.
        weights: all votes count the same, or each by the inverse of its distance.
    """

    examples: Tensor
    labels: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        features: str | None = None,
        cardinalities: Sequence[Positive] | None = None,
        standardize: bool = False,
        num_neighbors: Positive = 5,
        weights: Literal["uniform", "distance"] = "uniform",
    ) -> None:
        super().__init__(num_classes, features, standardize=standardize, cardinalities=cardinalities)
        self._num_neighbors, self._weights = num_neighbors, weights
        self.register_buffer("examples", torch.empty(0, 0))
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64))

    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        if self._num_neighbors > len(features):
            raise InputError(
                f"num_neighbors = {self._num_neighbors}: there are {len(features)} training examples; expected at most "
                "as many"
            )
        self.examples, self.labels = tensor(features), tensor(classes, torch.int64)

    def class_scores(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C)."""
        blocks = [self._votes(block) for block in features.split(256)]  # N distances for each at a time
        return log(torch.cat(blocks))

    def _votes(self, features: Tensor) -> Tensor:
        """Return the share of the votes for each class (B, C)."""
        near, distances = self._nearest(features)
        votes = F.one_hot(self.labels[near], len(self.classes)).float()  # (B, neighbors, C)
        if self._weights == "distance":
            inverse = 1 / distances.clamp_min(torch.finfo(torch.float32).tiny)
            inverse = inverse / inverse.amax(1, keepdim=True)  # sums of huge numbers would be infinite
            votes = votes * inverse.unsqueeze(2)
        totals = votes.sum(1)
        return totals / totals.sum(1, keepdim=True)

    def _nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the nearest examples (B, neighbors), and their distances.

        cdist computes |x|² - 2xy + |y|², which cancels for clusters that are tight and far from the origin. So it works
        around the mean and only chooses candidates, whose differences are then computed.
        """
        center = self.examples.mean(0)
        candidates = min(2 * self._num_neighbors + SPARE, len(self.examples))
        near = torch.cdist(features - center, self.examples - center).topk(candidates, largest=False).indices
        exact = (features.unsqueeze(1) - self.examples[near]).norm(dim=2)
        distances, order = exact.topk(self._num_neighbors, largest=False)
        return near.gather(1, order), distances
