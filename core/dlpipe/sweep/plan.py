"""The ``[sweep]`` table of a pipeline file: its trials, and all mistakes in all of them at once.

A trial is the pipeline with some paths set to other values; it runs once for each choice on the axes that are averaged
over, such as the folds of a cross-validation, and for each seed. Does not import torch.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dlpipe.config.check import check_source
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.signatures import read_signature
from dlpipe.config.source import OVERRIDE, SET, Source, dotted, key_path, leaves, read_source, set_path
from dlpipe.config.tables import SETTINGS, SWEEP, TABLES
from dlpipe.errors import PipelineError, Problem
from dlpipe.messages import nearest, shown
from dlpipe.registry.loading import Registry
from dlpipe.splits import DEV, SPLITS, TEST, TRAIN
from dlpipe.sweep.axes import ENDS, Axis, Choice, Range, as_range, compact, is_range, range_mistakes
from dlpipe.sweep.planned import Sweep, Trial
from dlpipe.sweep.settings import Search, read_search

#: More than this is more often a typing mistake than intended.
MAX_TRIALS = 1000
OPTIONS = ("metric", "seeds", "average_over", "reference", "search")
#: The metric of a sweep is on one of these; those on train are shown in the table, but never compared by.
COMPARED = (DEV, TEST)
#: Combinations of the ends of ranges that are checked before the first run of a search.
MAX_CORNERS = 200


def load_sweep(
    file: str | Path,
    registry: Registry,
    assignments: Iterable[str] = (),
    *,
    seeds: int | None = None,
    allow_local_plugins: bool = False,
) -> Sweep:
    """Read a pipeline file and check all trials of its ``[sweep]``.

    Args:
        assignments: as for `dlpipe.config.check.load_pipeline`; they apply to all trials.
        seeds: per trial, or per choice in ``average_over``; overrides the file.

    Raises:
        PipelineError: with all mistakes of the pipeline, of the table and of all trials.
    """
    return plan(read_source(file, assignments), registry, seeds=seeds, allow_local_plugins=allow_local_plugins)


def plan(
    source: Source,
    registry: Registry,
    *,
    seeds: int | None = None,
    allow_local_plugins: bool | Sequence[Path] = False,
) -> Sweep:
    """Check a source that `read_source` returned; see `load_sweep`."""
    planner = _Planner(source, registry, allow_local_plugins)
    sweep = planner.sweep(seeds)
    if planner.problems or sweep is None:
        raise PipelineError(planner.problems, planner.exit_code)
    return sweep


def check_all(
    source: Source, registry: Registry, *, allow_local_plugins: bool | Sequence[Path] = False
) -> Pipeline | Sweep:
    """Check a pipeline and, if it has a ``[sweep]``, all its trials.

    Raises:
        PipelineError: with all mistakes.
    """
    check = plan if SWEEP in source.values else check_source
    return check(source, registry, allow_local_plugins=allow_local_plugins)


def count_trials(table: Any) -> Any:
    """Return the number of trials in a ``[sweep]`` table, whether it is valid or not."""
    if not isinstance(table, dict):
        return 1
    if isinstance(search := table.get("search"), dict):
        return search.get("trials", Search.trials)
    averaged = table.get("average_over", [])
    others = (*OPTIONS, *(averaged if isinstance(averaged, list) else ()))
    axes = [axis for key, axis in table.items() if key not in others]
    return math.prod(len(axis) for axis in axes if isinstance(axis, (list, dict)))


@dataclass
class _Planner:
    source: Source
    registry: Registry
    allow_local_plugins: bool | Sequence[Path]
    problems: list[Problem] = field(default_factory=list)
    exit_code: int = 2

    def problem(self, message: str, *path: str) -> None:
        self.problems.append(self.source.problem((SWEEP, *path), f"[sweep] {message}"))

    def sweep(self, seeds: int | None) -> Sweep | None:
        base = self._checked(copy.deepcopy(self.source))
        table = self.source.values.get(SWEEP, {} if seeds else None)  # several seeds need no table
        if not isinstance(table, dict):
            found = "has no [sweep]" if table is None else f"sweep = {shown(table)}"
            self.problems.append(
                self.source.problem(
                    (SWEEP,),
                    f'{found}; expected a table such as [sweep] "trainer.optimizer.lr" = [0.01, 0.1], or --seeds',
                )
            )
            return None
        axes = {key: self._axis(key, axis) for key, axis in table.items() if key not in OPTIONS}
        count = self._seeds(table.get("seeds", 1)) if seeds is None else seeds
        named = table.get("metric", "")
        metric, *others = named if isinstance(named, list) and named else [named]
        metric, further = self._metric(metric), [self._metric(name, splits=SPLITS) for name in others]
        if not axes and seeds is None and "seeds" not in table:
            self.problem(
                'there is nothing to try; expected an axis such as "trainer.optimizer.lr" = [0.01, 0.1], or seeds'
            )
        self._check_overlap(axes)
        averaged = {key: axes.pop(key) for key in self._averaged(table.get("average_over", []), axes)}
        repeats = self._grid(averaged)
        if "search" in table:
            search = read_search(table["search"], self._metric, self.problem, count * len(repeats or [()]))
            points = self._corners(table, axes)
        else:
            search, points = None, self._grid(axes)
        if points is None or repeats is None:  # an axis has a mistake, or there are too many trials
            return None
        references = self._references(table.get("reference", {}), list(points))
        make = partial(self._trial, list(repeats.values()), count)
        trials = tuple(self._trials(points, make))
        if base is None:
            return None
        return Sweep(
            name=base.settings.name,
            metric=metric,
            trials=trials,
            references=references,
            further=tuple(further),
            axes=axes,
            averaged={key: len(axis) for key, axis in averaged.items() if not isinstance(axis, Range)},
            search=search,
            make=make,
            base=base,
        )

    def _averaged(self, names: Any, axes: Mapping[str, Axis]) -> list[str]:
        """Return the axes that are averaged over."""
        if isinstance(names, list) and all(isinstance(name, str) and name in axes for name in names):
            return list(dict.fromkeys(names))
        known = ", ".join(map(shown, axes)) or "there are none"
        self.problem(f"average_over = {shown(names)}: expected a list of axes of this table ({known})", "average_over")
        return []

    def _grid(self, axes: Mapping[str, Axis]) -> dict[str, dict[str, Choice]] | None:
        """Return all combinations of choices, by label; None if there are mistakes."""
        lists: dict[str, list[Choice]] = {}
        for key, axis in axes.items():
            if isinstance(axis, Range):
                self.problem(
                    f"{dotted((key,))} is a range, which only a search can draw from; list the values, or add "
                    '[sweep.search] method = "tpe"',
                    key,
                )
                return None
            lists[key] = axis
        if (total := math.prod(map(len, lists.values()))) > MAX_TRIALS:
            self.problem(f"asks for {total:,} trials; expected at most {MAX_TRIALS:,}")
            return None
        if not all(lists.values()):
            return None
        grid = [dict(zip(lists, choices, strict=True)) for choices in itertools.product(*lists.values())]
        labels = [_label(point) for point in grid]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            self.problem(f'{labels.count(label)} trials are called "{label}"; remove one, or name them: [sweep.NAME]')
        return dict(zip(labels, grid, strict=True))

    def _corners(self, table: Mapping[str, Any], axes: Mapping[str, Axis]) -> dict[str, dict[str, Choice]] | None:
        """Return combinations of choices and of the ends of ranges, by label; None if there are mistakes."""
        if "reference" in table:
            self.problem("reference: the trials of a search are not known before; remove it", "reference")
        if not axes:
            self.problem("search: there is no axis to search", "search")
        ends = {key: axis.ends if isinstance(axis, Range) else axis for key, axis in axes.items()}
        if not axes or not all(ends.values()):
            return None
        for key, choices in ends.items():
            names = [choice.name for choice in choices]
            if not isinstance(axes[key], Range) and len(set(names)) < len(names):
                self.problem(f"{dotted((key,))}: two choices have the same name; remove one", key)
        first = {key: choices[0] for key, choices in ends.items()}
        alone = [first | {key: choice} for key, choices in ends.items() for choice in choices]
        product = (dict(zip(ends, choices, strict=True)) for choices in itertools.product(*ends.values()))
        points = [*alone, *itertools.islice(product, MAX_CORNERS)]
        return {_label(point): point for point in points}

    def _seeds(self, seeds: Any) -> int:
        if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
            self.problem(f"seeds = {shown(seeds)}: expected a whole number above 0", "seeds")
            return 1
        return seeds

    def _axis(self, key: str, axis: Any) -> Axis:
        place = dotted((key,))
        if is_range(axis, "." in key):
            return self._range(key, axis)
        if isinstance(axis, dict):
            return self._named_axis(key, axis)
        tops = _tops()
        if "." not in key and key not in tops:
            self.problem(f"{place}: unknown key.{nearest(key, (*OPTIONS, *tops))} An axis is a path, or a table", key)
        elif self._may_set(key, key):
            if isinstance(axis, list) and axis:
                return [Choice(compact(value), {key: value}) for value in axis]
            self.problem(
                f"{place} = {shown(axis)}: expected a list of the values to try, or a range such as "
                "{ low = 1, high = 5 }",
                key,
            )
        return []

    def _range(self, key: str, table: Mapping[str, Any]) -> Axis:
        mistakes = range_mistakes(table)
        for mistake in mistakes:
            self.problem(f"{dotted((key,))}: {mistake}", key)
        return as_range(key, table) if self._may_set(key, key) and not mistakes else []

    def _named_axis(self, name: str, table: Mapping[str, Any]) -> list[Choice]:
        if not table:
            self.problem(
                f'{dotted((name,))} is empty; expected choices such as "small" = {{ "model.width" = 10 }}', name
            )
        if isinstance(self.source.values.get(name), dict) and _lacks_quotation_marks(table):
            self.problem(
                f"{name} is a table of the file; write a path in quotation marks: {shown(_unquoted(name, table))} = …",
                name,
            )
            return []
        choices = []
        for choice, values in table.items():
            place = dotted((name, choice))
            if not isinstance(values, dict):  # an empty one is the file as it is
                expected = 'expected a table of paths, such as { "model.width" = 10 }'
                self.problem(f"{place} = {shown(values)}: {expected}", name, choice)
            elif sum(self._may_set(path, name, choice) for path in values) == len(values):  # each says its mistake
                choices.append(Choice(choice, dict(values)))
        return choices if len(choices) == len(table) else []

    def _may_set(self, path: str, *place: str) -> bool:
        try:
            parts = key_path(path)
        except ValueError:
            self.problem(f"{shown(path)}: expected a path such as trainer.optimizer.lr", *place)
            return False
        if parts[0] == "seed":
            self.problem("seed cannot be an axis; write seeds = 3 for three runs of each trial", *place)
        elif parts[0] in ("name", SWEEP, "plugins", "extends"):
            self.problem(f"{parts[0]} cannot be an axis, since it is the same for all trials", *place)
        else:
            above = [who.file for known, who in self.source.origins.items() if known[: len(parts)] == parts]
            if by := next((file for file in above if file in (SET, OVERRIDE)), ""):
                message = f"{path} is an axis of [sweep], which would win over {by}; leave one of them out"
                self.problems.append(Problem(by, 0, message))
            return True
        return False

    def _check_overlap(self, axes: Mapping[str, Axis]) -> None:
        owners: dict[tuple[str, ...], str] = {}
        for axis, values in axes.items():
            choices = values.ends if isinstance(values, Range) else values
            for path in dict.fromkeys(path for choice in choices for path in choice.values):
                if (owner := owners.setdefault(key_path(path), axis)) != axis:
                    self.problem(f"{path} is set by two axes, {owner} and {axis}; keep one", axis)

    def _references(self, table: Any, labels: list[str]) -> dict[str, dict[str, float]]:
        if not isinstance(table, dict) or not all(isinstance(numbers, dict) for numbers in table.values()):
            self.problem(f"reference = {shown(table)}: expected tables such as [sweep.reference.paper]", "reference")
            return {}
        for name, numbers in table.items():
            for label, number in numbers.items():
                place, path = dotted(("reference", name, label)), ("reference", name, label)
                if label not in labels:
                    known = ", ".join(f'"{known}"' for known in labels[:10]) + (" …" if len(labels) > 10 else "")
                    self.problem(f"{place}: there is no such trial; there are {known}", *path)
                if isinstance(number, bool) or not isinstance(number, (int, float)):
                    self.problem(f"{place} = {shown(number)}: expected a number", *path)
        return table

    def _metric(self, metric: Any, *, splits: Sequence[str] = COMPARED) -> str:
        if metric == "":
            return ""
        tables = self.source.values
        if isinstance(stages := tables.get("stages"), dict) and stages:
            tables = list(stages.values())[-1]  # the last stage is what the pipeline is for
        known = tables.get("evaluators", {}) if isinstance(tables, dict) else {}
        parts = metric.split("/") if isinstance(metric, str) else []
        if len(parts) != 3 or parts[0] not in splits or parts[1] not in known:
            expected = ", ".join(f"dev/{name}/…" for name in known) or "no metric, as there are no [evaluators]"
            if parts and parts[0] == TRAIN and TRAIN not in splits:
                expected = f"trials are compared on examples that the model does not learn from; expected {expected}"
            else:
                expected = f"expected {expected}"
            self.problem(f"metric = {shown(metric)}: {expected}", "metric")
        return str(metric)

    def _trials(
        self, points: Mapping[str, Mapping[str, Choice]], make: Callable[[Mapping[str, Choice]], Trial]
    ) -> Iterator[Trial]:
        known = set(self.problems)
        mistakes: dict[Problem, list[str]] = {}
        for label, point in points.items():
            try:
                yield make(point)
            except PipelineError as error:
                self.exit_code = max(self.exit_code, error.exit_code)
                for problem in error.problems:
                    mistakes.setdefault(problem, []).append(label)
        for problem, labels in mistakes.items():
            if problem not in known:
                more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
                message = f'{problem.message} (trial "{labels[0]}"{more})'
                self.problems.append(dataclasses.replace(problem, message=message))

    def _trial(self, repeats: Sequence[Mapping[str, Choice]], seeds: int, point: Mapping[str, Choice]) -> Trial:
        """Return the trial for a choice on each axis that is compared.

        Args:
            repeats: a choice on each axis that is averaged over, for each run with one seed.

        Raises:
            PipelineError: a pipeline is not valid with these values.
        """
        pipeline = self._pipeline(point)
        pipelines: list[Pipeline] = []
        averaged: list[dict[str, str]] = []
        for repeat in repeats:
            repeated = self._pipeline({**point, **repeat}) if repeat else pipeline
            pipelines += _seeded(repeated, seeds)
            averaged += [{axis: choice.name for axis, choice in repeat.items()}] * seeds
        values = {path: value for choice in point.values() for path, value in choice.values.items()}
        names = {axis: choice.name for axis, choice in point.items()}
        return Trial(_label(point), names, values, tuple(pipelines), tuple(averaged), pipeline)

    def _pipeline(self, point: Mapping[str, Choice]) -> Pipeline:
        """Return the pipeline with the values of a choice on each axis."""
        source = copy.deepcopy(self.source)
        setters = [(path, value, axis) for axis, choice in point.items() for path, value in choice.values.items()]
        # Set a table before its keys, and `use` before the parameters of the component that it names.
        for path, value, axis in sorted(setters, key=by_depth):
            where = (SWEEP, axis, point[axis].name)
            set_path(source, key_path(path), copy.deepcopy(value), self.source.origin(where))
        # The command line holds for all trials, also for the parameters of a component that an axis selects.
        for leaf, value in leaves(self.source.values):
            if (origin := self.source.origin(leaf)).file in (SET, OVERRIDE):
                set_path(source, tuple(map(str, leaf)), copy.deepcopy(value), origin)
        return self._check(source)

    def _check(self, source: Source) -> Pipeline:
        source.values.pop(SWEEP, None)
        return check_source(source, self.registry, allow_local_plugins=self.allow_local_plugins)

    def _checked(self, source: Source) -> Pipeline | None:
        try:
            return self._check(source)
        except PipelineError as error:
            self.exit_code = max(self.exit_code, error.exit_code)
            self.problems += error.problems
            return None


def _tops() -> tuple[str, ...]:
    """Return the keys at the top of a pipeline file."""
    return (*read_signature(SETTINGS).parameters, *TABLES)


def _lacks_quotation_marks(choices: Mapping[str, Any]) -> bool:
    """Return whether these are no choices, but a path that TOML has read as tables within tables."""
    tops = _tops()
    return not all(
        isinstance(values, dict) and all("." in path or path in tops for path in values) for values in choices.values()
    )


def _unquoted(name: str, table: Any) -> str:
    """Return the first path that was read so."""
    path = [name]
    while isinstance(table, dict) and table and not any(end in table for end in ENDS):
        key, table = next(iter(table.items()))
        path.append(key)
    return ".".join(path)


def by_depth(setter: tuple[str, Any] | tuple[str, Any, str]) -> tuple[int, bool]:
    """Return a key that sorts a table before what is in it, and `use` before other keys."""
    parts = key_path(setter[0])
    return len(parts), parts[-1] != "use"


def _label(point: Mapping[str, Choice]) -> str:
    return ", ".join(choice.name for choice in point.values()) or "as it is"


def _seeded(pipeline: Pipeline, seeds: int) -> Iterator[Pipeline]:
    for seed in range(pipeline.settings.seed, pipeline.settings.seed + seeds):
        yield dataclasses.replace(pipeline, settings=dataclasses.replace(pipeline.settings, seed=seed))
