"""Components that are written in the plain way satisfy the protocols, for a type checker too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlpipe.data import Columns
from dlpipe.evaluation import Examples
from dlpipe.protocols import (
    Data,
    Evaluator,
    SupportsCaveats,
    SupportsMetricWeights,
    SupportsNotes,
    SupportsPaddings,
    SupportsSamples,
    Trainer,
)


class Points:
    splits = ("train", "dev")
    facts = {"num_inputs": 3}
    paddings = {"points": 0}

    def split(self, name: str) -> Columns:
        return Columns({"points": torch.zeros(8, 3)})

    def state(self) -> dict[str, list[str]]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None: ...

    def fingerprint(self) -> str:
        return ""


class Methods:
    def steps(self) -> Iterator[dict[str, Tensor]]:
        yield {}

    def log_values(self) -> dict[str, float]:
        return {}

    def on_score(self, score: float, goal: str) -> None: ...

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Learn(Methods):
    steps_per_epoch = None
    caveats = ["chance"]
    notes = ("small",)
    metric_weights = {"return": "episodes"}  # noqa: RUF012

    def __init__(self, model: nn.Module) -> None:
        self.model = model


class Counted(Methods):
    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self.steps_per_epoch = 8


class Judging:
    def evaluate(self, model: nn.Module, examples: Examples) -> dict[str, float]:
        return {"mae": 0}

    def write(self, folder: Path) -> None: ...

    def sample(self, folder: Path, step: int) -> None: ...


class Judge(Judging):
    primary = "mae"
    goal = "min"


class Draw(Judging):
    primary = None
    goal = ""


data: Data = Points()
padded: SupportsPaddings = Points()
trainer: Trainer = Learn(nn.Linear(3, 2))
counted: Trainer = Counted(nn.Sequential())
careful: SupportsCaveats = Learn(nn.Linear(3, 2))
telling: SupportsNotes = Learn(nn.Linear(3, 2))
weighing: SupportsMetricWeights = Learn(nn.Linear(3, 2))
evaluator: Evaluator = Judge()
drawing: Evaluator = Draw()
sampling: SupportsSamples = Judge()
"""


@pytest.mark.slow
def test_plain_components_satisfy_the_protocols(tmp_path, mypy_cache):
    pytest.importorskip("mypy")
    (tmp_path / "plain.py").write_text(PLAIN)

    with mypy_cache.options() as options:
        checked = subprocess.run(
            [sys.executable, "-m", "mypy", *options, "--config-file=", "plain.py"],
            cwd=tmp_path,
            env=os.environ | {"MYPYPATH": str(ROOT / "core")},
            capture_output=True,
            text=True,
            check=False,
        )

    assert checked.stdout == "Success: no issues found in 1 source file\n"
