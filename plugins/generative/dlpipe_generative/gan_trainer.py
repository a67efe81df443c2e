"""The trainer for two nets against each other.

Source: Goodfellow et al. 2014, algorithm 1; Radford et al. 2016, section 4 (Adam with beta1 = 0.5).
Departs from it: the generator learns from the last things that the discriminator saw, so they are drawn once.
Axes: B things of a batch, Z numbers a thing is drawn from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute, derived_seed
from dlpipe.data import Batches, EndlessBatches
from dlpipe.errors import InputError
from dlpipe.fields import Fraction, NonNegative, NonNegativeFloat, OpenFraction, OptimizerTable, Positive
from dlpipe.protocols import Batch, Data, Goal
from dlpipe.training import WeightAverage, build_optimizer
from dlpipe_generative.contracts import THINGS, Adversaries, column_of, require
from dlpipe_generative.gan_losses import LossName, discriminator_loss, generator_loss, gradient_penalty

WHO = "generative.gan_trainer"


class GANTrainer:
    """Teach a discriminator to tell real things from drawn ones, and a generator to draw what it takes for real.

    A step is `critic_steps` updates of the discriminator, each with a batch of its own, and one of the generator.
    Real and drawn things go through the discriminator apart, so that batch normalisation does not mix them.

    Args:
        batch_size: real things, and drawn ones, per update.
        loss: "non_saturating" (Goodfellow et al. 2014), "wgan_gp" (Wasserstein distance with a gradient penalty;
            wants a discriminator without batch normalisation and some five critic_steps) or "hinge".
        generator_optimizer: one of torch's by name, with its own parameters.
        discriminator_optimizer: likewise.
        critic_steps: updates of the discriminator for each of the generator.
        gradient_penalty: its weight in "wgan_gp".
        label_smoothing: the probability that a real thing is said not to be real ("non_saturating" alone).
        ema_decay: keep an exponential moving average of the generator's weights with this decay per step; it is
            what is evaluated and saved as the generator.
        workers: processes that read data which does not fit into memory.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        compute: Compute,
        seed: int,
        *,
        batch_size: Positive = 64,
        loss: LossName = "non_saturating",
        generator_optimizer: OptimizerTable = {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]},  # noqa: B006
        discriminator_optimizer: OptimizerTable = {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]},  # noqa: B006
        critic_steps: Positive = 1,
        gradient_penalty: NonNegativeFloat = 10.0,
        label_smoothing: Fraction = 0.0,
        ema_decay: OpenFraction | None = None,
        num_workers: NonNegative = 0,
    ) -> None:
        self._nets: Adversaries = require(model, Adversaries, WHO)  # type: ignore[type-abstract]
        if label_smoothing and loss != "non_saturating":
            raise InputError(
                f'[trainer] label_smoothing = {label_smoothing}: the loss "{loss}" knows no labels; leave it out, or '
                'set loss = "non_saturating"'
            )
        batches = Batches(
            data.split("train"),
            batch_size,
            compute,
            seed=seed,
            columns=[*THINGS, "targets"],
            workers=num_workers,
        )
        self._batches = EndlessBatches(batches, critic_steps)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self._compute, self._seed = compute, seed
        self._loss: LossName = loss
        self._penalty, self._smoothing = gradient_penalty, label_smoothing
        self._optimizers = {
            "generator": build_optimizer(self._nets.generator.parameters(), generator_optimizer),
            "discriminator": build_optimizer(self._nets.discriminator.parameters(), discriminator_optimizer),
        }
        self._average: WeightAverage | None = None
        self._shown = model
        if ema_decay:
            self._average = WeightAverage(self._nets.generator, ema_decay)
            self._shown = _with_generator(model, self._average.module)
        self._random = torch.Generator(compute.device)
        self._column = ""  # told by the first batch
        self._step = 0

    @property
    def model(self) -> nn.Module:
        """Both nets, the generator with the average of its weights where there is one."""
        return self._shown

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update both nets and yield ``d_loss`` and ``g_loss``, and what the discriminator makes of things.

        ``d_real`` and ``d_fake`` are mean probabilities of being real with the non-saturating loss, else mean scores.
        """
        for parts in self._batches:
            yield self._take(parts)

    def log_values(self) -> dict[str, float]:
        """Return the learning rates, the generator's as ``lr``."""
        rates = {name: float(each.param_groups[0]["lr"]) for name, each in self._optimizers.items()}
        return {"lr": rates["generator"], "d_lr": rates["discriminator"]}

    def on_score(self, score: float, goal: Goal) -> None:
        """Do nothing: no learning rate here depends on a score."""

    def state_dict(self) -> dict[str, Any]:
        """Return optimizers, place in the data, and the generator's live weights beside an average."""
        state: dict[str, Any] = {name: each.state_dict() for name, each in self._optimizers.items()}
        state |= {"step": self._step, **self._batches.state_dict()}
        if self._average:
            state["average"] = self._average.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; see `state_dict`."""
        for name, each in self._optimizers.items():
            each.load_state_dict(state[name])
        self._step = state["step"]
        self._batches.load_state_dict(state)
        if self._average:
            self._average.load_state_dict(state["average"])

    def _take(self, parts: list[Batch]) -> dict[str, Tensor]:
        nets = self._nets
        if not (nets.generator.training and nets.discriminator.training):  # the caller may have evaluated since
            nets.generator.train()
            nets.discriminator.train()
        self._column = self._column or column_of([*parts[0]], WHO)
        # What a step draws follows from the seed and its number, so there is no state of it to keep.
        self._random.manual_seed(derived_seed(self._seed, "gan", self._step))
        for last, batch in zip([False] * (len(parts) - 1) + [True], parts, strict=True):
            fake = self._drawn(batch, keep_graph=last)
            metrics = self._teach_discriminator(batch, fake.detach())
        metrics["g_loss"] = self._teach_generator(fake, self._wishes(parts[-1]))
        if self._average:
            self._average.update()
        self._step += 1
        return metrics

    def _drawn(self, batch: Batch, *, keep_graph: bool) -> Tensor:
        """Draw as many things as the batch has; they have a graph for the generator's own update only."""
        real = batch[self._column]
        shape = (len(real), self._nets.latent_dim)
        latent = torch.randn(shape, device=real.device, generator=self._random)
        with torch.set_grad_enabled(keep_graph), self._compute.autocast():
            return self._nets.generator(latent, self._wishes(batch))  # type: ignore[no-any-return]

    def _teach_discriminator(self, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        real, wishes = batch[self._column], self._wishes(batch)
        discriminator, optimizer = self._nets.discriminator, self._optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            real_scores, fake_scores = discriminator(real, wishes), discriminator(fake, wishes)
        real_scores, fake_scores = real_scores.float(), fake_scores.float()
        loss = discriminator_loss(self._loss, real_scores, fake_scores, self._smoothing)
        if self._loss == "wgan_gp":
            shares = torch.rand(len(real), device=real.device, generator=self._random)
            # Without autocast: a norm of gradients of gradients may not bear bfloat16.
            penalty = gradient_penalty(lambda things: discriminator(things, wishes), real, fake.float(), shares)
            loss = loss + self._penalty * penalty
        loss.backward()
        optimizer.step()
        seen = {"d_real": real_scores.detach(), "d_fake": fake_scores.detach()}
        if self._loss == "non_saturating":
            seen = {name: scores.sigmoid() for name, scores in seen.items()}
        return {"d_loss": loss.detach(), **{name: scores.mean() for name, scores in seen.items()}}

    def _teach_generator(self, fake: Tensor, wishes: Tensor | None) -> Tensor:
        discriminator, optimizer = self._nets.discriminator, self._optimizers["generator"]
        optimizer.zero_grad(set_to_none=True)
        discriminator.requires_grad_(False)  # its gradients are not wanted here, and cost a twentieth of the step
        with self._compute.autocast():
            scores = discriminator(fake, wishes)
        loss = generator_loss(self._loss, scores.float())
        loss.backward()
        discriminator.requires_grad_(True)
        optimizer.step()
        return loss.detach()

    def _wishes(self, batch: Batch) -> Tensor | None:
        """Return the classes (B,) that both nets are told, None where they are told none."""
        return batch["targets"] if self._nets.num_classes is not None else None


def _with_generator(model: nn.Module, generator: nn.Module) -> nn.Module:
    """Return a model that shares everything with `model` but the generator."""
    shown = copy.copy(model)
    shown._modules = model._modules | {"generator": generator}
    return shown
