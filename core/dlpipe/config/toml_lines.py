"""Finding the line of each key in TOML text, which neither ``tomllib`` nor another library does.

The scanner follows only the structure: keys, tables, strings and brackets. It runs before ``tomllib``, which recurses
once per level, and refuses text that is nested too deeply. At a syntax error it stops; ``tomllib`` reports the cause.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

KeyPath = tuple[str | int, ...]
#: Path, line, and whether it is defined there (``a.b = 1`` defines ``a.b`` and mentions ``a``).
Found = tuple[KeyPath, int, bool]

#: Levels of tables and arrays; no pipeline written by a person needs more.
MAX_DEPTH = 20

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
#: What needs no quotes in a path outside a file, such as ``evaluators.größe``: TOML would want them.
_UNQUOTED = re.compile(r"[^\s.=\"'](?:[^.=]*[^\s.=])?")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_BLANK = re.compile(r"[ \t]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_LINE_STRINGS = (
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    *_LINE_STRINGS,
)


class TooDeep(Exception):
    """A key or array on line `line` is more than `MAX_DEPTH` levels deep."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(f"nested more than {MAX_DEPTH} levels deep")


class _NotToml(Exception):
    """The scanner has reached a syntax error."""


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

    def expect(self, symbol: str) -> None:
        if not self.take(symbol):
            raise _NotToml

    def line(self) -> int:
        start, line = self._counted
        self._counted = (self.at, line + self.text.count("\n", start, self.at))
        return self._counted[1]

    def check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise TooDeep(self.line())

    def string(self, patterns: tuple[re.Pattern[str], ...]) -> str:
        for pattern in patterns:
            if found := self.skip(pattern):
                return found
        return ""

    def key(self, above: int, bare: re.Pattern[str] = _BARE_KEY) -> tuple[str, ...]:
        """Read a dotted key, with parts that are quoted or `bare`, in a table that is `above` levels deep."""
        parts: list[str] = []
        while not parts or self.take("."):
            self.skip(_BLANK)
            parts.append(self.skip(bare) or self.quoted_key())
            self.skip(_BLANK)
            self.check_depth(above + len(parts))
        return tuple(parts)

    def quoted_key(self) -> str:
        quoted = self.string(_LINE_STRINGS)
        if not quoted:
            raise _NotToml
        if quoted[0] == "'" or "\\" not in quoted:
            return quoted[1:-1]
        try:
            return str(tomllib.loads(f"key = {quoted}")["key"])
        except tomllib.TOMLDecodeError:
            raise _NotToml from None

    def value(self, path: KeyPath) -> Iterator[Found]:
        self.skip(_BLANK)
        if self.take("["):
            yield from self.items(path)
        elif self.take("{"):
            yield from self.inline_table(path)
        elif not self.string(_STRINGS) and not self.skip(_SCALAR):
            raise _NotToml

    def items(self, path: KeyPath) -> Iterator[Found]:
        self.check_depth(len(path) + 1)
        index = 0
        self.skip(_SPACE)
        while not self.take("]"):
            yield (*path, index), self.line(), True
            yield from self.value((*path, index))
            self.skip(_SPACE)
            if not self.take(","):
                self.expect("]")
                return
            self.skip(_SPACE)
            index += 1

    def inline_table(self, path: KeyPath) -> Iterator[Found]:
        self.skip(_SPACE)
        while not self.take("}"):
            yield from self.assignment(path)
            self.skip(_SPACE)
            if not self.take(","):
                self.expect("}")
                return
            self.skip(_SPACE)

    def assignment(self, path: KeyPath) -> Iterator[Found]:
        line = self.line()
        key = self.key(len(path))
        for length in range(1, len(key) + 1):
            yield (*path, *key[:length]), line, length == len(key)
        self.expect("=")
        yield from self.value((*path, *key))

    def tables(self) -> Iterator[Found]:
        table: KeyPath = ()
        lengths: dict[KeyPath, int] = {}
        self.skip(_SPACE)
        while self.at < len(self.text):
            if self.take("["):
                array, line = self.take("["), self.line()
                *around, last = self.key(0)
                self.expect("]]" if array else "]")
                table = ()
                for part in around:
                    table = (*table, part)
                    yield table, line, False
                    if table in lengths:  # [a.b] after [[a]] is a table of the last a
                        table = (*table, lengths[table] - 1)
                table = (*table, last)
                if array:
                    yield table, line, False
                    lengths[table] = lengths.get(table, 0) + 1
                    table = (*table, lengths[table] - 1)
                yield table, line, True
            else:
                yield from self.assignment(table)
            self.skip(_SPACE)

    def found(self) -> Iterator[Found]:
        try:
            yield from self.tables()
        except _NotToml:
            return


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of each key and table, counted from 1, by its path; the first line if there are several.

    A path is ``("model", "hidden_dim")``, and ``("filters", 0, "size")`` inside an array.

    Raises:
        TooDeep: a key or array is nested too deeply.
    """
    lines: dict[KeyPath, int] = {}
    for path, line, _ in _Scanner(text).found():
        lines.setdefault(path, line)
    return lines


def leading_path(text: str) -> tuple[tuple[str, ...], str]:
    """Return the path that a text such as ``trainer.epochs=3`` starts with, and the rest of it.

    A part may be quoted as in TOML, and has to be if it contains a dot or ``=``.

    Raises:
        ValueError: the text does not start with a path.
    """
    scanner = _Scanner(text)
    try:
        path = scanner.key(0, _UNQUOTED)
    except (_NotToml, TooDeep) as error:
        raise ValueError(f"{text!r} does not start with a path") from error
    return path, text[scanner.at :]


def repeated_keys(text: str) -> list[tuple[KeyPath, int, int]]:
    """Return (path, first line, second line) for each key or table that is defined twice.

    Raises:
        TooDeep: a key or array is nested too deeply.
    """
    defined: dict[KeyPath, int] = {}
    repeated = []
    for path, line, defines in _Scanner(text).found():
        if defines and path in defined:
            repeated.append((path, defined[path], line))
        elif defines:
            defined[path] = line
    return repeated
