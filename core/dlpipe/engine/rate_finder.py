"""A learning rate for a pipeline, from a range test: a few steps with a rate that grows from tiny to far too large.

Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", https://arxiv.org/abs/1506.01186, section
3.3 ("LR range test").
Departs from it: the rate grows exponentially, the loss of the training batches is smoothed and compared instead of the
accuracy, and the test stops when the loss diverges, all of them as in fastai (Howard & Gugger 2020,
https://arxiv.org/abs/2002.04688, section 4.1.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from dlpipe.config.pipeline import Pipeline, Stage, table_name
from dlpipe.config.settings import LoopOptions
from dlpipe.config.tables import keys_of
from dlpipe.data.columns import Columns
from dlpipe.engine.build import StageComponents, TrainingComponents, build_for_training
from dlpipe.engine.inference import find_in
from dlpipe.engine.measure import stepper
from dlpipe.engine.planning import alone
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import InputError
from dlpipe.figures import BLUE, GREY, ORANGE, VERMILION, drawing
from dlpipe.messages import shown
from dlpipe.training.loss_scale import SKIPPED

#: Share of the former mean that is kept when a loss is added, as in fastai.
SMOOTHING = 0.98
#: The test stops when the smoothed loss is this many times its lowest value, as in fastai.
DIVERGED = 4.0
#: What the suggestion of the minimum is divided by, as in fastai: at the minimum, the loss is about to grow.
BELOW_MINIMUM = 10.0
#: Of the steps, how many at the start are not looked at, since a mean of few losses is mostly noise: a tenth.
NOISY_START = 10
#: No more than this is known from fewer steps.
LEAST_STEPS = 20
#: Attempts at a step whose gradients overflow in float16: the factor of the loss, 2 ** 16 at first, is 1 after 16.
MOST_ATTEMPTS = 20


@dataclass(frozen=True)
class RateSearch:
    """What a range test found.

    Args:
        stage: that was tested.
        key: of the rate, as ``--set`` takes it.
        rates: one for each step.
        losses: smoothed, one for each step.
        stopped: why the test ended.
        steepest: the rate at which the smoothed loss falls fastest, over the logarithm of the rate.
        minimum: the rate with the lowest smoothed loss, divided by `BELOW_MINIMUM`.
        now: the rate of the pipeline, None if its optimizer says none.
    """

    stage: str
    key: str
    rates: list[float]
    losses: list[float]
    stopped: str
    steepest: float
    minimum: float
    now: float | None

    @property
    def suggested(self) -> float:
        """The smaller of the two, rounded to two digits: a rate that is too small costs time, one too large the run."""
        return float(f"{min(self.steepest, self.minimum):.1e}")

    @property
    def patch(self) -> str:
        """What to write into the pipeline file, as TOML."""
        table, _, key = self.key.rpartition(".")
        return f"[{table}]\n{key} = {shown(self.suggested)}"

    def plain(self) -> dict[str, Any]:
        """Return it, JSON-serializable."""
        found = asdict(self) | {"suggested": self.suggested, "patch": self.patch}
        return found | {"stage": self.stage or "pipeline"}


def find_rate(
    pipeline: Pipeline,
    stage_name: str,
    models: Mapping[str, TrainedModel],
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
) -> RateSearch:
    """Take the first steps of a stage with growing rates; nothing is kept.

    Args:
        models: of earlier stages, by name.
        lowest: the first rate.
        highest: the last rate, unless the loss diverges before.
        steps: the number of rates.

    Raises:
        InputError: the trainer has no rate that can be tested, or the range is not one.
    """
    stage = pipeline.stages[stage_name]
    if not 0 < lowest < highest or steps < LEAST_STEPS:
        raise InputError(
            f"a range test from {lowest:g} to {highest:g} in {steps} steps: expected two rates above 0, the second one "
            f"larger, and at least {LEAST_STEPS} steps"
        )
    require_rate(stage)
    growth = (highest / lowest) ** (1 / (steps - 1))
    tested = _with_growing_rate(stage, lowest, growth, steps)
    with (
        alone(pipeline),
        build_for_training(pipeline.settings, tested, find_in(models, pipeline), starts=True) as components,
    ):
        _require_examples(stage, components)
        rates, losses, stopped = _range_test(tested, components, steps)
    steepest, minimum = suggestions(rates, losses, stage.trainer.component.name)
    key = f"{stage.trainer.table[1:-1]}.optimizer.lr"
    return RateSearch(stage.name, key, rates, losses, stopped, steepest, minimum, _rate_of(stage))


def require_rate(stage: Stage) -> None:
    """Refuse a trainer without an optimizer and a schedule in its table, by name.

    Raises:
        InputError: it has none.
    """
    component = stage.trainer.component
    known = keys_of(component.spec)
    if not {"optimizer", "schedule"} <= known.keys():
        lack = " and ".join(f"`{name}`" for name in ("optimizer", "schedule") if name not in known)
        raise InputError(
            f"{stage.trainer.table} {component.name} has no learning rate that can be tested: its table has no {lack}; "
            "expected a trainer with both and a training loss, such as core.supervised"
        )


def _require_examples(stage: Stage, components: StageComponents) -> None:
    """Refuse an agent: its loss falls and grows with what it does, not only with the rate."""
    if not isinstance(components.data.split("train"), Columns | Dataset):
        raise InputError(
            f"{stage.trainer.table} {stage.trainer.component.name} does not learn from a set of examples, but from "
            "what the model does; the loss of its first steps says nothing about a good rate"
        )


def _with_growing_rate(stage: Stage, lowest: float, growth: float, steps: int) -> Stage:
    """Return a stage that trains with rates that grow from step to step, and as long as the test."""
    values = dict(stage.trainer.values)
    values["optimizer"] = _like(values["optimizer"], {**values["optimizer"], "lr": lowest})
    values["schedule"] = {"use": "exponential", "gamma": growth}
    if "warmup_steps" in values:
        values["warmup_steps"] = 0
    # Further budgets of a trainer, such as timesteps, would end it earlier.
    values |= {name: None for name in stage.trainer.component.spec.budget if name in values}
    return replace(stage, trainer=replace(stage.trainer, values=values), options=LoopOptions(steps=steps))


def _like(table: Any, values: dict[str, Any]) -> Any:
    """Return a table of the same kind with other values: one of a plugin's optimizer knows its component."""
    return type(table)(values, table.component) if hasattr(table, "component") else values


def _rate_of(stage: Stage) -> float | None:
    """Return the learning rate of a stage, its own or the default of its optimizer; None if it has none."""
    rate = stage.trainer.values["optimizer"].get("lr")
    return None if rate is None else float(rate)


def _range_test(stage: Stage, components: TrainingComponents, steps: int) -> tuple[list[float], list[float], str]:
    """Take the steps; return the rates, the smoothed losses, and why the test ended."""
    trainer = components.trainer
    take_step, mean = stepper(stage, trainer), 0.0
    rates: list[float] = []
    losses: list[float] = []
    for number in range(1, steps + 1):
        rate = trainer.log_values().get("lr")
        metrics = _step_not_skipped(take_step)
        if rate is None or not {"loss", SKIPPED} & metrics.keys():
            given = ", ".join(metrics) or "none"
            raise InputError(
                f"{stage.trainer.table} {stage.trainer.component.name} has no training loss that shows a good rate: "
                f"its steps give {given}; expected `loss`, and the rate as `lr` in log_values()"
            )
        if "loss" not in metrics:  # the step was skipped each time
            overflow = f"the gradients overflow in float16 at a rate of {rate:.2g}"
            if not rates:
                raise InputError(
                    f"{stage.trainer.table} {stage.trainer.component.name}: {overflow} with any factor of the loss; "
                    'set precision = "bfloat16" or "float32"'
                )
            return rates, losses, overflow
        loss = float(metrics["loss"])
        if not math.isfinite(loss):
            return rates, losses, f"the loss is {loss} at a rate of {rate:.2g}"
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        rates.append(float(rate))
        losses.append(mean / (1 - SMOOTHING**number))  # without the bias towards the 0 that the mean begins with
        if number > 1 and _diverges(losses):
            return rates, losses, f"the loss diverges at a rate of {rate:.2g}"
    return rates, losses, f"after {steps} steps at a rate of {rates[-1]:.2g}"


def _step_not_skipped(take_step: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the metrics of the next step that changes the weights, else of the last of `MOST_ATTEMPTS`."""
    for _ in range(MOST_ATTEMPTS):
        metrics = take_step()
        if float(metrics.get(SKIPPED, 0)) != 1:  # NaN if a lower factor of the loss is of no use
            break
    return metrics


def _diverges(losses: list[float]) -> bool:
    """Return whether the last loss is `DIVERGED` times the lowest one.

    If that is no measure, being 0 or less, the rise is compared with what the loss has fallen and with its size.
    """
    lowest = min(losses)
    scale = lowest if lowest > 0 else max(losses[0] - lowest, -lowest)
    return losses[-1] - lowest > (DIVERGED - 1) * scale


def suggestions(rates: list[float], losses: list[float], trainer: str) -> tuple[float, float]:
    """Return the rate where the loss falls fastest, and a tenth of the one with the lowest loss.

    Args:
        rates: growing exponentially.
        losses: smoothed.
        trainer: its name, for the message.

    Raises:
        InputError: the loss does not fall.
    """
    start = len(rates) // NOISY_START
    lowest = min(range(start, len(rates)), key=lambda place: losses[place], default=0)
    if not rates:
        raise InputError(
            f"the loss of {trainer} is not a number in the first step; choose a lower first rate with --lr-from"
        )
    if lowest <= start:
        raise InputError(f"the loss of {trainer} falls at none of the {len(rates)} rates from {rates[0]:.2g} on")
    # The rates are evenly spaced on their logarithmic axis, so differences are slopes.
    slopes = {place: losses[place + 1] - losses[place - 1] for place in range(max(start, 1), lowest)}
    if not slopes:
        raise InputError(
            f"the loss of {trainer} falls at only the first of the {len(rates)} rates from {rates[0]:.2g} on; choose a "
            "lower first rate with --lr-from"
        )
    steepest = min(slopes, key=lambda place: slopes[place])
    return rates[steepest], rates[lowest] / BELOW_MINIMUM


def draw(found: RateSearch, path: Path) -> None:
    """Draw the smoothed loss over the rate, with the suggestions."""
    with drawing(path, 6.4, 3.8) as figure:
        axes = figure.subplots()
        axes.plot(found.rates, found.losses, color=BLUE)
        marks = [("steepest descent", found.steepest, VERMILION), ("minimum / 10", found.minimum, ORANGE)]
        if found.now is not None:
            marks.append(("now", found.now, GREY))
        for label, rate, color in marks:
            axes.axvline(rate, color=color, linestyle="--", label=f"{label}: {rate:.2g}")
        # A loss that diverges would press the rest of the curve flat.
        start, lowest = max(found.losses[: len(found.losses) // 2]), min(found.losses)
        axes.set_ylim(lowest - 0.05 * (start - lowest), start + 0.25 * (start - lowest))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")  # the usual one needs parsed formulas
        axes.set_xlabel(f"learning rate ({found.key})")
        axes.set_ylabel("training loss, smoothed")
        axes.set_title(f"Range test of {table_name(found.stage, 'trainer')}")
        axes.legend(frameon=False)
