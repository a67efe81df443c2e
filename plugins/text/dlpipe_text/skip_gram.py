"""Learn word vectors by skip-gram with negative sampling in torch: many words at once, so that a GPU has work.

Source: Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality", sections
2.2 and 2.3, https://arxiv.org/abs/1310.4546
Departs from it: the gradients of a batch are summed before a step of Adam, which does not depend on how often a word
occurs in the batch; with plain steps the vectors of frequent words would overshoot.
Axes: N words of the corpus, V words of the vocabulary, P pairs of words, K random words for each, E numbers of a
vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlpipe.compute import Compute, derived_seed
from dlpipe.errors import InputError
from dlpipe.fields import OpenFraction, Positive, PositiveFloat
from dlpipe.protocols import Data
from dlpipe.training import Budget
from dlpipe_text.corpus import Corpus, Sentences
from dlpipe_text.word_vectors import WordVectors


class SkipGram:
    """Fill the tables of text.word_vectors by skip-gram with negative sampling, on any device.

    A step takes ``batch_size`` words of the corpus in random order and pairs each with the words around it. The ids of
    the words are kept in memory, four bytes each. The learning rate falls linearly to a hundredth.

    Args:
        batch_size: words of the corpus per step.
        window: words on each side, at most; the actual number is drawn again for each word.
        negative: K, random words for each pair.
        noise_exponent: random words are drawn by their frequency to this power.
        sample: words with a larger share of the corpus than this are left out at random; 0 leaves out none.
        learning_rate: at the start.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        budget: Budget = Budget(),  # noqa: B008  frozen
        *,
        batch_size: Positive = 1024,
        window: Positive = 5,
        negative: Positive = 5,
        noise_exponent: float = 0.75,
        sample: OpenFraction = 1e-3,
        learning_rate: PositiveFloat = 2e-2,
    ) -> None:
        if not isinstance(model, WordVectors) or not isinstance(data, Corpus):
            raise InputError(
                f"text.skip_gram got a model of type {type(model).__name__} and data of type {type(data).__name__}; "
                "expected text.word_vectors and a corpus such as text.corpus"
            )
        if model.subwords:
            raise InputError(
                "text.skip_gram learns no vectors of letter n-grams; set subwords = false in the table of the model, "
                "or use text.gensim_word2vec"
            )
        self.model = model
        self._words, self._sentences = (part.to(compute.device) for part in encoded(data))
        counts = torch.tensor(data.vocabulary.counts, dtype=torch.float64)
        # float64: the sum of many words in float32 would lose the rare ones.
        self._noise = (counts**noise_exponent).cumsum(0).to(compute.device)
        self._kept = keeping(counts, sample).float().to(compute.device)
        self._device, self._seed = compute.device, seed
        self._batch_size, self._window, self._negative = batch_size, window, negative
        self.steps_per_epoch = math.ceil(len(self._words) / batch_size)
        total = budget.total_steps(self.steps_per_epoch)
        if total is None:
            raise InputError("the learning rate falls until the end, so the end must be known; give epochs or steps")
        self._total, self._learning_rate = total, learning_rate
        self._optimizer = torch.optim.SparseAdam([model.vectors, model.outputs], lr=learning_rate)
        self._step = 0
        self._epoch: tuple[int, Tensor, Tensor, Tensor] | None = None

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update the vectors of the words of a batch and yield ``loss``, the mean over pairs."""
        while True:
            self._step += 1
            generator = self._generator("step", self._step)
            center, context = self._pairs(generator)
            self._optimizer.param_groups[0]["lr"] = self._rate()
            yield {"loss": self._update(center, context, generator)}

    def log_values(self) -> dict[str, float]:
        """Return the learning rate."""
        return {"lr": self._rate()}

    def on_score(self, score: float, goal: Literal["max", "min"]) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return the step, which decides what is drawn, and the state of Adam."""
        return {"step": self._step, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._step = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])

    def _rate(self) -> float:
        return self._learning_rate * max(0.01, 1 - self._step / self._total)

    def _generator(self, what: str, number: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(derived_seed(self._seed, "skip-gram", what, number))

    def _stream(self, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return words (N,) without those that are left out in an epoch, their sentences (N,), and an order (N,)."""
        if self._epoch is None or self._epoch[0] != epoch:
            generator = self._generator("epoch", epoch)
            drawn = torch.rand(len(self._words), generator=generator, device=self._device)
            kept = drawn < self._kept[self._words]
            words, sentences = self._words[kept], self._sentences[kept]
            order = torch.randperm(len(words), generator=generator, device=self._device)
            self._epoch = epoch, words, sentences, order
        return self._epoch[1:]

    def _pairs(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the words of a step and the words around them (P,), a pair each."""
        epoch, number = divmod(self._step - 1, self.steps_per_epoch)
        words, sentences, order = self._stream(epoch)
        places = order.tensor_split(self.steps_per_epoch)[number]
        reach = torch.randint(1, self._window + 1, places.shape, generator=generator, device=self._device)
        offsets = torch.arange(-self._window, self._window + 1, device=self._device)
        around = places.unsqueeze(1) + offsets  # (B, 2 window + 1)
        inside = around.clamp(0, len(words) - 1)
        valid = (offsets != 0) & (offsets.abs() <= reach.unsqueeze(1)) & (around == inside)
        valid &= sentences[inside] == sentences[places].unsqueeze(1)
        rows, columns = valid.nonzero(as_tuple=True)
        return words[places[rows]].long(), words[inside[rows, columns]].long()

    def _update(self, center: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        """Take a step on pairs (P,), and return the mean loss; without pairs it is 0."""
        if not len(center):
            return torch.zeros((), device=self._device)
        vectors, outputs = self.model.vectors, self.model.outputs
        shape = (len(center), self._negative)
        # The last word has all of the rest, so a number that rounding puts beyond the end belongs to it.
        drawn = torch.rand(shape, generator=generator, device=self._device, dtype=torch.float64) * self._noise[-1]
        noise = torch.searchsorted(self._noise, drawn, right=True).clamp_(max=len(self._noise) - 1)
        words = torch.cat([context.unsqueeze(1), noise], dim=1)  # (P, 1 + K)
        signs = torch.ones(words.shape, device=self._device)
        signs[:, 1:] = -1
        # As in word2vec, a random word that is the right one does not count.
        weights = torch.ones_like(signs)
        weights[:, 1:] = (noise != context.unsqueeze(1)).float()
        inputs, targets = vectors[center], outputs[words]  # (P, E), (P, 1 + K, E)
        scores = signs * torch.einsum("pe,pke->pk", inputs, targets)
        slopes = -signs * weights * torch.sigmoid(-scores)  # of the loss by the product
        gradient = torch.einsum("pk,pke->pe", slopes, targets)
        of_outputs = (slopes.unsqueeze(2) * inputs.unsqueeze(1)).flatten(0, 1)
        vectors.grad = torch.sparse_coo_tensor(center.unsqueeze(0), gradient, vectors.shape, check_invariants=False)
        outputs.grad = torch.sparse_coo_tensor(words.view(1, -1), of_outputs, outputs.shape, check_invariants=False)
        self._optimizer.step()
        return -(weights * F.logsigmoid(scores)).sum(1).mean()


def encoded(corpus: Corpus) -> tuple[Tensor, Tensor]:
    """Return the words of the vocabulary in the corpus (N,), one after the other, and the sentence of each (N,)."""
    words, lengths = [], []
    for sentence in Sentences(corpus):
        words.append(sentence["words"].int())
        lengths.append(len(sentence["words"]))
    numbers = torch.arange(len(lengths), dtype=torch.int32)
    return torch.cat(words), numbers.repeat_interleave(torch.tensor(lengths))


def keeping(counts: Tensor, sample: float) -> Tensor:
    """Return the probability (V,) with which an occurrence of a word is kept, as in word2vec.c and gensim."""
    if not sample:
        return torch.ones_like(counts)
    threshold = sample * counts.sum()
    return ((counts / threshold).sqrt() + 1) * (threshold / counts)
