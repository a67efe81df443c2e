"""Files of a run that a notebook shows: figures, samples, the report."""

from __future__ import annotations

import base64
import html
import mimetypes
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from dlpipe.messages import relative, shown_size

#: Bytes of pictures and sounds that the display of a gallery holds; the others are named only.
MEDIA_BYTES = 2_400_000
_FIGURE, _FRAME = "display:inline-block;margin:4px", "width:100%;height:640px;border:1px solid #ccc"
#: How the files of a kind are shown, by the start of their media type.
_TAGS = {
    "image": '<img src="{data}" style="max-width:100%">',
    "audio": '<audio controls src="{data}"></audio>',
    "video": '<video controls src="{data}" style="max-width:100%"></video>',
}


class Gallery(Sequence[Path]):
    """Paths of files; a notebook shows the pictures, sounds and videos among them.

    Args:
        root: the folder that names are shown relative to.
    """

    def __init__(self, paths: Iterable[Path], root: Path) -> None:
        self._paths, self._root = list(paths), root

    @overload
    def __getitem__(self, key: int) -> Path: ...
    @overload
    def __getitem__(self, key: slice) -> Gallery: ...
    def __getitem__(self, key: int | slice) -> Any:
        return Gallery(self._paths[key], self._root) if isinstance(key, slice) else self._paths[key]

    def __len__(self) -> int:
        return len(self._paths)

    def matching(self, pattern: str) -> Gallery:
        """Return the files whose name, relative to the run, matches a pattern such as ``*confusion*``."""
        return Gallery((path for path in self._paths if self._named(path).match(pattern)), self._root)

    def __repr__(self) -> str:
        return "\n".join(str(self._named(path)) for path in self._paths) or "(no files)"

    def _repr_html_(self) -> str:
        left, parts = MEDIA_BYTES, []
        for path in self._paths:
            kind = mimetypes.guess_type(path.name)[0] or ""
            size = path.stat().st_size
            shown, caption = "", html.escape(str(self._named(path)))
            if kind.partition("/")[0] in _TAGS and size <= left:
                left -= size
                data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
                shown = _TAGS[kind.partition("/")[0]].format(data=data)
            else:
                caption += f" ({shown_size(size)}, {html.escape(relative(path))})"
            parts.append(f'<figure style="{_FIGURE}">{shown}<figcaption>{caption}</figcaption></figure>')
        return "".join(parts) or "<p>no files</p>"

    def _named(self, path: Path) -> Path:
        return path.relative_to(self._root)


class ReportFile:
    """The report of a run; a notebook shows the page, which runs no script but its own and asks no network.

    Attributes:
        path: of ``report.html``; the summary in Markdown is beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def markdown(self) -> str:
        """The summary in Markdown."""
        return self.path.with_suffix(".md").read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return f"ReportFile({relative(self.path)!r})"

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe sandbox="allow-scripts" srcdoc="{page}" style="{_FRAME}"></iframe>'
