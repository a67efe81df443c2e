"""Fixtures for the tests of pipeline files."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = (Path(__file__).parent / "good.toml").read_text(encoding="utf-8")


@pytest.fixture
def changed():
    """Replace one line of a pipeline text, counted from 1."""

    def changed(line: int, text: str, base: str = GOOD) -> str:
        lines = base.splitlines()
        lines[line - 1] = text
        return "\n".join(lines) + "\n"

    return changed
