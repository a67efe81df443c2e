"""Small tables as files."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Write a file of lines into a folder of the test, and return its path."""

    def written(*lines, name="rows.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        return path

    return written
