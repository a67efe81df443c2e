"""The command that installs an extra, given how its distribution was installed."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(extra: str) -> str:
    """Return the command that installs an extra such as ``"dlpipe[vision]"``.

    A clone, a folder, a file or a repository is not on an index under its name, so the command names the same source
    again. The source is the one that pip recorded in ``direct_url.json`` (PEP 610) of the distribution.
    """
    name, _, extras = extra.partition("[")
    origin = _direct_url(name)
    url = str(origin.get("url", ""))
    extras = f"[{extras}" if extras else ""
    if "dir_info" in origin and url.startswith("file:"):
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}{shlex.quote(url2pathname(urlsplit(url).path) + extras)}"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
        if folder := origin.get("subdirectory"):
            url += f"#subdirectory={folder}"
    return f'pip install "{extra} @ {url}"' if url else f'pip install "{extra}"'


def _direct_url(distribution: str) -> dict[str, Any]:
    """Return the record of where a distribution came from; it is empty for one from an index."""
    try:
        text = metadata.distribution(distribution).read_text("direct_url.json")
        record = json.loads(text or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
