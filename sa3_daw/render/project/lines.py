"""A TOML text -> its values, and the line on which each of them stands. Knows no meaning of either.

The standard library reads TOML without positions, so a second walk over a text that it has accepted finds them.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

Path = tuple[str | int, ...]
"""The way to a value: names, and numbers in arrays."""

BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}' r"|'''(?:[^']|'(?!''))*'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)
PLAIN_VALUE = re.compile(r"[^,\]}\n#]+")


def load_toml(text: str) -> dict[str, Any]:
    """Return the values of a text. Raises ValueError, whose words name line and column."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    values: dict[str, Any] = toml.loads(text)
    return values


def lines_of(text: str) -> dict[Path, int]:
    """Return the line, from 1, of every table, array and value of a text that ``load_toml`` has accepted."""
    walk = _Walk(text)
    walk.document()
    return walk.lines


class _Walk:
    """One pass over the text, a position and what was found on the way."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._text = text
        self._at = 0
        self._seen_to, self._line = 0, 1
        self._num_tables: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        self._skip()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _header(self) -> Path:
        """Read [a.b] or [[a.b]]; return the table that the lines after it fill."""
        line = self._here()
        is_array = self._text.startswith("[[", self._at)
        self._at += 1 + is_array
        names = self._key()
        self._at += 1 + is_array
        path: Path = ()
        for position, name in enumerate(names, 1):
            path = (*path, name)
            self.lines.setdefault(path, line)
            if is_array and position == len(names):
                self._num_tables[path] = self._num_tables.get(path, 0) + 1
            if path in self._num_tables:
                path = (*path, self._num_tables[path] - 1)
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        """Read ``a.b = value`` into a table."""
        line = self._here()
        path = table
        for name in self._key():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip()
        self._value(path)

    def _value(self, path: Path) -> None:
        start = self._text[self._at]
        if start in "[{":
            self._at += 1
            self._skip()
            index = 0
            while self._text[self._at] not in "]}":
                if start == "[":
                    item = (*path, index)
                    self.lines[item] = self._here()
                    self._value(item)
                    index += 1
                else:
                    self._pair(path)
                self._skip()
                if self._text[self._at] == ",":
                    self._at += 1
                    self._skip()
            self._at += 1
        else:
            found = STRING.match(self._text, self._at) or PLAIN_VALUE.match(self._text, self._at)
            assert found
            self._at = found.end()

    def _key(self) -> list[str]:
        """Read a dotted key and the blanks around it."""
        names = []
        while True:
            self._skip()
            quoted = STRING.match(self._text, self._at)
            found = quoted or BARE_KEY.match(self._text, self._at)
            assert found
            names.append(load_toml(f"name = {found[0]}")["name"] if quoted else found[0])
            self._at = found.end()
            self._skip()
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _skip(self) -> None:
        found = BLANK.match(self._text, self._at)
        assert found
        self._at = found.end()

    def _here(self) -> int:
        self._line += self._text.count("\n", self._seen_to, self._at)
        self._seen_to = self._at
        return self._line
