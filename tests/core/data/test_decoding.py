from __future__ import annotations

import pytest

from dlpipe.data.decoding import decode_text
from dlpipe.errors import DataError, InputError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_has_no_byte_order_mark(encoding):
    assert decode_text("\ufeffé\r\n".encode(encoding), "a.csv", encoding) == "é\r\n"


@pytest.mark.parametrize(
    ("raw", "encoding", "error", "message"),
    [
        (b"one\ntw\xe9", "utf-8", DataError, r"a.csv:2: byte 6 is 0xe9, not utf-8 \(unexpected end of data\); set enc"),
        (
            b"\xff\xfeo\0\n\0",
            "utf-8",
            DataError,
            r"a.csv:1: byte 0 is 0xff, .*; set encoding to .*, such as utf-16, or",
        ),
        ("\u0a0a\n".encode("utf-16") + b"x", "utf-16", DataError, r"a.csv:2: byte 6 is 0x78, not utf-16 \(truncated d"),
        (b"one\n\ntwo\0", "utf-8", DataError, r'a.csv:3: a NUL; expected text. If this is UTF-16, set encoding = "u'),
        (b"one", "utf-9", InputError, r'encoding = "utf-9": there is no such encoding; try "cp1252" or "gb18030"'),
        (b"", "rot13", InputError, r'encoding = "rot13": there is no such encoding; try "cp1252" or "gb18030"'),
        (
            b"",
            "undefined",
            DataError,
            r"a.csv: not undefined \(.*undefined encoding.*\); set encoding to that of the file",
        ),
        (b"a b\n", "punycode", DataError, r"a.csv: not punycode \(.*\); set encoding to that of the file, such as"),
    ],
)
def test_what_cannot_be_decoded_is_named(raw, encoding, error, message):
    with pytest.raises(error, match=message):
        decode_text(raw, "a.csv", encoding)
