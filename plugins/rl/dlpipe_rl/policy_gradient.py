"""The plain gradient of a policy: what went better than expected becomes more probable.

Sources: Williams 1992, https://doi.org/10.1007/BF00992696, with a baseline that is learned; Mnih et al. 2016,
https://arxiv.org/abs/1602.01783, for the bonus on being undecided.
Axes: M moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from dlpipe.compute import Compute
from dlpipe_rl.action_heads import ActionHead
from dlpipe_rl.on_policy import Lesson


@dataclass
class Loss:
    """The parts of a policy's loss, and how they are weighed.

    Args:
        value_coef: of the squared error of the values.
        entropy_coef: of the bonus on being undecided.
        max_grad_norm: the norm of all gradients together is clipped to this value.
    """

    model: nn.Module
    optimizer: Optimizer
    compute: Compute
    value_coef: float
    entropy_coef: float
    max_grad_norm: float | None

    def judge(self, lesson: Lesson) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (M,) log probabilities and (M,) entropies of the policy as it is now, and values where it has any."""
        with self.compute.autocast():
            outputs = self.model(lesson.obs)
        choice, values = outputs if isinstance(outputs, tuple) else (outputs, None)
        head: ActionHead = self.model.head  # type: ignore[assignment]
        choice = choice.float()
        log_probs, entropies = head.log_prob(choice, lesson.actions), head.entropy(choice)
        return log_probs, entropies, None if values is None else values.float()

    def step(self, policy_loss: Tensor, entropies: Tensor, values: Tensor | None, returns: Tensor) -> dict[str, Tensor]:
        """Update the weights once and return the parts of the loss."""
        entropy = entropies.mean()
        loss = policy_loss - self.entropy_coef * entropy
        parts = {"policy_loss": policy_loss.detach(), "entropy": entropy.detach()}
        if values is not None:
            value_loss = F.mse_loss(values, returns)
            loss = loss + self.value_coef * value_loss
            parts["value_loss"] = value_loss.detach()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return {"loss": loss.detach(), **parts}


class PolicyGradient:
    """One update from all moves of a step.

    Args:
        normalize_advantages: give the advantages of a step a mean of 0 and a standard deviation of 1.
    """

    def __init__(self, loss: Loss, *, normalize_advantages: bool) -> None:
        self._loss, self._normalize_advantages = loss, normalize_advantages

    def __call__(self, lesson: Lesson, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the weights once."""
        advantages = normalized(lesson.advantages) if self._normalize_advantages else lesson.advantages
        log_probs, entropies, values = self._loss.judge(lesson)
        return self._loss.step(-(log_probs * advantages).mean(), entropies, values, lesson.returns)


def normalized(advantages: Tensor) -> Tensor:
    """Return numbers of mean 0 and standard deviation 1; a single one becomes 0."""
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
