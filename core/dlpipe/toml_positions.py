"""On which line of a TOML text each key stands.

``tomllib`` tells no positions, and no library does. This scanner follows only the structure (keys,
tables, strings, brackets); it is asked after ``tomllib`` has accepted the text, or to find what a
rejected text says twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Path = tuple[str | int, ...]
#: Path, line, and whether this mention defines it (``a.b = 1`` defines ``a.b`` and mentions ``a``).
Found = tuple[Path, int, bool]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_BLANK = re.compile(r"[ \t]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)
_ESCAPED = re.compile(r"\\(.)")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._counted = (0, 1)

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match.group() if match else ""

    def take(self, symbol: str) -> bool:
        found = self.text.startswith(symbol, self.at)
        self.at += len(symbol) * found
        return found

    def line(self) -> int:
        start, line = self._counted
        self._counted = (self.at, line + self.text.count("\n", start, self.at))
        return self._counted[1]

    def string(self) -> str:
        for pattern in _STRINGS:
            if found := self.skip(pattern):
                return found
        return ""

    def key(self) -> tuple[str, ...]:
        """Read a dotted key; an empty tuple where there is none."""
        parts: list[str] = []
        while True:
            self.skip(_BLANK)
            part = self.skip(_BARE_KEY)
            if not part:
                quoted = self.string()
                if not quoted:
                    return tuple(parts)
                part = quoted[1:-1] if quoted[0] == "'" else _ESCAPED.sub(r"\1", quoted[1:-1])
            parts.append(part)
            self.skip(_BLANK)
            if not self.take("."):
                return tuple(parts)

    def value(self, path: Path) -> Iterator[Found]:
        self.skip(_BLANK)
        if self.take("["):
            yield from self.items(path)
        elif self.take("{"):
            yield from self.inline_table(path)
        elif not self.string():
            self.skip(_SCALAR)

    def items(self, path: Path) -> Iterator[Found]:
        index = 0
        while self.at < len(self.text):
            self.skip(_SPACE)
            if self.take("]"):
                return
            before = self.at
            yield (*path, index), self.line(), True
            yield from self.value((*path, index))
            self.skip(_SPACE)
            index += self.take(",")
            if self.at == before:
                return

    def inline_table(self, path: Path) -> Iterator[Found]:
        while self.at < len(self.text):
            self.skip(_SPACE)
            if self.take("}"):
                return
            before = self.at
            yield from self.assignment(path)
            self.skip(_SPACE)
            self.take(",")
            if self.at == before:
                return

    def assignment(self, path: Path) -> Iterator[Found]:
        line = self.line()
        key = self.key()
        if key:
            for length in range(1, len(key) + 1):
                yield (*path, *key[:length]), line, length == len(key)
            self.take("=")
            yield from self.value((*path, *key))

    def tables(self) -> Iterator[Found]:
        table: Path = ()
        lengths: dict[Path, int] = {}
        while True:
            self.skip(_SPACE)
            if self.at >= len(self.text):
                return
            before = self.at
            if self.take("["):
                array, line = self.take("["), self.line()
                table = self.key()
                self.take("]]" if array else "]")
                if array:
                    index = lengths.get(table, 0)
                    lengths[table] = index + 1
                    table = (*table, index)
                for length in range(1, len(table)):
                    yield table[:length], line, False
                yield table, line, True
            else:
                yield from self.assignment(table)
            if self.at == before:  # not TOML; tomllib has said so
                return


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each key and table by its path; the first one if there are several.

    A path is ``("model", "hidden_dim")``, and ``("filters", 0, "size")`` inside an array.
    """
    lines: dict[Path, int] = {}
    for path, line, _ in _Scanner(text).tables():
        lines.setdefault(path, line)
    return lines


def repeated_keys(text: str) -> list[tuple[Path, int, int]]:
    """Return (path, first line, second line) for each key or table that a text defines twice."""
    defined: dict[Path, int] = {}
    repeated = []
    for path, line, defines in _Scanner(text).tables():
        if defines and path in defined:
            repeated.append((path, defined[path], line))
        elif defines:
            defined[path] = line
    return repeated
