"""A random forest, grown by scikit-learn.

Source: Breiman 2001, "Random Forests", https://doi.org/10.1023/A:1010933404324
Axes: B examples, F features, C classes, T trees; all nodes of all trees are in one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from dlpipe.baselines.classifier import Classifier, log
from dlpipe.baselines.scaled_features import Array, tensor
from dlpipe.fields import Positive


class RandomForest(Classifier):
    """Average the class probabilities of many decision trees, each grown on a random sample of the examples.

    Args:
        num_classes: K.
        features: the column; needed if the data has several that could be meant.
        cardinalities: how many categories each column of a table has, number 0 included; from the data.
        num_trees: T.
        max_depth: of a tree; without it, trees grow until each leaf is of one class.
        min_samples_leaf: minimum number of training examples in a leaf.
        max_features: how many features, drawn at random, a split may use: the square root of their number, or all.
    """

    left: Tensor
    right: Tensor
    feature: Tensor
    threshold: Tensor
    leaves: Tensor
    roots: Tensor
    depth: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        features: str | None = None,
        cardinalities: Sequence[Positive] | None = None,
        num_trees: Positive = 100,
        max_depth: Positive | None = None,
        min_samples_leaf: Positive = 1,
        max_features: Literal["sqrt", "all"] = "sqrt",
    ) -> None:
        super().__init__(num_classes, features, standardize=False, cardinalities=cardinalities)
        self._options = {
            "n_estimators": num_trees,
            "max_depth": max_depth,
            "min_samples_leaf": min_samples_leaf,
            "max_features": None if max_features == "all" else max_features,
        }
        for name in ("left", "right", "feature", "roots"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64))
        # Thresholds of scikit-learn are doubles, halfway between two features.
        self.register_buffer("threshold", torch.empty(0, dtype=torch.float64))
        self.register_buffer("leaves", torch.empty(0, 0))
        self.register_buffer("depth", torch.zeros((), dtype=torch.int64))

    def _fit(self, features: Array, classes: Array, seed: int) -> None:
        forest = RandomForestClassifier(**self._options, random_state=seed, n_jobs=torch.get_num_threads())
        trees = [tree.tree_ for tree in forest.fit(features, classes).estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        self.left = tensor(np.concatenate(_children(trees, roots, "children_left")), torch.int64)
        self.right = tensor(np.concatenate(_children(trees, roots, "children_right")), torch.int64)
        # A leaf has no feature; it leads to itself whatever it compares.
        self.feature = tensor(np.concatenate([tree.feature.clip(min=0) for tree in trees]), torch.int64)
        self.threshold = tensor(np.concatenate([tree.threshold for tree in trees]), torch.float64)
        values = np.concatenate([tree.value[:, 0] for tree in trees])
        self.leaves = tensor(values / values.sum(1, keepdims=True))
        self.roots = tensor(roots, torch.int64)
        self.depth = torch.tensor(max(tree.max_depth for tree in trees))

    def class_scores(self, features: Tensor) -> Tensor:
        """Map features (B, F) to log-probabilities (B, C)."""
        blocks = []
        for block in features.split(256):
            node = self.roots.expand(len(block), -1)  # (B, T)
            for _ in range(int(self.depth)):
                goes_left = block.gather(1, self.feature[node]) <= self.threshold[node]
                node = torch.where(goes_left, self.left[node], self.right[node])
            blocks.append(self.leaves[node].mean(1))
        return log(torch.cat(blocks))


def _children(trees: list[Array], roots: Array, name: str) -> list[Array]:
    """Return the children of each tree's nodes by their place in the list of all nodes; leaves lead to themselves."""
    found = []
    for tree, root in zip(trees, roots, strict=True):
        children = getattr(tree, name)
        found.append(root + np.where(children < 0, np.arange(len(children)), children))
    return found
