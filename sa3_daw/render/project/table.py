"""One table of a project's TOML with the lines of its keys: every value is read by type, or refused by line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sa3_daw.errors import Sa3Error, shorten
from sa3_daw.music import places
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.project.lines import Path
from sa3_daw.render.project.problem import Problem

ANY = (-math.inf, math.inf)


@dataclass(frozen=True)
class Grid:
    """The project's tempo map and rate, by which words become samples."""

    tempo: TempoMap
    rate: int

    def place(self, text: str, start_sample: int) -> int:
        """Return how many samples after ``start_sample`` a place in words lies. Raises InvalidField."""
        return places.read_place(text, places.Clip(self.tempo, start_sample, 0, self.rate))


@dataclass(frozen=True)
class Table:
    """The values of one table; a method named after a type returns a key's value, or its default."""

    values: dict[str, Any]
    path: Path
    lines: dict[Path, int]

    def line(self, *keys: str | int) -> int:
        """Return the line of the table, or of something in it."""
        return self.lines[self.path + keys]

    def has(self, name: str) -> bool:
        return name in self.values

    def only(self, *names: str) -> None:
        """Raise Problem on a key that means nothing here."""
        for name in self.values:
            if name not in names:
                raise Problem(self.line(name), f"{name} means nothing here; allowed: {', '.join(names)}")

    def wrong(self, name: str, allowed: str) -> Problem:
        if name not in self.values:
            return Problem(self.line(), f"{name} is missing; allowed: {allowed}")
        return Problem(self.line(name), f"{name} is {shorten(self.values[name])}; allowed: {allowed}")

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(name, "a text")
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise self.wrong(name, ", ".join(choices))
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def whole(self, name: str, default: int, least: int, most: int = 2**62) -> int:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} on" + (f" to {most}" if most < 2**62 else ""))
        return value

    def number(self, name: str, default: float | None = None, span: tuple[float, float] = ANY) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(name, "a number")
        if not span[0] <= value <= span[1]:
            raise self.wrong(name, f"{span[0]:g} to {span[1]:g}")
        return float(value)

    def optional_number(self, name: str, span: tuple[float, float] = ANY) -> float | None:
        return self.number(name, span=span) if self.has(name) else None

    def words(self, name: str, default: str | None = None) -> str:
        """Return a place or length in words; a whole number is samples."""
        value = self.values.get(name, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name, default)

    def place(self, name: str, grid: Grid, start_sample: int = 0, default: str | None = None) -> int:
        """Return how many samples after ``start_sample`` a place lies."""
        words = self.words(name, default)
        try:
            return grid.place(words, start_sample)
        except Sa3Error as error:
            raise self.wrong(name, error.allowed) from error

    def table(self, name: str) -> Table:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "a table")
        return Table(value, (*self.path, name) if self.has(name) else self.path, self.lines)

    def tables(self, name: str) -> list[Table]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.wrong(name, f"tables, each under [[{name}]]")
        return [Table(each, (*self.path, name, index), self.lines) for index, each in enumerate(value)]
