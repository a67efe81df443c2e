"""The files that evaluators, callbacks and trainers leave in the folder of a stage, as blocks of a page."""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlpipe.errors import DlpipeError, RunFolderError
from dlpipe.messages import relative, shown
from dlpipe.report.page import Block, Media, Page, Section, Table, Text
from dlpipe.report.recorded_run import RecordedStage
from dlpipe.report_items import ITEMS, Kind, ReportItem
from dlpipe.runs.files import read_json
from dlpipe.runs.folder import FIGURES, SAMPLES

#: How a file is presented of which nothing is said, by the ending of its name.
KINDS: dict[str, Kind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), "figure"),
    **dict.fromkeys((".gif", ".apng", ".webm", ".mp4"), "animation"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), "sound"),
    **dict.fromkeys((".csv", ".tsv"), "table"),
    **dict.fromkeys((".txt", ".json", ".conll", ".html", ".md"), "text"),
}
#: How much of a table and of a text is shown, and how many of a series of pictures.
MAX_ROWS, MAX_COLUMNS, MAX_LINES, MAX_CHARACTERS, MAX_SAMPLES = 20, 16, 40, 4000, 8
_STEP = re.compile(r"step-0*(\d+)")


def shown_sections(stage: RecordedStage, page_folder: Path, prefix: str) -> Iterator[Section]:
    """Yield a section for every folder with something to show.

    Args:
        page_folder: of the page that refers to the files.
        prefix: of the titles.
    """
    root = stage.folder
    listed = {path.parent for path in root.rglob(ITEMS) if "stages" not in path.relative_to(root).parts}
    order = list(stage.tables.get("evaluators", {}))
    figures = [path for path in (root / FIGURES).glob("*") if path.is_dir()]
    figures.sort(key=lambda path: (order.index(path.name) if path.name in order else len(order), path.name))
    for folder in [*figures, *sorted(listed - set(figures))]:
        if folder.parent.name != SAMPLES and (blocks := list(_blocks(folder, page_folder))):
            yield Section(f"{prefix}{_name(stage, folder)}", blocks)
    for folder in sorted(path for path in (root / SAMPLES).glob("*") if path.is_dir()):
        if blocks := list(_samples(folder, page_folder)):
            yield Section(f"{prefix}{_name(stage, folder)} during training", blocks)


def _name(stage: RecordedStage, folder: Path) -> str:
    """Return what the pipeline calls whoever wrote into a folder, with the name of the component."""
    for group in ("evaluators", "callbacks"):
        if folder.name in stage.tables.get(group, {}):
            return f"{folder.name} ({stage.tables[group][folder.name]['use']})"
    return folder.name


def _blocks(folder: Path, page_folder: Path) -> Iterator[Block]:
    items = _items(folder)
    others = [path for path in sorted(folder.iterdir()) if path.name not in items and not path.name.startswith(".")]
    for name, item in items.items():
        if (folder / name).exists():
            yield _block(folder / name, page_folder, item.title, item.caption, item.kind)
    for path in others:
        if path.name != ITEMS and (path.suffix.lower() in KINDS or path.is_dir()):
            yield _block(path, page_folder, _title(path.stem), "", None)


def _items(folder: Path) -> dict[str, ReportItem]:
    """Return what was recorded of the files of a folder, by name; a damaged record counts as none, with a warning."""
    try:
        recorded = read_json(folder / ITEMS)["items"] if (folder / ITEMS).is_file() else []
        items = [ReportItem(item["file"], item["title"], item["caption"], item["kind"]) for item in recorded]
        if outside := [item.file for item in items if _leads_out(folder, item.file)]:
            raise RunFolderError(f"{shown(outside[0])} is not in this folder")
    except DlpipeError as error:
        warnings.warn(f"{relative(folder / ITEMS)} is not used: {error}", stacklevel=2)
        return {}
    return {item.file: item for item in items}


def _leads_out(folder: Path, name: str) -> bool:
    path = folder / name
    return path.exists() and not path.resolve().is_relative_to(folder.resolve())


def _title(stem: str) -> str:
    return stem.replace("_", " ").replace("-", " ").capitalize()


def _block(path: Path, page_folder: Path, title: str, caption: str, kind: Kind | None) -> Block:
    if path.is_dir():
        return _row(path, title, caption, kind)
    kind = kind or KINDS.get(path.suffix.lower(), "text")
    if kind == "table":
        return _table(path, page_folder, title, caption)
    if kind == "text":
        return Page(title, path, caption) if path.suffix == ".html" else _text(path, page_folder, title, caption)
    return Media(title, [("", path)], kind, caption)


def _row(folder: Path, title: str, caption: str, kind: Kind | None) -> Media:
    """Return the pictures or sounds of a folder in a row: those of the kind of the first of them."""
    kinds: dict[Path, Kind] = {
        path: KINDS.get(path.suffix.lower(), "text") for path in sorted(folder.iterdir()) if path.is_file()
    }
    media: dict[Path, Kind] = {path: each for path, each in kinds.items() if each not in ("text", "table")}
    found: list[Kind] = [*media.values(), "figure"]
    shown = kind or found[0]
    files = [(path.stem.replace("_", " "), path) for path, each in media.items() if each == shown]
    return Media(title, files, shown, caption)


def _table(path: Path, page_folder: Path, title: str, caption: str) -> Table:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        heading = next(rows, [])
        kept = [row[:MAX_COLUMNS] for _, row in zip(range(MAX_ROWS), rows, strict=False)]
        left_out = sum(1 for _ in rows)
    name = Path(os.path.relpath(path, page_folder)).as_posix()
    if len(heading) > MAX_COLUMNS:
        caption = f"{caption} {len(heading) - MAX_COLUMNS} more columns in {name}.".strip()
    return Table(title, heading[:MAX_COLUMNS], kept, caption, left_out, name)


def _text(path: Path, page_folder: Path, title: str, caption: str) -> Text:
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_CHARACTERS + 1)
    lines = text[:MAX_CHARACTERS].splitlines()
    if len(text) > MAX_CHARACTERS or len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"… continues in {Path(os.path.relpath(path, page_folder)).as_posix()}"]
    return Text(title, "\n".join(lines), caption, wrap=False)


def _samples(folder: Path, page_folder: Path) -> Iterator[Block]:
    """Yield a row of pictures or sounds for each series of files that differ in the step, and the other files."""
    items = _items(folder)
    series: dict[tuple[str, str], list[tuple[int, Path]]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ITEMS):
        if path.suffix not in KINDS or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        if found := _STEP.search(name):
            series[_STEP.sub("", name), path.suffix].append((int(found[1]), path))
        else:
            item = items.get(name, ReportItem(name, _title(path.stem)))
            yield _block(path, page_folder, item.title, item.caption, item.kind)
    for (name, suffix), files in series.items():
        item = next((item for file, item in items.items() if _STEP.sub("", file) == name), ReportItem(name, ""))
        kept = _spread(sorted(files))
        note = f"{len(kept)} of {len(files)} are shown." if len(kept) < len(files) else ""
        title = item.title or _title(name.removesuffix(suffix).strip("-_/")) or "Samples"
        caption = f"{item.caption} {note}".strip()
        kind = item.kind or KINDS[suffix]
        if kind in ("table", "text"):
            yield _block(kept[-1][1], page_folder, f"{title}, step {kept[-1][0]:,}", caption, kind)
        else:
            yield Media(title, [(f"step {step:,}", path) for step, path in kept], kind, caption)


def _spread(files: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Return the first, the last and evenly spaced files in between."""
    if len(files) <= MAX_SAMPLES:
        return list(files)
    last = len(files) - 1
    return [files[round(place * last / (MAX_SAMPLES - 1))] for place in range(MAX_SAMPLES)]
