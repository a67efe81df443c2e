"""Collecting what is known of a run, and asking the rules about it."""

from __future__ import annotations

import math
import shlex
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from dlpipe.coach.asking import findings
from dlpipe.coach.case import Case, Finding, Remedy
from dlpipe.coach.curves import PARTS, Curve, curves_of
from dlpipe.coach.examination import examine
from dlpipe.coach.verdict import IN_WORDS, Scores, Verdict
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline, Reference
from dlpipe.config.source import dotted
from dlpipe.config.tables import keys_of
from dlpipe.config.toml_text import inline
from dlpipe.data.columns import Columns
from dlpipe.engine.build import TrainingComponents, build_for_training
from dlpipe.engine.inference import open_reference
from dlpipe.engine.measure import count_examples, stepper
from dlpipe.engine.planning import alone
from dlpipe.engine.restore import restore_trainer
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.errors import InputError, PipelineError
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.messages import relative
from dlpipe.registry.loading import Registry
from dlpipe.report.recorded_run import RecordedRun, RecordedStage
from dlpipe.runs.checkpoint import Checkpoints, load_weights
from dlpipe.runs.folder import RESOLVED, RunFolder
from dlpipe.splits import DEV, TEST, TRAIN

#: Baselines that look at no input.
TRIVIAL = ("core.majority_class", "core.mean")
#: How many examples of a split are judged, at most, if nothing else is said.
EXAMPLES = 1000
#: What is said if there are no findings.
NOTHING = "no rule found anything to change"
#: What a sweep calls the pipeline without any remedy.
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Diagnosis:
    """What the coach says of a stage.

    Args:
        run: its folder.
        stage: its name; empty if the pipeline has only one.
        title: its data, model and trainer.
        scores: None if nothing judges it.
        notes: what was not looked at, and why.
        findings: faults first.
    """

    run: Path
    stage: str
    title: str
    scores: Scores | None
    verdict: Verdict
    notes: list[str]
    findings: list[Finding]

    def assignments(self, remedy: Remedy) -> list[str]:
        """Return a remedy as ``--set`` takes it."""
        return assignments(in_stage(self.stage, remedy.values))

    def options(self, remedy: Remedy) -> str:
        """Return the options of ``dlpipe run`` that try a remedy, as a shell reads them."""
        return " ".join(f"--set {shlex.quote(each)}" for each in self.assignments(remedy))

    @property
    def command(self) -> str:
        """The command line that gives this answer."""
        target = self.scores and self.scores.target
        options = [f" --stage {shlex.quote(self.stage)}"] if self.stage else []
        options += [] if target is None else [f" --target {target!r}"]
        return "".join([RunFolder(self.run).command("coach"), *options])

    @property
    def answer(self) -> str:
        """The verdict in words."""
        if self.verdict != "unknown":
            return IN_WORDS[self.verdict]
        return f"none, since {self.scores.why_unknown() if self.scores else 'there is no score'}"

    @property
    def remedies(self) -> list[Remedy]:
        """The remedies of all findings, each change once; of two with one name, the second has a number."""
        found: dict[str, Remedy] = {}
        for remedy in [each for finding in self.findings for each in finding.remedies]:
            if any(each.values == remedy.values for each in found.values()):
                continue
            same = sum(name == remedy.name or name.startswith(f"{remedy.name} (") for name in (UNCHANGED, *found))
            name = f"{remedy.name} ({same + 1})" if same else remedy.name
            found[name] = replace(remedy, name=name)
        return list(found.values())

    def plain(self) -> dict[str, Any]:
        """Return it, JSON-serializable."""
        found = [
            {"rule": each.rule}
            | asdict(each)
            | {
                "remedies": [
                    {"name": remedy.name, "set": in_stage(self.stage, remedy.values)} for remedy in each.remedies
                ]
            }
            for each in self.findings
        ]
        scores = None
        if self.scores:
            trivial = self.scores.trivial and dict(zip(("name", "score"), self.scores.trivial, strict=True))
            shares = {"left": _finite(self.scores.left), "gap": _finite(self.scores.gap)}
            scores = asdict(self.scores) | {"trivial": trivial} | shares
        return {
            "run": str(self.run),
            "stage": self.stage or "pipeline",
            "verdict": self.verdict,
            "scores": scores,
            "notes": self.notes,
            "findings": found,
        }


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Return values by their paths as ``--set`` takes them; a name, such as "relu", needs no quotation marks."""
    return [
        f"{path}={value if isinstance(value, str) and value.isidentifier() else inline(value)}"
        for path, value in values.items()
    ]


def in_stage(stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their paths in the pipeline file, given those in a stage."""
    return {f"{dotted(('stages', stage))}.{path}" if stage else path: value for path, value in values.items()}


def coach(
    path: Path,
    registry: Registry,
    *,
    stage: str | None = None,
    target: float | None = None,
    examples: int = EXAMPLES,
    steps: int = 10,
    allow_local_plugins: bool = False,
) -> Diagnosis:
    """Say what is wrong with the training of a stage, and what to try.

    Args:
        path: the run folder.
        stage: the last one if not given.
        target: a score that would be good.
        examples: how many of each split are judged, at most.
        steps: of training in which the model is watched, before training and after it. They change nothing.

    Raises:
        InputError: it is not a run folder, has no such stage, or has not begun to train it; or the target is infinite.
    """
    if target is not None and not math.isfinite(target):
        raise InputError(f"target {target}: expected a finite number")
    folder = RunFolder.open(path)

    def load(*assignments: str) -> Pipeline:
        return load_pipeline(folder.path / RESOLVED, registry, assignments, allow_local_plugins=allow_local_plugins)

    pipeline = load()
    chosen = pipeline.stage(stage)
    run = RecordedRun(folder)
    recorded = next(each for each in run.stages if each.name == chosen.name)
    if not recorded.known:
        what = f"stage {chosen.name} of {relative(folder.path)}" if chosen.name else relative(folder.path)
        raise InputError(f"{what} has not begun its training; train it first: {folder.command('resume')}")
    examiner = _Examiner(pipeline, folder, recorded, target=target, most=examples)
    case = examiner.case(run.status, steps)

    def fits(remedy: Remedy) -> bool:
        try:
            load(*assignments(in_stage(chosen.name, remedy.values)))
        except PipelineError:
            return False
        return True

    found = findings(registry.components["rule"].values(), case, examiner.notes.append, fits)
    title = ", ".join(each.component.name for each in (chosen.data, chosen.model, chosen.trainer) if each)
    return Diagnosis(folder.path, chosen.name, title, case.scores, case.verdict, examiner.notes, found)


class _Examiner:
    """Collects what is known of a stage."""

    def __init__(
        self, pipeline: Pipeline, folder: RunFolder, recorded: RecordedStage, *, target: float | None, most: int
    ) -> None:
        self.notes: list[str] = []
        self._pipeline, self._folder, self._recorded = pipeline, folder, recorded
        # Neither compiled code nor a scaled loss can be watched.
        self._settings = replace(pipeline.settings, compile=False, precision="float32")
        self._stage = pipeline.stages[recorded.name]
        self._keys = keys_of(self._stage.trainer.component.spec).keys()
        self._target, self._most = target, most

    def case(self, status: Mapping[str, Any], steps: int) -> Case:
        """Return what is known.

        Args:
            status: of the run.
            steps: to watch the model in.
        """
        stage, recorded = self._stage, self._recorded
        checkpoints = Checkpoints(recorded.folder / "checkpoints", warn=warnings.warn)
        first = after = scores = moved = None
        with (
            alone(self._pipeline, "dlpipe coach"),
            build_for_training(self._settings, stage, self._find, starts=True) as components,
        ):
            trainer, model = components.trainer, components.live_model
            # What is fitted at once, such as nearest neighbors, cannot be asked before.
            untrained = self._judged(components) if any("optimizer" in key for key in self._keys) else {}
            minimizes = {"optimizer", "loss"} <= self._keys and _has_examples(components, TRAIN)
            watches = self._can_watch(minimizes)
            if watches:
                first = examine(model, stepper(stage, trainer), steps)
            start = {name: weights.detach().clone() for name, weights in model.named_parameters()}
            last, best = checkpoints.find("last"), checkpoints.find("best")
            if last is None or best is None:
                self.notes.append("the run has no checkpoint, so only its start was examined")
            else:
                restore_trainer(trainer, last)
                moved = _moved(start, model)
                at_end = self._judged(components)
                if watches:
                    after = examine(model, stepper(stage, trainer), steps)
                load_weights(best, trainer.model)
                scores = self._scores(components, untrained, at_end)
            train_examples = count_examples(components.data, TRAIN) if TRAIN in components.data.splits else None
        curves = curves_of(recorded.records, recorded.judged_by, recorded.goal)
        if not minimizes:  # the loss of an agent is none of its performance
            curves = replace(curves, loss=Curve([]))
        if watches and not curves.loss.known:
            self.notes.append(f"train/loss has fewer than {PARTS} points: a lower [trainer] log_every shows its course")
        if status.get("state") == "running":
            self.notes.append("the run has not ended: this is what it is so far")
        return Case(
            stage,
            steps=max((record["step"] for record in recorded.records), default=0),
            steps_per_epoch=trainer.steps_per_epoch,
            train_examples=train_examples,
            problem=str(status.get("reason", "")) if status.get("state") == "failed" else "",
            curves=curves,
            scores=scores,
            first=first,
            last=after,
            moved=moved,
            records=recorded.records,
        )

    def _find(self, reference: Reference) -> TrainedModel:
        return open_reference(self._pipeline, self._folder, reference).built.trained

    def _can_watch(self, minimizes: bool) -> bool:
        trainer = self._stage.trainer
        optimizer = trainer.values.get("optimizer")
        if not minimizes:
            why = f"{trainer.component.name} minimizes no loss over training examples"
        elif isinstance(optimizer, Mapping) and optimizer.get("use") == "lbfgs":
            why = "a step of lbfgs evaluates the loss with several weights"
        else:
            return True
        self.notes.append(f"gradients and units were not examined: {why}")
        return False

    def _judged(self, components: TrainingComponents) -> dict[str, float]:
        """Return the score of the model as it is by the metric that decides, on train and on the other split."""
        evaluator, _, metric = self._recorded.judged_by.partition("/")
        if not metric:
            return {}
        splits = [TRAIN] if self._judges_train(components, evaluator) else []
        splits += [split for split in (DEV, TEST) if split in components.data.splits][:1]
        found = {}
        for split in splits:
            judges = {evaluator: components.evaluators[evaluator]}
            examples = Examples(components.data, split, components.compute, most=self._most)
            metrics = evaluate(components.trained_model, judges, examples, stage=self._stage.name)
            score = metrics.get(f"{split}/{evaluator}/{metric}", math.nan)
            if math.isfinite(score):
                found[split] = score
        return found

    def _judges_train(self, components: TrainingComponents, evaluator: str) -> bool:
        reason = self._stage.evaluators[evaluator].component.spec.not_on_train
        return not reason and _has_examples(components, TRAIN)

    def _scores(
        self, components: TrainingComponents, untrained: Mapping[str, float], at_end: Mapping[str, float]
    ) -> Scores | None:
        recorded = self._recorded
        if not recorded.judged_by:
            self.notes.append("no evaluator has a primary metric: there is no verdict")
            return None
        found = self._judged(components)
        other = next((split for split in found if split != TRAIN), "")
        evaluator, _, metric = recorded.judged_by.partition("/")
        baselines = recorded.baselines.get(evaluator, {})
        reached = {name: baselines.get(name, {}).get("metrics", {}).get(metric) for name in TRIVIAL}
        trivial = [(name, float(score)) for name, score in reached.items() if score is not None]
        return Scores(
            recorded.judged_by,
            recorded.goal,
            train=found.get(TRAIN),
            other=found.get(other),
            split=other,
            count=self._count(components, other),
            train_count=self._count(components, TRAIN),
            at_end=at_end.get(TRAIN),
            untrained=untrained.get(TRAIN, untrained.get(other)),
            trivial=trivial[0] if trivial else None,
            target=self._target,
        )

    def _count(self, components: TrainingComponents, split: str) -> int | None:
        """Return how many examples of a split are judged."""
        count = count_examples(components.data, split) if split in components.data.splits else None
        return None if count is None else min(count, self._most)


def _has_examples(components: TrainingComponents, split: str) -> bool:
    return split in components.data.splits and isinstance(components.data.split(split), Columns | Dataset)


def _moved(start: Mapping[str, Tensor], model: nn.Module) -> float | None:
    """Return how far the parameters that are trained are from others, as a share of their size: the median."""
    moved = [
        float((weights.detach() - start[name]).norm() / size)
        for name, weights in model.named_parameters()
        if weights.requires_grad and (size := start[name].norm()) > 0
    ]
    return statistics.median(moved) if moved else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
