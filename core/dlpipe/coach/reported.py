"""What the coach says of a run, as the first part of its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dlpipe.coach.case import Finding
from dlpipe.coach.diagnosis import EXAMPLES, NOTHING, Diagnosis, coach
from dlpipe.messages import shown_number
from dlpipe.registry.loading import Registry
from dlpipe.report.page import Section, Table
from dlpipe.report.recorded_run import RecordedRun
from dlpipe.report.run_report import escaped, require_packages, write_report
from dlpipe.runs.folder import RunFolder

#: The title of the section.
TITLE = "Diagnosis"


def write_report_with_diagnoses(
    folder: RunFolder, registry: Registry, *, target: float | None = None, allow_local_plugins: bool = False
) -> Path:
    """Examine every stage that has begun, write the report of the run with what was found, and return its path.

    Args:
        target: a score that would be good in the last of these stages.

    Raises:
        InputError: no stage has begun to train, the target is infinite, or a package that a report needs is missing.
    """
    require_packages()  # first, as the examination takes a while
    begun: list[str | None] = [stage.name for stage in RecordedRun(folder).stages if stage.known] or [None]
    found = [
        coach(
            folder.path,
            registry,
            stage=name,
            target=target if name == begun[-1] else None,
            allow_local_plugins=allow_local_plugins,
        )
        for name in begun
    ]
    lines = [line for each in found for line in _markdown(each)]
    return write_report(folder, [_section(each) for each in reversed(found)], lines)  # the last stage first


def _title(found: Diagnosis) -> str:
    return f"{found.stage}: {TITLE}" if found.stage else TITLE


def _section(found: Diagnosis) -> Section:
    findings = [_finding(found, number, each) for number, each in enumerate(found.findings, start=1)]
    return Section(_title(found), [_verdict(found), *findings])


def _verdict(found: Diagnosis) -> Table:
    """Return the scores, the verdict and what was not looked at."""
    scores = found.scores
    rows = [[where, shown_number(score)] for where, score in scores.reached().items()] if scores else []
    lead = [found.answer, *(f"note: {note}" for note in found.notes)]
    caption = [f"The answer of {found.command}"]
    if scores:
        caption += [f"Judged with the best checkpoint, on at most {EXAMPLES:,} examples of a split."]
    if found.remedies:
        caption += [
            "To try a change, add its options to the command that repeats the run.",
            f"To write a sweep that compares all of them: {found.command} --sweep try.toml",
        ]
    columns = [scores.metric, "score"] if scores else []
    return Table("Verdict", columns, rows, "\n".join(caption), lead=[*lead, *([] if found.findings else [NOTHING])])


def _finding(found: Diagnosis, number: int, finding: Finding) -> Table:
    rows = [[remedy.name, found.options(remedy)] for remedy in finding.remedies]
    lead = [f"found: {finding.evidence}", f"why: {finding.reason}"]
    title = f"{number}. {finding.title} [{finding.rule}]"
    return Table(title, ["try", "options of dlpipe run"] if rows else [], rows, lead=lead)


def _markdown(found: Diagnosis) -> Iterator[str]:
    """Yield the lines of a summary."""
    yield from [f"## {escaped(_title(found))}", "", escaped(found.answer), ""]
    items = [f"{found.scores.metric}: {found.scores.words()}"] if found.scores else []
    items += [f"note: {note}" for note in found.notes]
    yield from [*(f"* {escaped(item)}" for item in items), ""]
    for number, finding in enumerate(found.findings, start=1):
        texts = (finding.title, finding.rule, finding.evidence, finding.reason)
        title, rule, evidence, reason = map(escaped, texts)
        yield f"{number}. **{title}** ({rule}): {evidence.rstrip('.')}. {reason}"
        yield ""
        if finding.remedies:
            tried = [f"{found.options(remedy)}  # {remedy.name}" for remedy in finding.remedies]
            yield from (f"   {line}" for line in ("```sh", *tried, "```"))
            yield ""
