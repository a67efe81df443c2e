"""Linear classifier of texts by their n-grams: naive Bayes, logistic regression, support vector machines.

What they differ in is how the weights are found: in closed form or by scikit-learn (`text.ngram_fit`), or by gradients
(`core.supervised`).
Axes: B texts, G n-grams of the longest, K classes.
"""

import torch
from torch import Tensor, nn

from dlpipe_text.word_features import PADDING


class NgramClassifier(nn.Module):
    """Score K classes by the sum of the weights of a text's n-grams.

    Args:
        num_ngrams: n-gram ids run from 0 (padding) and 1 (other) to num_ngrams - 1.
        num_classes: K.
        binary: count each n-gram of a text once, however often it occurs.
    """

    def __init__(self, num_ngrams: int, num_classes: int, *, binary: bool = True) -> None:
        super().__init__()
        if not num_ngrams:
            raise ValueError("the data counts no n-grams; set ngrams in its table, such as ngrams = 2")
        self.binary = binary
        self.weights = nn.EmbeddingBag(num_ngrams, num_classes, mode="sum", padding_idx=PADDING)
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(self.weights.weight.new_zeros(num_classes))

    def forward(self, ngrams: Tensor) -> Tensor:
        """Map n-grams (B, G) to logits (B, K)."""
        if self.binary:
            ngrams = ngrams.sort(1).values
            places = torch.arange(ngrams.size(1), device=ngrams.device)
            again = (ngrams == ngrams[:, (places - 1).clamp_min(0)]) & (places > 0)
            ngrams = ngrams.masked_fill(again, PADDING)
        logits: Tensor = self.weights(ngrams) + self.bias
        return logits
