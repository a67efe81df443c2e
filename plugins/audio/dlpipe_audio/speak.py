"""Speak words with espeak-ng: the program of a child process, so that its library never enters dlpipe's own.

    python -m dlpipe_audio.speak FOLDER < words.jsonl

Each line of the input is ``{"text", "voice", "speed", "pitch"}``. ``FOLDER/audio.s16`` gets the samples, 16 bits, and
``FOLDER/words.jsonl`` the number of samples and the phones of each word. The library keeps a state from word to word:
the same list in a new process gives the same samples, the same word in another list need not. Imports no torch.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Samples per second of all voices.
RATE_HZ = 22_050
#: Constants of espeak-ng's speak_lib.h.
SYNCHRONOUS, PHONEME_EVENTS, PHONEME_IPA, DONT_EXIT = 2, 0x0001, 0x0002, 0x8000
UTF8, CHARACTERS, PHONEMES, EVENT_PHONEME, RATE, PITCH = 1, 1, 0x100, 7, 1, 3


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("text", ctypes.c_int),
        ("length", ctypes.c_int),
        ("ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", _Id),
    ]


def spoken(orders: Iterable[dict[str, Any]]) -> Iterator[tuple[bytes, list[str]]]:
    """Yield the samples and the phones of each word.

    Raises:
        ValueError: there is no such voice.
    """
    import espeakng_loader  # GPL; only ever imported here, in a process of its own

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path()
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    options = DONT_EXIT | PHONEME_EVENTS | PHONEME_IPA
    if library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), options) != RATE_HZ:
        raise ValueError(f"espeak-ng does not start with the voices in {data}; reinstall espeakng-loader")
    variants = {path.name for path in (Path(data) / "voices" / "!v").iterdir()}
    parts: list[bytes] = []
    phones: list[str] = []

    def keep(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            parts.append(ctypes.string_at(samples, 2 * count))
        number = 0
        while events[number].type:
            if events[number].type == EVENT_PHONEME:
                phones.append(events[number].id.string.decode("utf-8", "replace"))
            number += 1
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    callback = kind(keep)  # the library does not keep it alive
    library.espeak_SetSynthCallback(callback)
    for order in orders:
        parts.clear()
        phones.clear()
        # espeak-ng accepts an unknown variant in silence and speaks without it.
        known = order["voice"].partition("+")[2] in variants
        if not known or library.espeak_SetVoiceByName(order["voice"].encode()):
            raise ValueError(f"espeak-ng has no voice {order['voice']!r}")
        library.espeak_SetParameter(RATE, order["speed"], 0)
        library.espeak_SetParameter(PITCH, order["pitch"], 0)
        text = order["text"].encode()
        library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, CHARACTERS, 0, UTF8 | PHONEMES, None, None)
        yield b"".join(parts), [phone for phone in phones if phone]


def main() -> None:
    """Speak the words of standard input into the files of a folder."""
    folder = Path(sys.argv[1])
    orders = (json.loads(line) for line in sys.stdin)
    with (folder / "audio.s16").open("wb") as audio, (folder / "words.jsonl").open("w", encoding="utf-8") as words:
        for samples, phones in spoken(orders):
            audio.write(samples)
            words.write(json.dumps({"samples": len(samples) // 2, "phones": phones}) + "\n")


if __name__ == "__main__":
    main()
