"""What evaluators, callbacks and trainers hand over for the report of a run.

They write files into a folder of the run, and say for each how to present it. A file of which nothing is said is
presented by the ending of its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from dlpipe.errors import PluginError
from dlpipe.messages import shown
from dlpipe.runs.files import write_json

__all__ = ["Kind", "ReportItem", "record_items"]

#: How a file is presented: "figure" is a plot, "image" a picture whose pixels matter, "animation" a picture that moves.
Kind = Literal["figure", "image", "animation", "sound", "table", "text"]
#: The file in a folder that says how to present the others.
ITEMS = "report_items.json"


@dataclass(frozen=True)
class ReportItem:
    """A file and how the report presents it.

    Args:
        file: its name in the folder; or that of a folder in it, whose pictures or sounds are shown in a row.
        title: in a few words.
        caption: what is to be seen: rows, columns, axes, units, and how to read it.
        kind: by default, from the ending of the name: "figure" for PNG, JPEG and WebP, "animation" for GIF, APNG, WebM
            and MP4, "sound" for WAV, FLAC, OGG and MP3, "table" for CSV and TSV, "text" for others.

    Raises:
        PluginError: `kind` is none of these, or `file` is not in the folder.
    """

    file: str
    title: str
    caption: str = ""
    kind: Kind | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise PluginError(f"ReportItem({shown(self.file)}): kind = {shown(self.kind)}; expected one of {kinds}")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise PluginError(f"ReportItem({shown(self.file)}): expected the name of a file in the same folder")


def record_items(folder: Path, items: Sequence[ReportItem]) -> None:
    """Record how the report presents files of a folder, which lies anywhere in the folder of the run.

    Evaluators and trainers return the items instead; this is for callbacks. What an earlier call recorded for the
    folder is replaced.

    Raises:
        PluginError: these are no items, or a file is not there.
        DlpipeError: the folder cannot be written.
    """
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise PluginError(f"{type(items).__name__} is handed over for the report; expected a list of ReportItems")
    for item in items:
        if not isinstance(item, ReportItem):
            raise PluginError(f"{shown(item)} is handed over for the report; expected a ReportItem")
        if not (folder / item.file).exists():
            raise PluginError(f"ReportItem({shown(item.file)}): there is no such file in {folder.name}")
    if items or (folder / ITEMS).exists():
        write_json(folder / ITEMS, {"items": [asdict(item) for item in items]})
