"""The pipelines that come with dlpipe: in the package if it was built into a wheel, else in the clone."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from dlpipe.errors import InputError
from dlpipe.messages import nearest

_SCHEMA = re.compile(r"#:schema\s+(\S+)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")


@cache
def shipped_pipelines() -> dict[str, Path]:
    """Return the pipeline files that come with dlpipe by name: ``slot_filling``, ``recipe/depth``."""
    package = Path(str(resources.files("dlpipe")))
    folder = package / "pipelines"
    if not folder.is_dir():
        folder = package.parents[1] / "pipelines"  # of a clone, where the package is core/dlpipe
    files = sorted(folder.rglob("*.toml"), key=lambda file: (len(file.parts), file))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def file_of(name: str) -> Path:
    """Return the file that a person means: a path, or a pipeline that comes with dlpipe if there is no such file."""
    path, shipped = Path(name), shipped_pipelines().get(name)
    return shipped if shipped and not path.exists() else path


def summary_of(file: Path) -> str:
    """Return the first sentence of the comment at the top of a pipeline file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = lines[1:] if lines and _SCHEMA.match(lines[0]) else lines
    comment: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return _SENTENCE_END.split(" ".join(comment), maxsplit=1)[0]


def copy_shipped(name: str, output: Path | None = None) -> list[Path]:
    """Copy a pipeline that comes with dlpipe, and the files it needs: those it extends, and local plugins.

    Args:
        output: the new file, or an existing folder for it; by default a file of the same name in the working directory.

    Returns:
        the new files, the pipeline first. A needed file that is already there with the same content is not copied.

    Raises:
        InputError: there is no such pipeline, a file already exists, or it cannot be written.
    """
    known = shipped_pipelines()
    if name not in known:
        raise InputError(f"dlpipe has no pipeline {name!r}.{nearest(name, known)} See: dlpipe list pipelines")
    source = known[name]
    output = output or Path()
    output = output / source.name if output.is_dir() else output
    copies = {output: _adapted(source, output.parent)}
    for needed in _needed_by(source):
        target = output.parent / needed.relative_to(source.parent)
        content = _adapted(needed, target.parent)
        if not target.exists() or target.read_bytes() != content:
            copies[target] = content
    for target in copies:
        if target.exists():
            raise InputError(f"{target} already exists; remove it, or choose another --output")
    for target, content in copies.items():
        try:
            target.write_bytes(content)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}; choose another --output") from error
    return list(copies)


def _needed_by(file: Path) -> list[Path]:
    """Return the files that a pipeline extends and the local plugins that they name."""
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    needed = [file.parent / plugin for plugin in values.get("plugins", [])]
    if "extends" in values:
        base = file.parent / values["extends"]
        needed += [base, *_needed_by(base)]
    return needed


def _adapted(file: Path, folder: Path) -> bytes:
    """Return the content of a file for another folder: its ``#:schema`` line names a schema there, or is dropped."""
    content = file.read_bytes()
    first, _, rest = content.partition(b"\n")
    schema = _SCHEMA.match(first.decode("utf-8", "replace"))
    if not schema:
        return content
    name = Path(schema.group(1)).name
    return f"#:schema ./{name}\n".encode() + rest if (folder / name).is_file() else rest
