"""Fixtures of the text plugin's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def write(tmp_path):
    """Write bytes or text to a file, with line endings unchanged."""

    def write(content, name="given.iob"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
