"""Trainer for generative adversarial networks.

Source: Goodfellow et al. 2014, algorithm 1; Radford et al. 2016, section 4 (Adam with beta1 = 0.5).
Departs from it: the generator learns from the same samples as the last update of the discriminator, so each step
generates them once.
Axes: B samples of a batch, Z latent dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from dlpipe.compute import Compute, derived_seed
from dlpipe.data import Batches, EndlessBatches
from dlpipe.fields import Fraction, NonNegative, NonNegativeFloat, OnlyWith, OpenFraction, OptimizerTable, Positive
from dlpipe.protocols import Batch, Data, Goal
from dlpipe.training import WeightAverage, build_optimizer, load_optimizer, require_last_batch
from dlpipe_generative.gan_losses import LossName, discriminator_loss, generator_loss, gradient_penalty
from dlpipe_generative.protocols import SAMPLE_COLUMNS, AdversarialModel, require, sample_column
from dlpipe_generative.split_tensors import device_of

WHO = "generative.gan_trainer"


class GANTrainer:
    """Train a discriminator to distinguish real from generated samples, and a generator to fool it.

    A step is `critic_steps` updates of the discriminator, each with a batch of its own, and one of the generator.
    Real and generated samples pass through the discriminator separately, so that batch normalization does not mix them.

    Args:
        batch_size: real samples, and generated ones, per update.
        loss: "non_saturating" (Goodfellow et al. 2014), "wgan_gp" (Wasserstein distance with a gradient penalty;
            use a discriminator without batch normalization and about five critic_steps) or "hinge".
        generator_optimizer: a torch optimizer by name, with its own parameters.
        discriminator_optimizer: a torch optimizer by name, with its own parameters.
        critic_steps: updates of the discriminator per update of the generator. The last step of an epoch has fewer
            if the number of batches is not a multiple of it.
        gradient_penalty: weight of the gradient penalty in "wgan_gp".
        label_smoothing: one-sided: how much less than 1 the target of real samples is.
        ema_decay: keep an exponential moving average of the generator's weights with this decay per step; the
            average is what is evaluated and saved as the generator.
        num_workers: processes that read data which does not fit into memory; "auto" is one less than there are cores,
            at most 8, for data that is decoded from files, and 0 for other data. No result depends on it.
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
        gradient_penalty: Annotated[NonNegativeFloat, OnlyWith(loss="wgan_gp")] = 10.0,
        label_smoothing: Annotated[Fraction, OnlyWith(loss="non_saturating")] = 0.0,
        ema_decay: OpenFraction | None = None,
        num_workers: NonNegative | Literal["auto"] = "auto",
    ) -> None:
        self._nets: AdversarialModel = require(model, AdversarialModel, WHO)  # type: ignore[type-abstract]
        split = data.split("train")
        batches = Batches(
            split,
            batch_size,
            compute,
            seed=seed,
            columns=[*SAMPLE_COLUMNS, "targets"],
            workers=num_workers,
        )
        if batches.per_epoch is not None:
            require_last_batch(model, _run_on_one, batch_size, len(split), drop_last=None)  # type: ignore[arg-type]
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
        self._averaged_model = model
        if ema_decay:
            self._average = WeightAverage(self._nets.generator, ema_decay)
            self._averaged_model = _with_generator(model, self._average.module)
        self._rng = torch.Generator(compute.device)
        self._column = ""  # known from the first batch on
        self._step = 0

    @property
    def model(self) -> nn.Module:
        """Both networks, the generator with the average of its weights if there is one."""
        return self._averaged_model

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Update both networks and yield ``d_loss``, ``g_loss``, ``d_real`` and ``d_fake``.

        ``d_real`` and ``d_fake`` are the discriminator's mean probabilities that real and generated samples are real
        with the non-saturating loss, and mean scores with the other losses. All values but ``g_loss`` are those of the
        step's last update of the discriminator.
        """
        for batches in self._batches:
            yield self._train_step(batches)

    def close(self) -> None:
        """End the processes that read the data."""
        self._batches.close()

    def log_values(self) -> dict[str, float]:
        """Return the learning rates, the generator's as ``lr``."""
        rates = {name: float(each.param_groups[0]["lr"]) for name, each in self._optimizers.items()}
        return {"lr": rates["generator"], "d_lr": rates["discriminator"]}

    def on_score(self, score: float, goal: Goal) -> None:
        """Do nothing: no learning rate here depends on a score."""

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizers, the position in the data, and the generator's live weights besides an average."""
        state: dict[str, Any] = {name: each.state_dict() for name, each in self._optimizers.items()}
        state |= {"step": self._step, **self._batches.state_dict()}
        if self._average:
            state["average"] = self._average.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, each in self._optimizers.items():
            load_optimizer(each, state[name])
        self._step = state["step"]
        self._batches.load_state_dict(state)
        average = state.get("average")
        if self._average:
            self._average.load_state_dict(average)
        elif average:  # kept until now: the weights that have been loaded are the averaged ones
            self._nets.generator.load_state_dict(average["live"])

    def _train_step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """Update the discriminator once per batch, then the generator with the samples of the last batch."""
        nets = self._nets
        if not (nets.generator.training and nets.discriminator.training):  # the caller may have evaluated since
            nets.generator.train()
            nets.discriminator.train()
        self._column = self._column or sample_column([*batches[0]], WHO)
        # The random numbers of a step follow from the seed and its number, so they need no saved state.
        self._rng.manual_seed(derived_seed(self._seed, "gan", self._step))
        *earlier, last = batches
        for batch in earlier:
            self._update_discriminator(batch, self._generate(batch, keep_graph=False))
        fake = self._generate(last, keep_graph=True)
        metrics = self._update_discriminator(last, fake.detach())
        metrics["g_loss"] = self._update_generator(fake, self._classes(last))
        if self._average:
            self._average.update()
        self._step += 1
        return metrics

    def _generate(self, batch: Batch, *, keep_graph: bool) -> Tensor:
        """Generate as many samples as the batch has; only an update of the generator needs their graph."""
        real = batch[self._column]
        shape = (len(real), self._nets.latent_dim)
        latent = torch.randn(shape, device=real.device, generator=self._rng)
        with torch.set_grad_enabled(keep_graph), self._compute.autocast():
            return self._nets.generator(latent, self._classes(batch))  # type: ignore[no-any-return]

    def _update_discriminator(self, batch: Batch, fake: Tensor) -> dict[str, Tensor]:
        real, classes = batch[self._column], self._classes(batch)
        discriminator, optimizer = self._nets.discriminator, self._optimizers["discriminator"]
        optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            real_scores, fake_scores = discriminator(real, classes), discriminator(fake, classes)
        real_scores, fake_scores = real_scores.float(), fake_scores.float()
        loss = discriminator_loss(self._loss, real_scores, fake_scores, self._smoothing)
        if self._loss == "wgan_gp":
            shares = torch.rand(len(real), device=real.device, generator=self._rng)
            # Without autocast: the norm of a gradient, differentiated again, may be unstable in bfloat16.
            penalty = gradient_penalty(lambda samples: discriminator(samples, classes), real, fake.float(), shares)
            loss = loss + self._penalty * penalty
        loss.backward()
        optimizer.step()
        scores = {"d_real": real_scores.detach(), "d_fake": fake_scores.detach()}
        if self._loss == "non_saturating":
            scores = {name: each.sigmoid() for name, each in scores.items()}
        return {"d_loss": loss.detach(), **{name: each.mean() for name, each in scores.items()}}

    def _update_generator(self, fake: Tensor, classes: Tensor | None) -> Tensor:
        discriminator, optimizer = self._nets.discriminator, self._optimizers["generator"]
        optimizer.zero_grad(set_to_none=True)
        trained = [each for each in discriminator.parameters() if each.requires_grad]
        for parameter in trained:  # their gradients are not needed here, and cost a twentieth of the step
            parameter.requires_grad_(False)
        with self._compute.autocast():
            scores = discriminator(fake, classes)
        loss = generator_loss(self._loss, scores.float())
        loss.backward()
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer.step()
        return loss.detach()

    def _classes(self, batch: Batch) -> Tensor | None:
        """Return the classes (B,) that both networks are conditioned on, None if they are unconditional."""
        return batch["targets"] if self._nets.num_classes is not None else None


def _run_on_one(nets: Any) -> None:
    """Discriminate one generated sample."""
    device = device_of(nets)
    classes = None if nets.num_classes is None else torch.zeros(1, dtype=torch.int64, device=device)
    nets.discriminator(nets.generator(torch.zeros(1, nets.latent_dim, device=device), classes), classes)


def _with_generator(model: nn.Module, generator: nn.Module) -> nn.Module:
    """Return a copy of `model` that has another generator and shares everything else, the discriminator included."""
    shared = [*model.children(), *model.parameters(recurse=False), *model.buffers(recurse=False)]
    # A deep copy takes an object that stands in its memo as the copy.
    memo = {id(each): each for each in shared} | {id(model.get_submodule("generator")): generator}
    return copy.deepcopy(model, memo)
