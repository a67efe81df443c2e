"""What the JSON files of a run folder contain; `dlpipe.runs.files` checks them against it."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field, Strict
from typing_extensions import TypedDict

Text = Annotated[str, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]


class Status(TypedDict):
    """``status.json``: the outcome of a run."""

    state: Text
    reason: NotRequired[Text]
    time: NotRequired[Annotated[float, Strict(), Field(allow_inf_nan=False)]]
    pid: NotRequired[Count]
    seconds: NotRequired[Annotated[float, Strict(), Field(allow_inf_nan=False)]]


class StageRecord(TypedDict):
    """What is known of a stage when it begins: by which metrics it and its checkpoints are judged, and its steps.

    ``goals`` has the primary metric of each evaluator, such as "slots/f1".
    """

    metric: Text
    goal: Text
    monitor: Text
    monitor_goal: Text
    goals: NotRequired[dict[str, Text]]
    primary_depends_on: NotRequired[dict[str, dict[str, Any]]]
    total_steps: Count | None


class Machine(TypedDict):
    """Where a run was started."""

    host: NotRequired[Text]
    gpus: NotRequired[list[Text]]


class Ended(TypedDict):
    """How the training of a stage ended; ``tested`` is the size of its metrics with the evaluation that follows."""

    reason: Text
    step: Count
    seconds: Annotated[float, Strict()]
    tested: NotRequired[Count]


class ChangedValue(TypedDict):
    """A setting that has another value from some step on; null is one that is not set."""

    key: Text
    to: Any


class Changed(TypedDict):
    """Settings that were changed when a run was resumed.

    ``step`` is that of the checkpoint from which the stage continued with them; ``restarts`` is what began again.
    """

    stage: Text
    step: Count
    time: Text
    set: list[Text]
    changes: list[ChangedValue]
    restarts: list[Text]


class PendingFiles(TypedDict):
    """The content of files that are about to be written, and the stage that continues.

    Earlier versions recorded no stage, since they removed what says that it ended before they recorded the rest.
    """

    stage: NotRequired[Text]
    resolved: Text
    origins: dict[str, Text]


class Provenance(TypedDict):
    """``provenance.json``: what the numbers of a run depend on."""

    threads: NotRequired[Annotated[int, Strict(), Field(ge=1, le=4096)] | None]
    fast: NotRequired[Annotated[bool, Strict()]]
    versions: NotRequired[dict[str, Text | None]]
    code: NotRequired[dict[str, Text]]
    machine: NotRequired[Machine]
    caveats: NotRequired[dict[str, list[Text]]]
    warnings: NotRequired[list[Text]]
    first_checkpoint: NotRequired[dict[str, Count]]
    stages: NotRequired[dict[str, StageRecord]]
    ended: NotRequired[dict[str, Ended]]
    accepted_changes: NotRequired[list[Any]]
    changed: NotRequired[list[Changed]]
    pending: NotRequired[PendingFiles]


class DataState(TypedDict):
    """``data.json``: what the data learned from the training split."""

    fingerprint: Text
    state: dict[str, Any]


class FileEntry(TypedDict):
    """One file of a checkpoint."""

    size: Count
    sha256: Text


class Manifest(TypedDict):
    """``manifest.json`` of a checkpoint."""

    step: Count
    best: Annotated[bool, Strict()]
    files: dict[str, FileEntry]
    weights_only: NotRequired[Annotated[bool, Strict()]]


class Export(TypedDict):
    """``export.json``: what was exported, and how."""

    format: Text
    run: Text
    checkpoint: Count


class Prediction(TypedDict):
    """One line of ``predictions.jsonl``: what an evaluator found for an example.

    ``metric`` is the primary metric, the weighted mean of the scores; a score of null is not defined, or not finite.
    """

    metric: Text
    row: Count
    name: NotRequired[Text]
    true: NotRequired[Any]
    predicted: NotRequired[Any]
    score: Annotated[float, Strict(), Field(allow_inf_nan=False)] | None
    weight: NotRequired[Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]]


class Baseline(TypedDict):
    """What a simple predictor reaches, in ``baselines.json`` by evaluator and name, or why that is not known.

    A metric of null is not finite.
    """

    metrics: NotRequired[dict[str, Annotated[float, Strict()] | None]]
    examples: NotRequired[Count]
    reason: NotRequired[Text]


class PresentedFile(TypedDict):
    """A file and how the report presents it; see `dlpipe.report_items.ReportItem`."""

    file: Text
    title: Text
    caption: Text
    kind: Text | None


class PresentedFiles(TypedDict):
    """``report_items.json``."""

    items: list[PresentedFile]


class FinishedStage(TypedDict):
    """``stage.json``: what the result of a stage depends on."""

    ingredients: dict[str, Any]


class TrackedRun(TypedDict):
    """``wandb.json`` and ``mlflow.json``: what a tracking service has got of a run."""

    id: Text
    steps: dict[str, Count]


#: One line of ``metrics.jsonl``: numbers by name; null is one that is not finite.
MetricsRecord = dict[str, Annotated[float, Strict(), Field(allow_inf_nan=False)] | None]

#: The schema of each JSON file in a run folder, by its name, or of each of its lines; further keys are allowed.
SCHEMAS: dict[str, Any] = {
    "metrics.jsonl": MetricsRecord,
    "predictions.jsonl": Prediction,
    "status.json": Status,
    "provenance.json": Provenance,
    "data.json": DataState,
    "manifest.json": Manifest,
    "baselines.json": dict[str, dict[str, Baseline]],
    "stage.json": FinishedStage,
    "report_items.json": PresentedFiles,
    "export.json": Export,
    "wandb.json": TrackedRun,
    "mlflow.json": TrackedRun,
}
