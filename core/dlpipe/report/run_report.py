"""``report.html`` and ``report.md`` of a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlpipe.config.source import leaves
from dlpipe.errors import DlpipeError, InputError
from dlpipe.messages import relative, shown, shown_end, shown_number, shown_seconds
from dlpipe.registry.installation import install_command
from dlpipe.report.curves import draw_metrics
from dlpipe.report.page import Section, Table, Text, missing_packages, render_page
from dlpipe.report.recorded_run import RecordedRun, RecordedStage
from dlpipe.report.shown_files import shown_sections
from dlpipe.runs.files import write_text
from dlpipe.runs.folder import CHANGED, DATA_STATE, LOG, REPORT, RunFolder
from dlpipe.splits import SPLITS

MARKDOWN = "report.md"
#: The charts that are not folded away.
MAX_CHARTS = 4
#: The lines of the log that are shown.
LOG_LINES = 40


def write_report(folder: RunFolder, first: Sequence[Section] = (), first_lines: Sequence[str] = ()) -> Path:
    """Write the report of a run, whether it has ended or not, and return its path.

    Args:
        first: sections above those of the run.
        first_lines: the same for the summary in Markdown.

    Raises:
        InputError: a package that a report needs is not installed.
        DlpipeError: the folder is damaged, or a file cannot be written.
    """
    require_packages()
    run = RecordedRun(folder)
    verdict = verdict_of(run)
    sections = [*first, *_results(run), *_how(run)]
    path = folder.path / REPORT
    try:
        render_page(path, run.name, verdict, sections, state=str(run.status["state"]))
    except OSError as error:
        raise DlpipeError(f"{relative(path)} cannot be written: {error.strerror}") from error
    write_text(folder.path / MARKDOWN, markdown(run, verdict, first_lines))
    return path


def require_packages() -> None:
    """Refuse to write a report without the packages that it needs.

    Raises:
        InputError: one of them is not installed.
    """
    if missing := missing_packages():
        install = install_command("dlpipe[report]")
        raise InputError(f"a report needs {' and '.join(missing)}; install with: {install}")


def verdict_of(run: RecordedRun) -> str:
    """Return in a sentence or two: what was learned, how well, how long it took and why it ended."""
    stage = run.stages[-1]
    parts = [f"{_learner(stage)} on {stage.tables['data']['use']}"]
    metric, value, _ = stage.score
    parts += [f"{metric} {shown_number(value)}{_beside(stage, metric, value)}"] if value is not None else []
    seconds = sum(float(each.ended.get("seconds", 0)) for each in run.stages)
    parts += [f"{shown_seconds(seconds)} of training"] if seconds else []
    reason = _why(run, stage)
    return ", ".join(parts) + (f". {reason[:1].upper()}{reason[1:]}." if reason else ".")


def _beside(stage: RecordedStage, metric: str, value: float) -> str:
    """Return what belongs to a score, in brackets: its interval, and the best simple predictor."""
    interval = stage.interval() if metric.startswith("test/") else None
    parts = [f"90 % interval {shown_number(interval[0])} to {shown_number(interval[1])}"] if interval else []
    parts += [_best_baseline(stage, value)] if stage.beside() else []
    return f" ({'; '.join(parts)})" if parts else ""


def _best_baseline(stage: RecordedStage, value: float) -> str:
    found = stage.beside()
    smaller = stage.score.goal == "min"
    name = (min if smaller else max)(found, key=lambda each: found[each])
    better = found[name] < value if smaller else found[name] > value
    return f"{'worse than ' if better else ''}{name}: {shown_number(found[name])}"


def _learner(stage: RecordedStage) -> str:
    return str(stage.tables.get("model", stage.tables["trainer"])["use"])


def _why(run: RecordedRun, stage: RecordedStage) -> str:
    """Return why the run ended."""
    if reason := str(run.status.get("reason", "")):
        return f"{run.status['state']}: {reason.splitlines()[0].rstrip('.')}"
    if stage.ended:
        return shown_end(stage.ended["reason"], stage.ended["step"])
    steps = [record["step"] for record in stage.records]
    return f"it is at step {max(steps):,.0f}" if steps else ""


def _results(run: RecordedRun) -> Iterator[Section]:
    for stage in reversed(run.stages):
        prefix = f"{stage.name}: " if stage.name else ""
        charts = draw_metrics(stage.records, stage.judged_by)
        tables = [_metrics_table(stage)] if stage.metrics() else []
        yield Section(f"{prefix}Metrics", [*tables, *_baseline_tables(stage)])
        yield Section(f"{prefix}Curves", charts[:MAX_CHARTS])
        yield from shown_sections(stage, run.path, prefix)
        yield Section(f"{prefix}Further curves", charts[MAX_CHARTS:], folded=True)


def _metrics_table(stage: RecordedStage) -> Table:
    """Return a table with a row for each metric and a column for each split."""
    metrics = stage.metrics()
    names = list(dict.fromkeys(name.partition("/")[2] for name in metrics))
    splits = [split for split in SPLITS if any(name.startswith(f"{split}/") for name in metrics)]
    rows = [[name, *(_shown_metric(metrics.get(f"{split}/{name}")) for split in splits)] for name in names]
    caption = "The last value of each"
    if stage.best_step is not None:
        caption += f"; on test, that of the best checkpoint, of step {stage.best_step:,}"
    return Table("", ["metric", *splits], rows, f"{caption}.{_of_train(stage)}")


def _of_train(stage: RecordedStage) -> str:
    """Return a sentence on the evaluators that judged a part of the training examples only."""
    tables = stage.tables.get("evaluators", {})
    counts = {name: table["train_examples"] for name, table in tables.items() if table.get("train_examples")}
    parts = [f"{name} judges at most {count:,} of them" for name, count in counts.items()]
    return f" On train, {', '.join(parts)}, always the same ones." if parts else ""


def _baseline_tables(stage: RecordedStage) -> Iterator[Table]:
    """Yield a table for each evaluator that says what simple predictors reach."""
    metrics = stage.metrics()
    for evaluator, baselines in stage.baselines.items():
        names = list(dict.fromkeys(name for each in baselines.values() for name in each.get("metrics", {})))
        split = "test" if any(f"test/{evaluator}/{name}" in metrics for name in names) else "dev"
        rows = [[_learner(stage), *(_shown_metric(metrics.get(f"{split}/{evaluator}/{name}")) for name in names)]]
        for baseline, each in baselines.items():
            if found := each.get("metrics"):
                rows.append([baseline, *(_shown_metric(found.get(name)) for name in names)])
        reasons = [f"{baseline}: {each['reason']}" for baseline, each in baselines.items() if "reason" in each]
        caption = "Simple predictors, fitted to the training split and judged in the same way."
        yield Table(f"{evaluator} on {split}", ["predictor", *names], rows, " ".join([caption, *reasons]))


def _shown_metric(value: float | None) -> str:
    return "" if value is None else shown_number(value)


def _changes(run: RecordedRun) -> list[list[str]]:
    """Return what was changed while the run continued: after which step, the key, the value before and after."""
    return [
        [
            f"{entry['stage']}: {entry['step']:,}" if entry["stage"] else f"{entry['step']:,}",
            change["key"],
            *("not set" if change.get(when) is None else shown(change[when]) for when in ("from", "to")),
        ]
        for entry in run.provenance.get(CHANGED, ())
        for change in entry["changes"]
    ]


def _how(run: RecordedRun) -> Iterator[Section]:
    if changes := _changes(run):
        caption = "With dlpipe resume --set. A run with these settings from the start may end otherwise."
        yield Section("Changed while it ran", [Table("", ["after step", "key", "before", "after"], changes, caption)])
    if warnings := [*run.provenance.get("warnings", ()), *_caveats(run)]:
        yield Section("Warnings", [Text("", "\n".join(warnings))])
    yield Section("Repeat it", [Text("", repeat_command(run), "In this folder, with the versions below.")])
    yield Section("Pipeline", [_pipeline_table(run)], folded=True)
    yield Section("Provenance", [_provenance_table(run)], folded=True)
    log = run.path / LOG
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        caption = f"The last {LOG_LINES} of {len(lines):,} lines of {LOG}." if len(lines) > LOG_LINES else ""
        yield Section("Log", [Text("", "\n".join(lines[-LOG_LINES:]), caption)], folded=True)


def _caveats(run: RecordedRun) -> list[str]:
    return [f"{table} {text}" for table, texts in run.provenance.get("caveats", {}).items() for text in texts]


def repeat_command(run: RecordedRun) -> str:
    """Return the commands that repeat the run."""
    command = [str(part) for part in run.provenance.get("command", ())]
    if command and Path(command[0]).name == "dlpipe" and command[1:2] == ["run"]:
        lines = [f"cd {shlex.quote(str(run.provenance['folder']))}", shlex.join(["dlpipe", *command[1:]])]
        return "\n".join([*lines, *_resume_commands(run)])
    return shlex.join(["dlpipe", "run", relative(run.path / "resolved.toml")])


def _resume_commands(run: RecordedRun) -> Iterator[str]:
    for entry in run.provenance.get(CHANGED, ()):
        options = [part for each in entry["set"] for part in ("--set", each)]
        place = f"step {entry['step']}" + (f" of stage {entry['stage']}" if entry["stage"] else "")
        yield shlex.join(["dlpipe", "resume", relative(run.path.parent / "latest"), *options]) + f"  # after {place}"


def _pipeline_table(run: RecordedRun) -> Table:
    rows = [[".".join(map(str, path)), shown(value)] for path, value in leaves(run.resolved)]
    return Table("", ["key", "value", "set by"], [[*row, run.origins.get(row[0], "default")] for row in rows])


def _provenance_table(run: RecordedRun) -> Table:
    hidden = ("command", "warnings", "caveats", "code", "identity", "stages", "ended", "first_checkpoint", "changed")
    known = {key: value for key, value in run.provenance.items() if key not in hidden}
    rows = [[".".join(map(str, path)), shown(value)] for path, value in leaves(known)]
    for stage in run.stages:
        if (stage.folder / DATA_STATE).is_file():
            rows.append([f"{stage.name}: data" if stage.name else "data", f"{relative(stage.folder / DATA_STATE)}"])
    return Table("", ["what", "value"], rows)


def markdown(run: RecordedRun, verdict: str, first_lines: Sequence[str] = ()) -> str:
    """Return a summary for a terminal or a pull request."""
    lines = [f"# {escaped(run.name)} ({run.status['state']})", "", escaped(verdict), "", *first_lines]
    for stage in run.stages:
        if stage.metrics():
            table = _metrics_table(stage)
            lines += [f"## {escaped(stage.name)}", ""] if stage.name else []
            lines += [
                _row(table.columns),
                _row(["---", *("---:" for _ in table.columns[1:])]),
                *map(_row, table.rows),
                "",
            ]
            lines += [table.caption, ""]
    for step, key, before, after in _changes(run):
        lines.append(f"* after step {step}, {escaped(key)} changed from {escaped(before)} to {escaped(after)}")
    lines += [""] * bool(_changes(run))
    warnings = [*run.provenance.get("warnings", ()), *_caveats(run)]
    lines += [f"* warning: {escaped(text)}" for text in warnings] + [""] * bool(warnings)
    return "\n".join([*lines, "```sh", repeat_command(run), "```", ""])


def _row(cells: Any) -> str:
    return "| " + " | ".join(escaped(str(cell)) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*[]<>#|" else letter for letter in text.replace("\n", " "))
