"""Downloads: files pinned by URL and sha256, fetched once into a cache, either complete or absent."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from dlpipe.errors import DataError
from dlpipe.progress import BYTES, activity
from dlpipe.runs.atomic import locked
from dlpipe.runs.file_digests import sha256_of
from dlpipe.runs.file_manifest import cache_folder

CHUNK = 1 << 20
TIMEOUT_S = 30


@dataclass(frozen=True)
class Download:
    """A file to download whose content is known in advance.

    Args:
        sha256: hex digest of the whole file.
        size: size in bytes; no more than this is read.
    """

    url: str
    sha256: str
    size: int


class _SameScheme(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme != urllib.parse.urlsplit(req.full_url).scheme:
            raise DataError(f"{req.full_url} redirects to {newurl}; redirects to a different scheme are not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(download: Download, *, offline: bool = False, cache: Path | None = None) -> Path:
    """Return the local copy of a file; download it first if it is missing.

    An interrupted download is continued by the next call; a file with the wrong sha256 is discarded. Of several
    processes, one downloads and the others wait for it.

    Args:
        offline: do not access the network.
        cache: folder of downloads; `cache_folder` by default.

    Raises:
        DataError: the file is missing and cannot be downloaded, or its sha256 is wrong.
    """
    folder = (cache or cache_folder()) / download.sha256[:16]
    path = folder / Path(urllib.parse.urlsplit(download.url).path).name
    if _is_complete(path, download):
        return path
    if offline:
        raise DataError(f"{path} is missing and offline = true; fetch {download.url} once without it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if not _is_complete(path, download):
                _download(download, path)
    except (OSError, EOFError, HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        status = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        message = f"{download.url} cannot be fetched to {path}: {status}{reason}; retry to continue the download"
        raise DataError(message) from error
    return path


def _is_complete(path: Path, download: Download) -> bool:
    return path.is_file() and sha256_of(path) == download.sha256


def _download(download: Download, path: Path) -> None:
    partial = path.with_name(path.name + ".part")
    _transfer(download, partial)
    if (found := sha256_of(partial)) != download.sha256:
        partial.unlink()
        raise DataError(f"{download.url} has sha256 {found}, expected {download.sha256}; it was discarded")
    partial.replace(path)


def _transfer(download: Download, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    if have >= download.size:
        have = 0
    request = urllib.request.Request(download.url, headers={"Range": f"bytes={have}-"} if have else {})
    opener = urllib.request.build_opener(_SameScheme)
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        resumed = have and answer.status == 206
        with (
            partial.open("ab" if resumed else "wb") as file,
            activity(f"downloading {partial.stem}", download.size, unit=BYTES) as shown,
        ):
            size = have if resumed else 0
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > download.size:
                    partial.unlink()
                    raise DataError(f"{download.url} is larger than the expected {download.size:,} bytes")
                file.write(chunk)
                shown.done = size
    if size < download.size:  # http.client says nothing when a connection ends too early
        raise EOFError(f"the connection ended after {size:,} of {download.size:,} bytes")
