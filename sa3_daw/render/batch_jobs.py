"""A table of jobs, CSV or JSON lines -> checked items in order, each with its job and file name. Knows no daemon."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from string import Formatter

from sa3_daw.client import new_job_id
from sa3_daw.errors import InvalidField, Sa3Error, invalid
from sa3_daw.job import Job
from sa3_daw.music.timeline import TempoMap, check_bpm, parse_meter, round_half_up

COLUMNS = (
    "prompt", "negative_prompt", "seconds", "bars", "samples", "bpm", "meter", "rate", "seed", "count", "name",
    "model", "steps", "guidance_scale", "loudness_lufs",
)  # fmt: skip
DEFAULT_NAME = "{index:04}-{prompt}"
NAME_WORDS = "a file name of {index}, {seed}, {prompt} and plain text, without folders, at most 200 characters"
MAX_COUNT = 100_000
NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(/[1-9]\d{0,8})?")


@dataclass(frozen=True)
class Item:
    """One file to be made: where it stands in the table, what it is called, and its job."""

    line: int
    index: int
    name: str
    job: Job

    @property
    def key(self) -> str:
        """Return what tells whether a file is still the one asked for: a hash of the job, but not of its id."""
        content = {name: value for name, value in asdict(self.job).items() if name != "job_id"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_items(path: Path) -> list[Item]:
    """Read and check a whole table. Raises InvalidField, naming file and line, or OSError."""
    items: list[Item] = []
    names: dict[str, int] = {}
    for line, row in read_rows(path):
        try:
            added = items_of(row, line, len(items) + 1)
            for item in added:
                if other := names.get(item.name.casefold()):
                    raise invalid("name", item.name, f"a name of its own; line {other} has it too")
                names[item.name.casefold()] = line
        except Sa3Error as error:
            raise InvalidField(f"{path} line {line}: {error.message}", field=error.field) from error
        items += added
    if not items:
        raise invalid("jobs", str(path), "a table with at least one job")
    return items


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row's line number and its cells that are not empty, as text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid("jobs", str(path), "a file in UTF-8") from error
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from json_rows(path, text)
    elif path.suffix.lower() == ".csv":
        yield from csv_rows(path, text)
    else:
        raise invalid("jobs", str(path), "a name ending in .csv or .jsonl")


def csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in rows.fieldnames or ()]
        check_columns(path, 1, names)
        rows.fieldnames = names
        for row in rows:
            if None in row or None in row.values():
                raise InvalidField(f"{path} line {rows.line_num}: not as many cells as the first line has columns")
            yield rows.line_num, {name: cell.strip() for name, cell in row.items() if cell.strip()}
    except csv.Error as error:
        raise InvalidField(f"{path} line {rows.line_num}: not CSV ({error})") from error


def json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidField(f"{path} line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise InvalidField(f"{path} line {number}: not a JSON object")
        check_columns(path, number, list(row))
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                raise InvalidField(
                    f"{path} line {number}: {name} is {value!r}; allowed: a text or a number", field=name
                )
        # JSON can escape half a character, which no file and no message can hold.
        if any(isinstance(value, str) and re.search("[\ud800-\udfff]", value) for value in row.values()):
            raise InvalidField(f"{path} line {number}: a text holds half a surrogate pair; allowed: whole characters")
        yield number, {name: str(value) for name, value in row.items() if value not in (None, "")}


def check_columns(path: Path, line: int, names: list[str]) -> None:
    for name in names:
        if name not in COLUMNS or names.count(name) > 1:
            raise InvalidField(f"{path} line {line}: column {name!r}; allowed, once each: {', '.join(COLUMNS)}")


def items_of(row: dict[str, str], line: int, index: int) -> list[Item]:
    """Return a row's items, ``count`` of them from its seed on. Raises InvalidField."""
    if "prompt" not in row:
        raise invalid("prompt", "", "what to play, in words")
    rate = whole(row, "rate", 44_100, 1)
    bpm = float(number(row, "bpm", Fraction(120)))
    check_bpm("bpm", bpm)
    tempo = TempoMap.constant(bpm, *parse_meter(row.get("meter", "4/4")))
    seed = whole(row, "seed", index, 0)
    count = whole(row, "count", 1, 1)
    if count > MAX_COUNT:
        raise invalid("count", count, f"1 to {MAX_COUNT}")
    num_samples = length_samples(row, tempo, rate)
    items = []
    for offset in range(count):
        job = Job(
            job_id=new_job_id(),
            prompt=row["prompt"],
            negative_prompt=row.get("negative_prompt", ""),
            num_samples=num_samples,
            sample_rate=rate,
            seed=seed + offset,
            tempo_map=tempo.points,
            model=row.get("model", "nano"),
            steps=whole(row, "steps", 0, 0),
            guidance_scale=float(number(row, "guidance_scale", Fraction(0))),
            loudness_lufs=float(number(row, "loudness_lufs", Fraction(0))) if "loudness_lufs" in row else None,
        )
        name = file_name(row.get("name", DEFAULT_NAME), index + offset, job)
        items.append(Item(line, index + offset, name, job))
    return items


def length_samples(row: dict[str, str], tempo: TempoMap, rate: int) -> int:
    """Return the one length that a row gives. Raises InvalidField."""
    given = [name for name in ("seconds", "bars", "samples") if name in row]
    if len(given) != 1:
        raise invalid("length", ", ".join(given), "exactly one of seconds, bars, samples")
    if given == ["samples"]:
        return whole(row, "samples", 0, 1)
    length = number(row, given[0], Fraction(0))
    num_samples = tempo.bar_range_samples(0, length, rate)[1] if given == ["bars"] else round_half_up(length * rate)
    if num_samples < 1:
        raise invalid(given[0], row[given[0]], "at least one sample long")
    return num_samples


def number(row: dict[str, str], name: str, default: Fraction) -> Fraction:
    if name not in row:
        return default
    if not NUMBER.fullmatch(row[name]):
        raise invalid(name, row[name], "a number such as 4, 0.5 or 3/4")
    return Fraction(*map(Fraction, row[name].split("/")))


def whole(row: dict[str, str], name: str, default: int, least: int) -> int:
    value = number(row, name, Fraction(default))
    if value.denominator != 1 or not least <= value < 2**62:
        raise invalid(name, row.get(name, default), f"a whole number of at least {least}")
    return int(value)


def file_name(template: str, index: int, job: Job) -> str:
    """Return the WAV's name that a template asks for. Raises InvalidField."""
    words = re.sub(r"[^a-z0-9]+", "-", job.prompt.lower()).strip("-")[:60] or "clip"
    try:
        fields = [(name, form) for _, name, form, _ in Formatter().parse(template) if name is not None]
        if any(
            name not in ("index", "seed", "prompt") or not re.fullmatch(r"\d{0,2}", form or "") for name, form in fields
        ):
            raise invalid("name", template, NAME_WORDS)
        name = template.format(index=index, seed=job.seed, prompt=words)
    except (ValueError, KeyError, IndexError) as error:
        raise invalid("name", template, NAME_WORDS) from error
    if not name or len(name.encode()) > 200 or name.startswith(".") or re.search(r'[\x00-\x1f/\\:*?"<>|]', name):
        raise invalid("name", name, NAME_WORDS)
    return name if name.lower().endswith(".wav") else f"{name}.wav"
