"""A pipeline in Python: loaded from a file, a name or a dict, changed, checked and run."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tomli_w

from dlpipe.api.run import Run, restoring_torch
from dlpipe.api.sweep_result import SweepResult
from dlpipe.api.table import html_table
from dlpipe.config.catalog import resolved_values
from dlpipe.config.check import check_source
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.python_source import override, source_of
from dlpipe.config.source import Source
from dlpipe.config.tables import SWEEP
from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import relative, shown
from dlpipe.registry.loading import Registry, load_plugins
from dlpipe.registry.targets import load_target
from dlpipe.sweep.execution import Options, run_sweep
from dlpipe.sweep.plan import check_all, count_trials
from dlpipe.sweep.plan import plan as plan_sweep
from dlpipe.sweep.results import Output


def load(
    pipeline: str | Path | Mapping[str, Any],
    *overrides: str | Mapping[str, Any],
    allow_local_plugins: bool = False,
) -> Experiment:
    """Load a pipeline; `Experiment.check` and `Experiment.run` say what is wrong with it.

    Args:
        pipeline: a TOML file, the name of a pipeline that comes with dlpipe, or the tables of a file as a dict, in
            which relative paths start from the working directory.
        overrides: changes such as ``"trainer.epochs=3"``, as after ``--set``, or ``{"trainer.epochs": 3}``; later ones
            take precedence.
        allow_local_plugins: allow the pipeline to run the Python files that it names in ``plugins``.

    Raises:
        PipelineError: the file cannot be read, or a value is none that TOML has.

    Example::

        run = dlpipe.load("cnn_digits", {"trainer.epochs": 3}).run()
    """
    return Experiment(source_of(pipeline), allow_local_plugins=allow_local_plugins).set(*overrides)


class Experiment:
    """A pipeline that can be run, as `load` returns it. It never changes: `set` returns another one.

    Raises:
        PipelineError: from each of its members, with all mistakes of the pipeline.
    """

    def __init__(self, source: Source, *, allow_local_plugins: bool = False) -> None:
        self._source, self._allow_local_plugins = source, allow_local_plugins

    def set(self, *overrides: str | Mapping[str, Any]) -> Experiment:
        """Return the pipeline with further changes; see `load`."""
        source = copy.deepcopy(self._source)
        override(source, overrides)
        return Experiment(source, allow_local_plugins=self._allow_local_plugins)

    def check(self) -> Experiment:
        """Find all mistakes, also those of all trials of a ``[sweep]``; return the experiment itself.

        Takes a third of a second and imports no torch. What works but should be changed is a warning.

        Raises:
            PipelineError: with all mistakes.
        """
        checked = check_all(*self._to_check(), allow_local_plugins=self._allow_local_plugins)
        _warn(checked.warnings)
        return self

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self._pipeline()[0].settings.name

    @property
    def config(self) -> dict[str, Any]:
        """All tables with all defaults, as in ``resolved.toml``."""
        return self._pipeline()[0].plain()

    @property
    def origins(self) -> dict[str, str]:
        """What set each value, by dotted path.

        That is ``default``, ``FILE:LINE``, ``argument of load`` or ``override``.
        """
        return {path: origin for path, _, origin in resolved_values(self._pipeline()[0])}

    @property
    def toml(self) -> str:
        """The pipeline with all defaults as the text of a file, for ``dlpipe run FILE``."""
        return tomli_w.dumps(self.config)

    def run(
        self,
        *,
        runs: str | Path = "runs",
        fast: bool = False,
        fresh: bool = False,
        explain: bool = False,
        profile: bool = False,
        quiet: bool = False,
        rehearsal: bool = True,
        resume: Literal["auto", "never"] = "never",
        accept_changes: bool = False,
    ) -> Run:
        """Train and evaluate the pipeline in a new run folder, and return the run.

        In the main thread, Ctrl-C (in a notebook: the stop button) saves a checkpoint after the current step. What a
        run sets for the whole process (threads, random number generators …) is restored at its end.

        Args:
            runs: the folder in which run folders are created.
            fast: train and evaluate for a few steps only.
            fresh: run every stage, even if its inputs have not changed since an earlier run.
            explain: say for each stage why it is run or reused.
            profile: record some steps, and write a trace and the costliest operators into ``profile/``.
            quiet: show only warnings, errors and the result.
            rehearsal: try everything in small before the first step.
            resume: "auto" resumes the latest unfinished run of the same pipeline, if there is one.
            accept_changes: with ``resume="auto"``, as in `Run.resume`.

        Raises:
            Interrupted: Ctrl-C; ``Run("runs/NAME/latest").resume()`` continues the run.
            DlpipeError: the run has failed; its folder is kept.
        """
        if resume not in ("auto", "never"):
            raise InputError(f'resume = {shown(resume)}: expected "auto" or "never"')
        if accept_changes and resume != "auto":
            raise InputError('accept_changes is for a run that is resumed; expected it with resume="auto"')
        if resume == "auto" and (fast or fresh):
            unused = "fast" if fast else "fresh"
            raise InputError(f'{unused} has no effect on a run that is resumed, as by resume="auto"; leave it out')
        pipeline, registry = self._pipeline()
        self._mention_sweep()
        options: dict[str, Any] = {
            "fast": fast,
            "fresh": fresh,
            "rehearsal": rehearsal,
            "explain": explain,
            "profile": profile,
            "quiet": quiet,
        }
        if resume == "auto":
            options["accept_changes"] = accept_changes
        begin = load_target("dlpipe.engine.execute:run_or_resume" if resume == "auto" else "dlpipe.engine.execute:run")
        with restoring_torch():
            folder = begin(pipeline, registry, Path(runs), **options)
        return Run(folder.path, allow_local_plugins=self._allow_local_plugins)

    def dry_run(self) -> dict[str, Any]:
        """Try everything in small (one step, one batch, one checkpoint), keep nothing, and return what was built.

        Raises:
            DlpipeError: something does not fit.
        """
        pipeline, _ = self._pipeline()
        with restoring_torch():
            built: dict[str, Any] = load_target("dlpipe.engine.execute:dry_run")(pipeline)
        return built

    def plan(self, *, runs: str | Path = "runs", tune: bool = False, find_lr: bool = False) -> dict[str, Any]:
        """Measure a few steps, keep nothing, and return what a run will take, as ``dlpipe plan --json`` prints it.

        Args:
            runs: where run folders would be created.
            tune: also measure other settings, and return those that make the steps faster in ``tuning``.
            find_lr: also test a range of learning rates with the last stage, and return it in ``learning_rate``.

        Raises:
            DlpipeError: memory or disk are too small, or something does not fit.
        """
        pipeline, _ = self._pipeline()
        _warn(pipeline.warnings)
        models: dict[str, Any] = {}
        with restoring_torch():
            found = load_target("dlpipe.engine.planning:plan")(pipeline, Path(runs), models)
            planned: dict[str, Any] = found.plain()
            if tune:
                load_with = lambda more: self.set(*more)._pipeline()[0]  # noqa: E731
                planned["tuning"] = load_target("dlpipe.engine.tuning:tune")(load_with, found.longest, models).plain()
            if find_lr:
                find_rate = load_target("dlpipe.engine.rate_finder:find_rate")
                planned["learning_rate"] = find_rate(pipeline, pipeline.stage().name, models).plain()
        return planned

    def sweep(
        self,
        *,
        seeds: int | None = None,
        jobs: int | None = None,
        budget: float | None = None,
        runs: str | Path = "runs",
        fast: bool = False,
        fresh: bool = False,
        quiet: bool = False,
    ) -> SweepResult:
        """Run all trials of the ``[sweep]``, in processes of their own, and compare them; without one, several seeds.

        Finished runs with the same configuration are reused, and interrupted ones are resumed. In a script, call it
        below ``if __name__ == "__main__":``, since each process imports the script.

        Args:
            seeds: per trial, or per choice in ``average_over``; overrides the file.
            jobs: runs at the same time; by default as many as there are GPUs, or cores for.
            budget: for a search: seconds after which no further trial is started.
            runs: the folder in which run folders are created.
            fast: train and evaluate for a few steps only.
            fresh: run every trial from the start.
            quiet: show only failures.

        Raises:
            PipelineError: the pipeline or a trial has mistakes.
            Interrupted: Ctrl-C; call it again to continue.
            DlpipeError: some runs have failed; the results of the others are stored.
        """
        source, registry = self._to_check()
        planned = plan_sweep(source, registry, seeds=seeds, allow_local_plugins=self._allow_local_plugins)
        again = "Experiment.sweep()"
        with load_target("dlpipe.training.progress:Progress")(None, quiet=quiet) as told:
            notice = partial(told.message, result=True)
            options = Options(jobs=jobs, budget=budget, fast=fast, fresh=fresh, quiet=quiet, again=again, notice=notice)
            result = run_sweep(planned, Path(runs), options)
        load_again = lambda path: load(path, allow_local_plugins=self._allow_local_plugins)._pipeline()[0]  # noqa: E731
        if not result.rows:
            raise DlpipeError("other sweeps are at work on some of the runs; call sweep() again for the table")
        written = Output(Path(runs), load_again, again, fast=fast).write(result)
        if result.failed:
            raise DlpipeError(
                f"{result.failed} of {result.total} runs failed; for the others, see {relative(written.folder)}"
            )
        return SweepResult(written)

    def __repr__(self) -> str:
        return f"Experiment({self._source.values.get('name', 'without a name')!r})"

    def _repr_html_(self) -> str:
        values = resolved_values(self._pipeline()[0])
        return html_table(([path, shown(value), origin] for path, value, origin in values), ["key", "value", "set by"])

    def _pipeline(self) -> tuple[Pipeline, Registry]:
        """Return the checked pipeline, and the registry with its local plugins."""
        source, registry = self._to_check()
        return check_source(source, registry, allow_local_plugins=self._allow_local_plugins), registry

    def _to_check(self) -> tuple[Source, Registry]:
        """Return what is to be checked, which changes both."""
        registry = load_plugins()
        _warn(registry.warnings)
        return copy.deepcopy(self._source), registry

    def _mention_sweep(self) -> None:
        if table := self._source.values.get(SWEEP):
            trials = count_trials(table)
            _warn([f"the pipeline has a [sweep] of {trials} trials; this runs it without; for all of them: sweep()"])


def _warn(texts: Sequence[str]) -> None:
    for text in texts:
        warnings.warn(text, stacklevel=4)
