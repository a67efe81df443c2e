"""Small trainings, and cases made by hand, for tests of the rules of ``dlpipe coach``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dlpipe.coach import Case, Finding
from dlpipe.coach.asking import findings
from dlpipe.coach.curves import curves_of
from dlpipe.coach.diagnosis import assignments, coach
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.engine.execute import run
from dlpipe.registry.loading import load_plugins

REGISTRY = load_plugins()


class Patient:
    """A pipeline with one stage, and what is done to it.

    Args:
        folder: for the pipeline file and its runs.
        text: of the file.
    """

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.file = folder, folder / "patient.toml"
        self.file.write_text(text)

    def pipeline(self, *changes: str) -> Pipeline:
        """Return the pipeline with changes."""
        return load_pipeline(self.file, REGISTRY, changes)

    def trained(self, *changes: str) -> list[Finding]:
        """Train it, and return what the coach finds."""
        path = run(self.pipeline(*changes), REGISTRY, self.folder / "runs").path
        found = coach(path, REGISTRY, examples=20)
        assert not [note for note in found.notes if "the rule" in note]
        return found.findings

    def case(self, metrics: Mapping[str, Sequence[float]], *changes: str, steps: int = 1000) -> Case:
        """Return what would be known if these were its metrics, each over the whole training."""
        records = [
            {"step": steps * number // len(values), name: value}
            for name, values in metrics.items()
            for number, value in enumerate(values, start=1)
        ]
        curves = curves_of(records, "", "max")
        return Case(self.pipeline(*changes).stages[""], steps, None, None, "", curves, None, records=records)

    def asked(self, metrics: Mapping[str, Sequence[float]], *changes: str, steps: int = 1000) -> dict[str, Finding]:
        """Return what is found in such a case, by rule."""
        return self.asked_about(self.case(metrics, *changes, steps=steps), *changes)

    def asked_about(self, case: Case, *changes: str) -> dict[str, Finding]:
        """Return what is found in a case of the pipeline with changes, by rule; all remedies must be taken."""
        found = {each.rule: each for each in findings(REGISTRY.components["rule"].values(), case, pytest.fail)}
        for each in found.values():
            for remedy in each.remedies:
                self.pipeline(*changes, *assignments(remedy.values))
        return found
