"""What simple predictors reach on the split that a trained model was evaluated on, by the same evaluators."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dlpipe.compute import Ranks, derived_seed, randomness, restore_randomness, seed_everything
from dlpipe.config.pipeline import ComponentConfig, Stage, table_name
from dlpipe.data.columns import Columns, is_length
from dlpipe.data.model_caller import SEED, ModelCaller, column_names, own_method, takes_all_columns
from dlpipe.engine.build import FindModel, StageComponents, build
from dlpipe.errors import DlpipeError, InputError, Interrupted, Preempted, UnsuitableDataError, in_words
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.json_text import finite
from dlpipe.messages import shown_number
from dlpipe.registry.specs import ModelSpec, RegisteredComponent
from dlpipe.training.progress import Progress

#: What baselines reach, by evaluator and baseline.
Found = Mapping[str, Mapping[str, dict[str, Any]]]
#: How many numbers a baseline is fitted to at most, times the classes: seconds of logistic regression.
MAX_NUMBERS = 20_000_000
#: Examples that tell how many numbers one has.
PROBED = 8


class Baselines:
    """The baselines of the evaluators of a stage.

    They are fitted to the training split alone, and everything random is afterwards as it was. What cannot be fitted
    or evaluated is left out, with the reason; what is not for data of this kind, without a word.

    Args:
        examples: the split to evaluate on.
        known: what `compare` has found in an earlier process.
        begins: called with the name of a baseline before it is fitted and evaluated.
        found: called after each one with all that is known.
    """

    def __init__(
        self,
        stage: Stage,
        components: StageComponents,
        examples: Examples,
        find_model: FindModel,
        seed: int,
        *,
        known: Found,
        begins: Callable[[str], None],
        found: Callable[[Found], None],
    ) -> None:
        self._stage, self._components, self._find_model = stage, components, find_model
        # Of this process alone: one rank does this while the others have nothing left to do.
        self._compute = replace(components.compute, ranks=Ranks(), shards=False)
        self._examples = Examples(components.data, examples.split, self._compute)
        self._examples.check_stop = examples.check_stop
        self._seed = derived_seed(seed, "baselines", 0)
        self._known = {evaluator: {**baselines} for evaluator, baselines in known.items()}
        self._begins, self._found = begins, found

    def compare(self, metrics: Mapping[str, float]) -> Found:
        """Return by evaluator and baseline: its ``metrics`` and the ``examples`` it was fitted to, or a ``reason``.

        A metric that is not finite is None.

        Args:
            metrics: those of the trained model; some evaluators give a baseline as one of them.
        """
        before = randomness()
        models: dict[str, tuple[nn.Module, int]] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as of a solver that stops early
                for name in self._stage.evaluators:
                    self._compare_by(name, models, metrics)
        finally:
            restore_randomness(before)
        return self._known

    def _compare_by(self, name: str, models: dict[str, tuple[nn.Module, int]], metrics: Mapping[str, float]) -> None:
        config, evaluator = self._stage.evaluators[name], self._components.evaluators[name]
        prefix = f"{self._examples.split}/{name}/"
        if not config.values["compare_baselines"] or self._examples.split not in config.values["splits"]:
            return
        for own in config.component.spec.baselines:
            if prefix + own in metrics:
                self._keep(name, own, {"metrics": {str(evaluator.primary): metrics[prefix + own]}})
        for component in self._stage.baselines.get(name, ()):
            if self._stage.model and component.name == self._stage.model.component.name:
                continue
            if component.name not in self._known.get(name, {}):
                self._begins(component.name)
                with suppress(UnsuitableDataError):
                    self._keep(name, component.name, self._of(component, name, models))

    def _keep(self, evaluator: str, baseline: str, reached: dict[str, Any]) -> None:
        self._known.setdefault(evaluator, {})[baseline] = finite(reached)
        self._found(self._known)

    def _of(
        self, component: RegisteredComponent[ModelSpec], name: str, models: dict[str, tuple[nn.Module, int]]
    ) -> dict[str, Any]:
        """Return what one baseline reaches by one evaluator, or the reason why that is not known.

        Raises:
            UnsuitableDataError: it is not for data of this kind.
        """
        seed_everything(self._seed)  # whichever ones came before, also in an earlier process
        prefix = f"{self._examples.split}/{name}/"
        try:
            if component.name not in models:
                models[component.name] = self._fitted(component, table_name(self._stage.name, "evaluators", name))
            model, count = models[component.name]
            reached = evaluate(model, {name: self._components.evaluators[name]}, self._examples, stage=self._stage.name)
        except (Interrupted, Preempted, UnsuitableDataError):
            raise
        except Exception as error:  # whatever it is, the run itself has ended well
            return {"reason": str(error) if isinstance(error, DlpipeError) else in_words(error)}
        found = {metric.removeprefix(prefix): value for metric, value in reached.items()}
        return {"metrics": found, "examples": count}

    def _fitted(self, component: RegisteredComponent[ModelSpec], table: str) -> tuple[nn.Module, int]:
        """Return a fitted baseline, and the number of examples that it was fitted to."""
        if missing := component.missing():
            raise InputError(f"{component.name} needs {', '.join(missing)}; {component.install_command()}")
        split = self._components.data.split("train")
        if not isinstance(split, Columns):
            raise InputError("the training split is not in memory")
        facts = self._components.data.facts
        config = ComponentConfig(component, table, {}, {})
        model: nn.Module = build(config, facts, self._find_model).to(self._compute.device)
        fit = own_method(model, "fit")
        if fit is None:
            raise InputError(f"{component.name} has no method fit()")
        required, optional = column_names(fit)
        if not takes_all_columns(fit) and {*required, *optional} - {SEED} == {"targets"}:
            split = Columns({"targets": split.columns["targets"]})  # as stored: only inputs are prepared
        generator = torch.Generator(self._compute.device).manual_seed(self._seed)
        probed = min(PROBED, len(split))
        probe = self._batch(split, torch.arange(probed), generator)
        numbers = sum(column.numel() for name, column in probe.items() if not is_length(name)) / probed
        most = int(MAX_NUMBERS / max(1, numbers) / max(1, int(facts.get("num_classes", 1))))
        # Not the first ones, as the examples may be sorted.
        rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(self._seed))[: max(1, most)]
        batch = self._batch(split, rows.sort().values, generator)
        ModelCaller(model, tuple(batch)).fit(batch, self._seed)
        return model, len(rows)

    def _batch(self, split: Columns, rows: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
        batch = split.batch(rows, rows.to(split.device))
        batch = {key: each if is_length(key) else each.to(self._compute.device) for key, each in batch.items()}
        return dict(split.prepare(batch, generator, False) if split.prepare else batch)


def tell(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    components: StageComponents,
    split: str,
    metrics: Mapping[str, float],
    progress: Progress,
) -> None:
    """Show what the baselines reach by the primary metric of each evaluator; warn where the model is not better."""
    train = components.data.split("train")
    whole = len(train) if isinstance(train, Columns) else 0
    for name, baselines in found.items():
        evaluator = components.evaluators[name]
        if evaluator.primary is None:
            continue
        metric = f"{split}/{name}/{evaluator.primary}"
        reached = {
            baseline: value
            for baseline, each in baselines.items()
            if (value := each.get("metrics", {}).get(evaluator.primary)) is not None
        }
        if reached:
            shown = ", ".join(
                f"{baseline} {shown_number(value)}{_part(baselines[baseline].get('examples', whole), whole)}"
                for baseline, value in reached.items()
            )
            progress.message(f"baselines of {metric}: {shown}", once=True)
        for baseline in _better(reached, metrics.get(metric), str(evaluator.goal)):
            worse = "below" if evaluator.goal == "max" else "above"
            progress.warning(
                f"{metric} is {worse} that of {baseline}"
            )  # without numbers: a sweep counts equal warnings


def _better(reached: Mapping[str, float], value: float | None, goal: str) -> Iterator[str]:
    """Yield the baselines that are better than a model."""
    for baseline, other in reached.items():
        if value is not None and (other > value if goal == "max" else other < value):
            yield baseline


def _part(count: int, whole: int) -> str:
    return f" (fitted to {count:,} of {whole:,} examples)" if count < whole else ""
