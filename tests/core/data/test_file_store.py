"""Archives: no more is read than the limits allow."""

import io
from pathlib import Path

import pytest

from dlpipe.data.file_store import _Bounded
from dlpipe.errors import DataError


def test_a_stream_is_not_moved_beyond_its_limit():
    stream = io.BytesIO(bytes(20))
    bounded = _Bounded(stream, 10, Path("archive.tar.gz"), "resident_mb")
    bounded.seek(10)

    with pytest.raises(
        DataError, match=r"^archive\.tar\.gz: unpacks to more than the 10 bytes that resident_mb allows"
    ):
        bounded.seek(11)

    assert stream.tell() == 10  # where it moved, all that follows would be unpacked
