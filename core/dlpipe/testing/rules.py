"""The rules of the conformance kit for models, trainers, evaluators and callbacks."""

from __future__ import annotations

import contextlib
import inspect
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dlpipe.compute import seed_everything
from dlpipe.data.batches import Batches
from dlpipe.data.model_caller import columns_needed
from dlpipe.engine.build import StageComponents, build
from dlpipe.engine.rehearsal import rehearse
from dlpipe.errors import DlpipeError, in_words
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.protocols import Evaluator, SupportsSamples
from dlpipe.registry.hooks import Lifecycle, RunView
from dlpipe.registry.loading import PREFIX
from dlpipe.report_items import record_items
from dlpipe.runs.plain_state import difference
from dlpipe.testing.checks import Use
from dlpipe.testing.resume import check_resume
from dlpipe.testing.stages import components_of, data_of, models_of
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.losses import BatchLoss
from dlpipe.training.optimizers import build_optimizer

#: One batch is learned by heart if its loss falls by this share of its first value, within this number of steps of
#: Adam, with one of these learning rates.
LEARNED, STEPS, LEARNING_RATES = 0.5, 200, (1e-2, 1e-3, 1e-1)
#: Examples of that batch, and losses whose mean is compared: with dropout, single ones differ from step to step.
BATCH, AVERAGED = 8, 10
#: Batches that evaluators see.
BATCHES = 2


def passes_rehearsal(use: Use) -> None:
    """Check that the rehearsal of a run has nothing against the component."""
    try:
        with data_of(use) as data:
            rehearse(use.pipeline.settings, use.stage, models_of(use), data)
    except Exception as error:
        message = str(error) if isinstance(error, DlpipeError) else in_words(error)
        stage = use.stage
        tables = (stage.data, stage.model, stage.trainer, *stage.evaluators.values())
        own = [each.table for each in tables if each and each.component.namespace == use.namespace]
        blamed = next((table for table in own if message.startswith(table)), use.config.table)
        assert blamed != use.config.table, f"{use.file.name}: {message}"  # otherwise another component's check fails


def same_weights(use: Use) -> None:
    """Check that a model has the same first weights each time it is built with one seed."""
    with data_of(use) as data:
        with components_of(use, data=data) as built:
            first = _weights(built)
        with components_of(use, data=data) as built:
            place = difference(first, _weights(built))
    assert not place, (
        f"{use.place} state_dict(){place} differs between two models that were built with the seed "
        f"{use.pipeline.settings.seed}; expected the same weights: draw them from torch's global generator, which "
        "dlpipe seeds, or from one seeded with a number"
    )


def learns_one_batch(use: Use) -> None:
    """Check that the loss of one small batch, repeated, falls clearly."""
    reached: list[tuple[float, float]] = []
    with data_of(use) as data:
        for rate in LEARNING_RATES:
            with components_of(use, data=data) as built:
                losses = list(_repeated_batch(use, built, rate))
            first, last = (math.fsum(part) / len(part) for part in (losses[:AVERAGED], losses[-AVERAGED:]))
            first = max(first, losses[0])  # what the first steps have learned already counts
            if last <= first - LEARNED * abs(first) or abs(last) < 1e-3:
                return
            reached.append((first, last))
    first, last = min(reached, key=lambda each: each[1])
    raise AssertionError(
        f"{use.place} the loss of one batch of {BATCH} examples falls from {first:.4g} to {last:.4g} at best in "
        f"{STEPS} steps of Adam (learning rates {', '.join(f'{rate:g}' for rate in LEARNING_RATES)}); expected half of "
        "its first value. Is an output detached, a layer not in parameters(), or the input not used? If the loss has a "
        "large lower bound, name this check in expected_failures"
    )


def _repeated_batch(use: Use, built: StageComponents, rate: float) -> Iterator[float]:
    """Take steps on one batch, and yield their losses."""
    model, values = built.model, use.stage.trainer.values
    assert model is not None
    batches = Batches(built.data.split("train"), BATCH, built.compute, columns=columns_needed(model))
    batch = next(batches.epoch(0))
    loss_of = BatchLoss(model, tuple(batch), built.compute, values["loss"], values["label_smoothing"])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert parameters, f"{use.place} has no parameter that can be trained"
    optimizer = build_optimizer(parameters, {"use": "adam", "lr": rate})
    model.train()
    for step in range(STEPS):
        loss = loss_of(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def resumes_exactly(use: Use) -> None:
    """Check that a run which is stopped and resumed ends like an uninterrupted one."""
    with tempfile.TemporaryDirectory(prefix="dlpipe-") as folder:
        check_resume(use.file, Path(folder), assignments=use.assignments, allow_local_plugins=use.allow_local_plugins)


def finite_metrics(use: Use) -> None:
    """Check that an evaluator returns finite numbers, the primary one among them."""
    with _evaluator_of(use) as (name, evaluator, built):
        for split, metrics in _metrics(use, name, built):
            shown = {metric.split("/", 2)[2]: value for metric, value in metrics.items()}
            for metric, value in shown.items():
                assert math.isfinite(value), f"{use.place} {metric} is {value} on {split}; expected a finite number"
            assert evaluator.primary is None or evaluator.primary in shown, (
                f"{use.place} primary is {evaluator.primary!r}, but evaluate() returns {', '.join(shown) or 'nothing'}"
            )


def same_metrics(use: Use) -> None:
    """Check that a second evaluation of the same model gives the same numbers."""
    with _evaluator_of(use) as (name, _, built):
        first = dict(_metrics(use, name, built))
        for split, metrics in _metrics(use, name, built):
            place = difference(first[split], metrics)
            assert not place, (
                f"{use.place} evaluate() gives other metrics when it is called again for the same model, at {place} "
                f"of {split}: {first[split]}, then {metrics}; expected the same: count from 0 in each call"
            )


def writes_files(use: Use) -> None:
    """Check that an evaluator writes without an error, names only files it wrote, and keeps each sample."""
    with _evaluator_of(use) as (name, evaluator, built), tempfile.TemporaryDirectory(prefix="dlpipe-") as place:
        folder = Path(place)
        for split, _ in _metrics(use, name, built):
            (folder / split).mkdir()
            record_items(folder / split, evaluator.write(folder / split) or ())
        if isinstance(evaluator, SupportsSamples):
            (folder / "samples").mkdir()
            counts = []
            for step in (1, 2):
                items = evaluator.sample(folder / "samples", step) or ()
                counts.append(len(list((folder / "samples").iterdir())))
            assert 0 < counts[0] < counts[1], (
                f"{use.place} sample(folder, step) left {counts[0]} files after step 1 and {counts[1]} after step 2; "
                "expected files named by the step, so that none is overwritten"
            )
            record_items(folder / "samples", items)


def survives_hooks(use: Use) -> None:
    """Check that no lifecycle hook of a callback raises, in a run that ends, fails, or fails at once."""
    with components_of(use) as built:
        primaries = [(name, each.primary) for name, each in built.evaluators.items() if each.primary]
    hooks = [name for name in vars(Lifecycle) if name.startswith(PREFIX)]
    ends = [name for name in hooks if name != "dlpipe_run_failed"]
    fails_at_once = ["dlpipe_run_start", "dlpipe_run_failed", "dlpipe_run_end"]
    for calls in (ends, hooks, fails_at_once):
        for resumed_step in (0, 1):
            # What a callback writes next to where the tests run is not left there.
            with tempfile.TemporaryDirectory(prefix="dlpipe-") as folder, contextlib.chdir(folder):
                _call_hooks(use, calls, RunView("name", Path(folder), 1, resumed_step, lambda reason: None), primaries)


def _call_hooks(use: Use, calls: list[str], run: RunView, primaries: list[tuple[str, str]]) -> None:
    """Call lifecycle hooks of a callback one after the other."""
    problems: list[str] = []
    name = next(name for name, config in use.stage.callbacks.items() if config is use.config)
    callbacks = Callbacks({name: build(use.config, {"offline": True}, models_of(use))}, run, problems.append)
    checkpoint = run.folder / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    for hook in calls:
        arguments: dict[str, Any] = {
            "step": 2,
            "epoch": 1,
            "path": checkpoint,
            "error": RuntimeError("a failure"),
            "split": "dev",
            "metrics": {"train/loss": 0.5, "train/lr": 0.001}
            if hook == "dlpipe_step_logged"
            else {f"dev/{evaluator}/{primary}": 0.5 for evaluator, primary in primaries},
        }
        taken = inspect.signature(getattr(Lifecycle, hook)).parameters
        callbacks.call(hook, **{name: value for name, value in arguments.items() if name in taken})
        assert not problems, f"{use.place} after {', '.join(calls[: calls.index(hook)]) or 'nothing'}: {problems[0]}"


@contextlib.contextmanager
def _evaluator_of(use: Use) -> Iterator[tuple[str, Evaluator, StageComponents]]:
    """Build the stage, and yield the name of the evaluator, itself, and everything."""
    name = next(name for name, config in use.stage.evaluators.items() if config is use.config)
    with components_of(use) as built:
        yield name, built.evaluators[name], built


def _metrics(use: Use, name: str, built: StageComponents) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Evaluate the model as it is built on a few batches of each split that the evaluator is for."""
    splits = [split for split in use.config.values["splits"] if split in built.data.splits]
    assert splits, f"{use.place} splits = {use.config.values['splits']}; the data has {', '.join(built.data.splits)}"
    for split in splits:
        seed_everything(use.pipeline.settings.seed)
        examples = Examples(built.data, split, built.compute, limit=BATCHES)
        yield split, evaluate(built.trained_model, {name: built.evaluators[name]}, examples, stage=use.stage.name)


def _weights(built: StageComponents) -> dict[str, Any]:
    assert built.model is not None
    state = built.model.state_dict()
    return {name: value.detach().cpu().clone() for name, value in state.items() if isinstance(value, Tensor)}
