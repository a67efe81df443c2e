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
    except UnicodeError as error:
        raise undecodable(error, place, encoding) from error
    refuse_nul(text, place)
    return text.removeprefix("\ufeff")


def undecodable(error: UnicodeError, place: str, encoding: str, *, line: int = 1, byte: int = 0) -> DataError:
    """Return the error of a file that is not in an encoding.

    Args:
        error: of decoding the file, or a part of it.
        place: its path.
        line: in which the part starts, counted from 1.
        byte: at which the part starts, counted from 0.
    """
    if not isinstance(error, UnicodeDecodeError):  # of encodings with rules of their own, such as "punycode"
        return DataError(
            f"{place}: not {encoding} ({error}); set encoding to that of the file, such as cp1252 or gb18030, or "
            "convert it"
        )
    part = error.object
    line += part[: error.start].decode(encoding, errors="replace").count("\n")
    marked = byte == 0 and part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return DataError(
        f"{place}:{line}: byte {byte + error.start} is 0x{part[error.start]:02x}, not {encoding} ({error.reason}); set "
        f"encoding to that of the file, such as {'utf-16' if marked else 'cp1252 or gb18030'}, or convert it"
    )


def refuse_nul(text: str, place: str, line: int = 1) -> None:
    """Refuse what is decoded and yet no text.

    Args:
        place: the path of the file.
        line: in which the text starts, counted from 1.

    Raises:
        DataError: the text contains a NUL.
    """
    if "\0" in text:
        line += text.count("\n", 0, text.index("\0"))
        raise DataError(f'{place}:{line}: a NUL; expected text. If this is UTF-16, set encoding = "utf-16"')
