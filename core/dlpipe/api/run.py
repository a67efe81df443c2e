"""A run in Python: what its folder says, and the model that it trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from dlpipe.api.pictures import Gallery, ReportFile
from dlpipe.api.predictions import predictions
from dlpipe.api.table import Table, html_table
from dlpipe.config.changeable import later_ends
from dlpipe.config.check import check_source
from dlpipe.config.python_source import override
from dlpipe.config.source import read_source
from dlpipe.errors import InputError
from dlpipe.messages import nearest, relative, shown_number, shown_seconds
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.targets import load_target
from dlpipe.runs.files import read_text
from dlpipe.runs.folder import ENDED_STATES, LOG, METRICS, RESOLVED, RunFolder
from dlpipe.runs.listing import RunSummary, summarize
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals

if TYPE_CHECKING:
    from torch import nn

    from dlpipe.protocols import Data

#: What a person hands over for a prediction: a text, or a file.
Item = str | Path


@contextmanager
def restoring_torch() -> Iterator[None]:
    """Restore, when the block ends, what a run sets for the whole process; see `dlpipe.compute.restoring_torch`.

    Raises:
        Interrupted: Ctrl-C while torch was imported.
    """
    with StopSignals() as signals:  # an import that is interrupted would leave half a module
        load_target("dlpipe.engine.execute:run")
        load_target("torch._inductor.config:deterministic")  # which torch imports when it is configured
        restoring = load_target("dlpipe.compute:restoring_torch")
    signals.check(" before the run began")
    with restoring():
        yield


class Run:
    """A run: its results, and its model, of which a stage and a checkpoint are chosen here.

    Args:
        path: the run folder, or the folder of a pipeline's runs, such as ``runs/cnn-digits``, for the latest of them.
        stage: of a pipeline with several; the last one by default.
        checkpoint: "best", "last" or the number of a step.
        allow_local_plugins: allow the Python files in the run folder, of local plugins, to be run.

    Raises:
        RunFolderError: it is not a run folder.
        InputError: the pipeline has no such stage.

    Example::

        run = dlpipe.Run("runs/cnn-digits/latest")
        run.scores["digits/accuracy"]
    """

    def __init__(
        self,
        path: str | Path,
        *,
        stage: str | None = None,
        checkpoint: str | int = "best",
        allow_local_plugins: bool = False,
    ) -> None:
        self._folder = RunFolder.open(RunFolder.latest_in(Path(path)))
        self._checkpoint, self._allow_local_plugins = str(checkpoint), allow_local_plugins
        names = self.stages
        if stage is not None and stage not in names:
            known = ", ".join(names) if names != ("",) else "only one, without a name"
            raise InputError(f"{self} has no stage {stage!r}; it has {known}.{nearest(stage, names)}")
        self._stage = names[-1] if stage is None else stage
        self._opened: Any = None

    @property
    def path(self) -> Path:
        """The run folder, without links."""
        return self._folder.path

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return str(self.config["name"])

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages; one empty name where the pipeline has none."""
        return tuple(self.config.get("stages", {"": None}))

    @property
    def status(self) -> str:
        """How the run is.

        "running", "finished", "failed", "interrupted", "preempted", "pruned", or "stale" if its process has died.
        """
        return self.summary.state

    @property
    def summary(self) -> RunSummary:
        """State, score and progress, as ``dlpipe runs`` lists them."""
        return summarize(self.path)

    @property
    def config(self) -> dict[str, Any]:
        """All tables of the pipeline with all defaults: ``resolved.toml``."""
        return self._folder.resolved()

    @property
    def provenance(self) -> dict[str, Any]:
        """What the numbers depend on: versions, machine, git state … as in ``provenance.json``."""
        return dict(self._view().provenance)

    @property
    def log(self) -> str:
        """The text of ``log.txt``."""
        return read_text(self.path / LOG)

    @property
    def metrics(self) -> Table:
        """All metrics of the stage with their step, a row for each log point and evaluation: ``metrics.jsonl``.

        They are called ``<split>/<evaluator>/<metric>``.
        """
        return Table(MetricsLog(self._folder.stage(self._stage) / METRICS).records())

    @property
    def best(self) -> dict[str, Any]:
        """The row of `metrics` on the dev split at the best checkpoint; empty if there is none."""
        step = self._stage_view().best_step
        rows = [_given(row) for row in self.metrics if row["step"] == step]
        return next((row for row in reversed(rows) if any(name.startswith("dev/") for name in row)), {})

    @property
    def scores(self) -> dict[str, float]:
        """The metrics of the best checkpoint on the test split, as ``<evaluator>/<metric>``; empty before its end.

        A name that is not there is a KeyError which says how the run is.
        """
        rows = [_given(row) for row in self.metrics]
        tested = [row for row in rows if any(name.startswith("test/") for name in row)]
        last = tested[-1] if tested else {}
        found = {name.removeprefix("test/"): value for name, value in last.items() if name.startswith("test/")}
        return _Scores(found, self)

    @property
    def baselines(self) -> dict[str, float]:
        """What simple predictors reach on the test split, as ``<evaluator>/<predictor>/<metric>``.

        Empty if the run has no `scores`: its ``baselines.json`` is then about dev.
        """
        if not self.scores:
            return {}
        return {
            f"{evaluator}/{predictor}/{metric}": value
            for evaluator, found in self._stage_view().baselines.items()
            for predictor, reached in found.items()
            for metric, value in reached.get("metrics", {}).items()
            if value is not None
        }

    @property
    def figures(self) -> Gallery:
        """The files that evaluators and the trainer have drawn and written; a notebook shows them."""
        return self._gallery("figures")

    @property
    def samples(self) -> Gallery:
        """What evaluators have written during training, such as generated pictures."""
        return self._gallery("samples")

    @property
    def model(self) -> nn.Module:
        """The trained model, on the device of the run and in evaluation mode."""
        model: nn.Module = self._trained().model
        return model.eval()

    @property
    def data(self) -> Data:
        """The data of the run: its splits, its facts, and what it learned from the training split."""
        data: Data = self._trained().built.data
        return data

    @overload
    def predict(self, items: Item, **options: Any) -> dict[str, Any]: ...
    @overload
    def predict(self, items: Iterable[Item] | None = None, **options: Any) -> list[dict[str, Any]]: ...
    def predict(self, items: Item | Iterable[Item] | None = None, **options: Any) -> Any:
        """Apply the model to new items, and return the answers; docs/predict.md has their names.

        Args:
            items: a text or a file, for one answer; or several, or a folder as a `Path`, for a list of answers. None
                for a run that needs no items, such as an agent or a generator of images.
            options: ``top``, how many of the most probable classes to list, too; without items those of the run, which
                ``dlpipe predict RUN --help`` lists.

        Raises:
            InputError: an option, or the only item, cannot be used. Of several items, such a one has the answer
                ``{"item": …, "error": …}``, and a warning says how many there are.
        """
        one = isinstance(items, (str, Path))
        given = [items] if one else items
        with self._used() as trained:
            found = predictions(trained, str(self), given, options, strict=one)  # type: ignore[arg-type]
        return found[0] if one and len(found) == 1 else found

    def evaluate(self, split: str = "test", *overrides: str | Mapping[str, Any]) -> dict[str, float]:
        """Evaluate the model on a split of its data, and return the metrics as ``<evaluator>/<metric>``.

        Args:
            overrides: changes as for `dlpipe.load`, such as ``{"data.path": "elsewhere"}`` for other data.

        Raises:
            InputError: the data has no such split, or an override cannot be used.
        """
        with self._used(overrides) as trained:
            evaluate = load_target("dlpipe.engine.inference:evaluate_run")
            metrics: dict[str, float] = evaluate(trained, split, same_data=not overrides)
        return metrics

    def coach(self, *, target: float | None = None, examples: int = 1000, steps: int = 10) -> dict[str, Any]:
        """Return what is wrong with the training and what to try, as ``dlpipe coach --json`` prints it.

        Args:
            target: a score that would be good; by default, a perfect one.
            examples: of a split to judge, at most.
            steps: of training to watch the model in; they change nothing.

        Raises:
            InputError: the training has not begun.
        """
        with restoring_torch():
            found = load_target("dlpipe.coach.diagnosis:coach")(
                self.path,
                load_plugins(),
                stage=self._stage,
                target=target,
                examples=examples,
                steps=steps,
                allow_local_plugins=self._allow_local_plugins,
            )
        plain: dict[str, Any] = found.plain()
        return plain

    def export(
        self,
        output: str | Path | None = None,
        *overrides: str | Mapping[str, Any],
        format: Literal["torch", "onnx", "safetensors", "dlpipe"] = "torch",
    ) -> Path:
        """Export the model for use without dlpipe or its run, compare it with that of the run, and return the folder.

        Args:
            output: the folder to create; by default ``exports/FORMAT`` in the run.
            overrides: as for `evaluate`.
            format: a program of torch.export, ONNX, the weights alone, or a folder that dlpipe uses like the run.

        Raises:
            InputError: the folder exists, or the model cannot be exported.
            DlpipeError: the exported model computes something else than the run.
        """
        on_cpu = load_target("dlpipe.engine.export:ON_CPU")
        with self._used((on_cpu, *overrides)) as trained:
            folder = Path(output) if output else load_target("dlpipe.engine.export:default_folder")(trained, format)
            if format == "dlpipe":
                load_target("dlpipe.engine.export_folder:export_folder")(trained, folder)
            else:
                load_target("dlpipe.engine.export:export_run")(trained, format, folder)
        return folder

    def report(self, *, coach: bool = False, target: float | None = None) -> ReportFile:
        """Write the report, also while the run is in progress, and return it; a notebook shows the page.

        Args:
            coach: begin with what `coach` says of each stage.
            target: as for `coach`, in the last stage.

        Raises:
            InputError: a package that the report needs is not installed; a target without `coach`, or no stage that
                has begun with it.
        """
        if not coach:
            if target is not None:
                raise InputError(f"report: target={target} has no effect without coach=True; leave it out")
            return ReportFile(load_target("dlpipe.report.run_report:write_report")(self._folder))
        with restoring_torch():
            write = load_target("dlpipe.coach.reported:write_report_with_diagnoses")
            allow = self._allow_local_plugins
            return ReportFile(write(self._folder, load_plugins(), target=target, allow_local_plugins=allow))

    def resume(
        self,
        *changes: str,
        accept_changes: bool = False,
        from_start: bool = False,
        profile: bool = False,
        quiet: bool = False,
    ) -> Run:
        """Resume the run from its last checkpoint; it ends as if it had not been interrupted. Return the run itself.

        A run that has ended is left as it is, with a warning, unless settings change.

        Args:
            changes: settings with which the run continues, such as ``"trainer.epochs=40"``; see docs/runs.md.
            accept_changes: continue although code, data or ``resolved.toml`` are not what the run began with.
            from_start: if no checkpoint can be used, start at step 0 and discard the metrics.
            profile: as for `Experiment.run`.
            quiet: as for `Experiment.run`.

        Raises:
            InputError: something has changed, or cannot change, or no checkpoint can be used.
            Interrupted: Ctrl-C.
            DlpipeError: the run has failed.
        """
        for change in changes:
            if not isinstance(change, str):  # they are recorded as text, from which the report makes a command
                raise InputError(f'resume: {change!r}: expected a text such as "trainer.epochs=40"')
        registry = load_plugins()
        if (status := self._folder.status())["state"] in ENDED_STATES and not changes:
            ended = "finished" if status["state"] == "finished" else status["reason"]
            ends = later_ends(self._folder.resolved(), registry)
            more = ", ".join(f'"{end}"' for end in ends)
            warnings.warn(f"{self} is {ended}; to train longer: resume({more})", stacklevel=2)
            return self
        with restoring_torch():
            load_target("dlpipe.engine.execute:resume")(
                self._folder,
                registry,
                changes,
                allow_local_plugins=self._allow_local_plugins,
                accept_changes=accept_changes,
                from_start=from_start,
                profile=profile,
                quiet=quiet,
            )
        self._opened = None
        return self

    def __repr__(self) -> str:
        return f"Run({relative(self.path)!r})"

    def _repr_html_(self) -> str:
        known = self.summary
        rows = {
            "run": relative(self.path),
            "state": f"{known.state}: {known.reason}" if known.reason else known.state,
            known.metric or "score": "" if known.score is None else shown_number(known.score),
            "step": f"{known.step:,}" + (f" of {known.total_steps:,}" if known.total_steps else ""),
            "took": shown_seconds(known.seconds),
        }
        return html_table(rows.items())

    def _view(self) -> Any:
        return load_target("dlpipe.report.recorded_run:RecordedRun")(self._folder)

    def _stage_view(self) -> Any:
        return next(stage for stage in self._view().stages if stage.name == self._stage)

    def _gallery(self, name: str) -> Gallery:
        root = self._folder.stage(self._stage) / name
        paths = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
        items = load_target("dlpipe.report_items:ITEMS")
        return Gallery(sorted(path for path in paths if path.name != items), root)

    def _trained(self) -> Any:
        """Return the trained stage, opened once."""
        if self._opened is None:
            with restoring_torch():
                self._opened = self._open()
        return self._opened

    def _open(self, overrides: Iterable[str | Mapping[str, Any]] = ()) -> Any:
        source = read_source(self.path / RESOLVED)
        override(source, overrides)
        pipeline = check_source(source, load_plugins(), allow_local_plugins=self._allow_local_plugins)
        for text in pipeline.warnings:
            warnings.warn(text, stacklevel=5)
        opened = load_target("dlpipe.engine.inference:open_stage")
        return opened(pipeline, self._folder, self._stage, self._checkpoint)

    @contextmanager
    def _used(self, overrides: Iterable[str | Mapping[str, Any]] = ()) -> Iterator[Any]:
        """Yield the trained stage with threads, determinism and seed of its pipeline, as a command has them."""
        with restoring_torch():
            trained = self._open(overrides) if overrides else self._trained()
            load_target("dlpipe.compute:configure_torch")(trained.pipeline.settings)
            yield trained


class _Scores(dict[str, float]):
    """The scores of a run by name."""

    def __init__(self, values: Mapping[str, float], run: Run) -> None:
        super().__init__(values)
        self._run = run

    def __missing__(self, name: str) -> float:
        if not self:
            known = self._run.summary
            why = f": {known.reason}" if known.reason else ""
            raise KeyError(f"{name}: {self._run} has no scores on test, it is {known.state}{why}")
        raise KeyError(f"{name}: {self._run} has no such score; it has {', '.join(self)}.{nearest(name, self)}")


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a row has."""
    return {name: value for name, value in row.items() if value is not None}
