"""Text from the bytes of a file."""

from __future__ import annotations

import codecs

from dlpipe.errors import DataError, InputError


def decode_text(raw: bytes, place: str, encoding: str) -> str:
    """Return the text of a file without its byte-order mark.

    Args:
        raw: the content of the file.
        place: its path, for messages.
        encoding: such as "utf-8", of the option ``encoding`` of a data component.

    Raises:
        DataError: the content is not in this encoding, or contains a NUL; the message names the line.
        InputError: there is no such encoding.
    """
    try:
        "a".encode(encoding)  # refuses codecs that are not of text, such as "hex", also where there are no bytes
        text = raw.decode(encoding)
    except LookupError as error:
        raise InputError(f'encoding = "{encoding}": there is no such encoding; try "cp1252" or "gb18030"') from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise DataError(
            f"{place}:{line}: byte {error.start} is 0x{raw[error.start]:02x}, not {encoding} ({error.reason}); set "
            f"encoding to that of the file, such as {'utf-16' if marked else 'cp1252 or gb18030'}, or convert it"
        ) from error
    except UnicodeError as error:  # of encodings with rules of their own, such as "punycode"
        raise DataError(
            f"{place}: not {encoding} ({error}); set encoding to that of the file, such as cp1252 or gb18030, or "
            "convert it"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f'{place}:{line}: a NUL; expected text. If this is UTF-16, set encoding = "utf-16"')
    return text.removeprefix("\ufeff")
