"""Linear-chain conditional random field: scores whole label sequences instead of single labels.

Source: Lafferty et al. 2001, "Conditional Random Fields: Probabilistic Models for
Segmenting and Labeling Sequence Data"; on top of a recurrent network as in Huang et al.
2015, "Bidirectional LSTM-CRF Models for Sequence Tagging", https://arxiv.org/abs/1508.01991
Departs from it: the first and the last label have separate scores; labels may be unknown, as in Tsuboi et al. 2008,
"Training Conditional Random Fields Using Incomplete Annotations", https://aclanthology.org/C08-1113
Axes: B sentences, T tokens of the longest, K labels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dlpipe.data import IGNORE_INDEX
from dlpipe_text.pooling import mask_of


class LinearChainCRF(nn.Module):
    """Assign probabilities to label sequences and find the most probable one.

    The score of a sequence is the sum of the logits of its labels, a transition score
    for each pair of neighbors, and one score each for the first and the last label.

    Args:
        num_labels: K.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        # All zero: at the start every label is scored independently, as by a softmax.
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))  # from row to column
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))

    def log_likelihood(self, logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K), targets (B, T), lengths (B,) to log p(targets | logits) (B,)."""
        return self.score(logits, targets, lengths) - self.log_partition(logits, lengths)

    def marginal_log_likelihood(self, logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K), targets (B, T), lengths (B,) to log p(targets | logits) (B,), where -100 is any label.

        It takes twice as long as `log_likelihood`, which needs every label.
        """
        labels = torch.arange(logits.size(2), device=logits.device)
        other = (targets != IGNORE_INDEX).unsqueeze(2) & (labels != targets.unsqueeze(2))  # (B, T, K)
        possible = self.log_partition(logits.masked_fill(other, -torch.inf), lengths)
        return possible - self.log_partition(logits, lengths)

    def score(self, logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K), targets (B, T), lengths (B,) to unnormalized log-scores (B,) of the targets."""
        mask = mask_of(lengths, targets)  # (B, T)
        labels = targets.masked_fill(~mask, 0)  # since the padding, -100, is not an index
        emitted = logits.gather(2, labels.unsqueeze(2)).squeeze(2) * mask  # (B, T)
        moved = self.transitions[labels[:, :-1], labels[:, 1:]] * mask[:, 1:]  # (B, T - 1)
        ends = self.start[labels[:, 0]] + self.end[at_end(labels, lengths)]  # (B,)
        return emitted.sum(dim=1) + moved.sum(dim=1) + ends

    def log_partition(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K) to log Z (B,), the log-sum over all label sequences (forward algorithm)."""
        return (at_end(self._forward_sums(logits), lengths) + self.end).logsumexp(dim=1)

    def marginals(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K) to the probability of each label at each token (B, T, K), over all label sequences.

        The forward-backward algorithm (Rabiner 1989, section III A, https://doi.org/10.1109/5.18626). The values of
        the padding are meaningless.
        """
        last = (lengths.to(logits.device, non_blocking=True) - 1).unsqueeze(1)  # (B, 1)
        backward = [self.end.expand(len(logits), -1)]  # (B, K) each: sum over the continuations of a label
        moved = self._moves(self.transitions.T)
        for t in range(logits.size(1) - 1, 0, -1):
            continued = moved(backward[-1] + logits[:, t])
            backward.append(torch.where(t <= last, continued, self.end))
        scores = self._forward_sums(logits) + torch.stack(backward[::-1], dim=1)
        return scores.softmax(dim=2)

    def _forward_sums(self, logits: Tensor) -> Tensor:
        """Map logits (B, T, K) to the log-sums (B, T, K) over the paths that end in a label."""
        alphas = [self.start + logits[:, 0]]
        moved = self._moves(self.transitions)
        for t in range(1, logits.size(1)):
            alphas.append(moved(alphas[-1]) + logits[:, t])
        return torch.stack(alphas, dim=1)

    @staticmethod
    def _moves(transitions: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what maps scores (B, K) to the log-sums (B, K) over the transitions, from row to column."""
        # A product of exponentials, since a logsumexp over (B, K, K) takes K times the memory.
        # Exact while all transitions are within 87 of each other; beyond that it gives inf and nan.
        highest = transitions.detach().max()
        factors = (transitions - highest).exp()  # (K, K)

        def moved(scores: Tensor) -> Tensor:
            peak = scores.detach().amax(dim=1, keepdim=True)
            return ((scores - peak).exp() @ factors).log() + peak + highest

        return moved

    def viterbi(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """Map logits (B, T, K) to the most probable labels (B, T); the padding repeats the last label."""
        scores = [self.start + logits[:, 0]]  # (B, K) each: the best path that ends in a label
        came_from = []
        for t in range(1, logits.size(1)):
            best, previous = (scores[-1].unsqueeze(2) + self.transitions).max(dim=1)  # (B, K)
            scores.append(best + logits[:, t])
            came_from.append(previous)
        label = (at_end(torch.stack(scores, dim=1), lengths) + self.end).argmax(dim=1)  # (B,)
        last = lengths.to(logits.device, non_blocking=True) - 1
        path = [label]
        for t in range(len(came_from) - 1, -1, -1):
            before = came_from[t].gather(1, label.unsqueeze(1)).squeeze(1)
            label = torch.where(t < last, before, label)
            path.append(label)
        return torch.stack(path[::-1], dim=1)


def at_end(values: Tensor, lengths: Tensor) -> Tensor:
    """Select the values of the last token of every sentence from (B, T, ...), to (B, ...)."""
    rows = torch.arange(len(values), device=values.device)
    return values[rows, lengths.to(values.device, non_blocking=True) - 1]
