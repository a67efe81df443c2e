"""Rules of ``dlpipe coach`` for generative models, by what their trainer logs and their evaluators measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlpipe.coach import Case, Finding, Remedy, longer

#: The discriminator wins if its probabilities for real and generated samples differ by this share of what they can
#: (loss "non_saturating"), or if what is left of its loss is less than this ("hinge").
WINS, NOTHING_LEFT = 0.9, 0.1
#: Modes are missing if fewer of them are covered, by a generator of which at least the second share of points is near
#: one: otherwise it has not learned yet.
COVERED, NEAR = 0.75, 0.1


def discriminator_wins(case: Case) -> Iterator[Finding]:
    """Find a discriminator that is never wrong."""
    loss, real, fake = (case.metric(f"train/{name}") for name in ("d_loss", "d_real", "d_fake"))
    if case.value("trainer.use") != "generative.gan_trainer" or case.verdict == "good":
        return
    if not (loss.known and real.known and fake.known):
        return
    name, smoothing = case.value("trainer.loss"), case.value("trainer.label_smoothing")
    last, last_real, last_fake = (curve.tenths()[-1] for curve in (loss, real, fake))
    wins = {
        "non_saturating": last_real - last_fake > WINS * (1 - smoothing),
        "hinge": last < NOTHING_LEFT,
        "wgan_gp": False,  # a critic may be as good as it can
    }
    if wins[name]:
        yield Finding(
            "the discriminator wins",
            f"in the last tenth of the training, d_loss is {last:.2g}, d_real {last_real:.2g} and d_fake "
            f"{last_fake:.2g}",
            "It tells all generated samples from real ones, and hardly changes its mind if they change, so the "
            "generator does not learn in which direction they should.",
            [*_same_rates(case), *_lower(case, "discriminator"), *_weaker_discriminator(case)],
        )


def mode_collapse(case: Case) -> Iterator[Finding]:
    """Find a generator whose samples are all alike."""
    judges = [
        config for config in case.stage.evaluators.values() if config.component.name == "generative.gan_diagnostics"
    ]
    lowest = min((config.values["collapse_threshold"] for config in judges), default=0.0)
    diversity = case.evaluated("generative.gan_diagnostics", "diversity")
    evidence = []
    if diversity.last < lowest:
        evidence.append(
            f"the mean distance of two generated samples is {diversity.last:.2g} times that of two real ones"
        )
    near, covered = (case.evaluated("generative.modes", name) for name in ("high_quality", "covered_quality"))
    if near.points and near.end >= NEAR and covered.end < COVERED * near.end:
        evidence.append(
            f"at the end, {near.end:.0%} of the generated points are near a mode, and {covered.end / near.end:.0%} of "
            "the modes are covered"
        )
    if evidence:
        yield Finding(
            "the generator makes the same again and again",
            "; ".join(evidence),
            "One sample that the discriminator takes for real is enough to fool it, until it learns otherwise; then "
            "the generator moves on to another one. Or it has not learned anything yet.",
            [*_slower_generator(case), *_no_momentum(case), *_average(case), *longer(case)],
        )


def posterior_collapse(case: Case) -> Iterator[Finding]:
    """Find a variational auto-encoder that ignores its codes."""
    active, divergence = (case.evaluated("generative.elbo", name) for name in ("active_units", "kl"))
    if active.last == 0:
        yield Finding(
            "the codes say nothing about the images (posterior collapse)",
            f"none of {case.value('model.latent_dim')} latent dimensions is active; the KL divergence is "
            f"{divergence.last:.2g} nats",
            "A code costs as much as it says. Where that is more than it is worth to the decoder, the encoder gives "
            "every image the same one.",
            [*_lower_beta(case), *_smaller_deviation(case), *_warmup(case)],
        )


def _rates(case: Case) -> dict[str, Any]:
    """Return the learning rates of both networks, as far as the pipeline says them."""
    tables: dict[str, Mapping[str, Any]] = {
        name: case.value(f"trainer.{name}_optimizer") or {} for name in ("generator", "discriminator")
    }
    return {name: table["lr"] for name, table in tables.items() if "lr" in table}


def _lower(case: Case, network: str) -> list[Remedy]:
    rate = _rates(case).get(network)
    if rate is None:
        return []
    lower = float(f"{rate / 10:.3g}")
    return [Remedy(f"a tenth of the {network}'s rate", {f"trainer.{network}_optimizer.lr": lower})]


def _same_rates(case: Case) -> list[Remedy]:
    rates = _rates(case)
    if len({*rates.values()}) < 2:
        return []
    return [Remedy("the discriminator's rate for both", {"trainer.generator_optimizer.lr": rates["discriminator"]})]


def _slower_generator(case: Case) -> list[Remedy]:
    """Let the discriminator learn what is wrong before the generator does something else."""
    rates = _rates(case)
    is_slow = rates.get("generator", 0.0) < rates.get("discriminator", 0.0)
    return _same_rates(case) if is_slow else [*_same_rates(case), *_lower(case, "generator")]


def _weaker_discriminator(case: Case) -> list[Remedy]:
    """Smooth the labels of real samples, and limit how steep a discriminator is."""
    smooth = case.value("trainer.loss") == "non_saturating" and not case.value("trainer.label_smoothing")
    found = [Remedy("smoothed labels", {"trainer.label_smoothing": 0.1})] if smooth else []
    if case.value("model.discriminator_norm") in (None, "spectral"):  # the model has none, or this one
        return found
    return [*found, Remedy("spectral normalization", {"model.discriminator_norm": "spectral"})]


def _no_momentum(case: Case) -> list[Remedy]:
    """Let both networks forget their last gradients, which were about another opponent."""
    tables = {
        f"trainer.{name}_optimizer": case.value(f"trainer.{name}_optimizer") for name in ("generator", "discriminator")
    }
    values = {
        f"{path}.betas": [0.0, 0.9] for path, table in tables.items() if table and table.get("betas", (1.0,))[0] > 0
    }
    return [Remedy("no momentum", values)] if values else []


def _average(case: Case) -> list[Remedy]:
    return [] if case.value("trainer.ema_decay") else [Remedy("an averaged generator", {"trainer.ema_decay": 0.995})]


def _lower_beta(case: Case) -> list[Remedy]:
    return [Remedy("beta = 1", {"model.beta": 1.0})] if (case.value("model.beta") or 0.0) > 1 else []


def _smaller_deviation(case: Case) -> list[Remedy]:
    """Let every pixel count more."""
    is_wide = case.value("model.likelihood") == "gaussian" and case.value("model.likelihood_std") > 0.1
    return [Remedy("a narrower likelihood", {"model.likelihood_std": 0.1})] if is_wide else []


def _warmup(case: Case) -> list[Remedy]:
    """Let codes cost nothing at first."""
    steps = max(1, case.steps // 2)
    return [] if case.value("model.warmup_steps") else [Remedy("a warm-up of beta", {"model.warmup_steps": steps})]
