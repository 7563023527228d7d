"""A project's text -> its values, each checked by type and range. Knows no file, no daemon and no audio.

What is wrong with one clip, strip or output stays with it, as a Problem in its place, so that the rest can be rendered;
what is wrong with the whole (TOML, tempo map, rate) is raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TypeVar

from sa3_daw.adapter_words import adapter_use
from sa3_daw.daemon.limits import SAMPLE_RATES
from sa3_daw.errors import Sa3Error
from sa3_daw.job import TempoPoint
from sa3_daw.music import places
from sa3_daw.music.timeline import TempoMap, parse_meter
from sa3_daw.render.project.effects import read_effect
from sa3_daw.render.project.lines import lines_of, load_toml
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.read_output import UNFIT_FOR_NAMES, read_output
from sa3_daw.render.project.table import Grid, Table
from sa3_daw.render.project.values import Clip, Making, Project, Send, Strip

MASTER = "master"
RESERVED_NAMES = ("master", "mix", "premaster", "stems")
GAIN_DB = (-120.0, 60.0)

PLACED = ("name", "kind", "at", "part", "gain_db", "fade_in", "fade_out")
MADE = (
    "prompt", "negative_prompt", "seed", "model", "steps", "guidance_scale", "apg_scale", "sampler",
    "headroom_seconds", "best_of", "adapters",
)  # fmt: skip
KINDS: dict[str, tuple[str, ...]] = {
    "file": ("file", "resample"),
    "generate": (*MADE, "length", "loop", "loudness_lufs", "warp"),
    "inpaint": (*MADE, "source", "regions", "noise_level"),
    "continue": (*MADE, "source", "length", "before"),
    "restyle": (*MADE, "source", "noise_level", "loudness_lufs"),
    "loop": (*MADE, "source"),
}
"""What each kind of clip has beside its place."""

Read = TypeVar("Read")


def read_project(text: str) -> Project:
    """Read a whole project. Raises Problem when there is no reading on."""
    root = root_of(text)
    problems: list[Problem] = []
    tried(problems, lambda: root.only("project", "tempo", "clip", "track", "bus", "master", "output"))
    head = root.table("project")
    head.only("rate", "length", "tail", "model", "seed")
    rate = head.whole("rate", 44_100, 1)
    if rate not in SAMPLE_RATES:
        raise head.wrong("rate", ", ".join(map(str, SAMPLE_RATES)))
    grid = Grid(read_tempo(root.tables("tempo")), rate)
    length = head.place("length", grid) if head.has("length") else None
    if length == 0:
        raise head.wrong("length", "1 sample or more")
    strips = [read_strip(each, head, grid, is_bus=False) for each in root.tables("track")]
    strips += [read_strip(each, head, grid, is_bus=True) for each in root.tables("bus")]
    material = [read_clip(each, head, grid, f"clip {n}") for n, each in enumerate(root.tables("clip"), 1)]
    outputs = [tried(problems, partial(read_output, each, rate)) for each in root.tables("output")]
    if not outputs:
        problems.append(Problem(1, "nothing to write; allowed: at least one [[output]]"))
    names: dict[str, int] = {}
    head.place("tail", grid, length or 0, default="0")
    return Project(
        rate=rate,
        tempo=grid.tempo,
        length_samples=length,
        tail=head.words("tail", "0"),
        material=tuple(once(names, clip) for clip in material),
        strips=only_first_of_a_name(
            [replace(strip, clips=tuple(once(names, c) for c in strip.clips)) for strip in strips]
        ),
        master=read_master(root.table("master"), grid),
        outputs=tuple(output for output in outputs if output),
        problems=tuple(problems),
    )


def once(names: dict[str, int], clip: Clip | Problem) -> Clip | Problem:
    """Return the clip, or what is wrong when another has its name; ``names`` are those seen so far."""
    if isinstance(clip, Problem):
        return clip
    return taken(names, clip.name, clip.line) or clip


def only_first_of_a_name(strips: list[Strip]) -> tuple[Strip, ...]:
    names: dict[str, int] = {}
    kept = []
    for strip in strips:
        problem = taken(names, strip.name, strip.line)
        kept.append(replace(strip, name=f"{strip.name} of line {strip.line}", problem=problem) if problem else strip)
    return tuple(kept)


def taken(names: dict[str, int], name: str, line: int) -> Problem | None:
    """Return what is wrong when a name was there before, in whatever letters."""
    if name.casefold() in names:
        return Problem(line, f"{name!r} is the name of line {names[name.casefold()]} already")
    names[name.casefold()] = line
    return None


def root_of(text: str) -> Table:
    try:
        return Table(load_toml(text), (), lines_of(text))
    except ValueError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise Problem(line, f"not TOML: {error}") from error
    except RecursionError as error:
        raise Problem(1, "not TOML that can be read: nested too deep") from error


def tried(problems: list[Problem], read: Callable[[], Read]) -> Read | None:
    """Return what is read; None, with the problem noted, when it cannot be."""
    try:
        return read()
    except Problem as problem:
        problems.append(problem)
        return None


def read_tempo(tables: list[Table]) -> TempoMap:
    """Read the tempo map; without one it is 120 BPM in 4/4. Raises Problem."""
    points: list[TempoPoint] = []
    for table in tables:
        table.only("at", "bpm", "meter")
        try:
            before = f"{points[-1].numerator}/{points[-1].denominator}" if points else "4/4"
            metre = parse_meter(table.text("meter", before))
            ppq = ppq_of(table.words("at", None if points else "0"), points)
            points.append(TempoPoint(float(ppq), table.number("bpm"), *metre))
            TempoMap(points)
        except Problem:
            raise
        except Sa3Error as error:
            raise Problem(table.line(), error.message) from error
    return TempoMap(points) if points else TempoMap.constant(120.0)


def ppq_of(words: str, points: list[TempoPoint]) -> Fraction:
    """Return where a tempo begins, counted in the beats and bars of the tempos before it. Raises InvalidField."""
    if not points:
        return Fraction(places.read_place(words, places.Clip(TempoMap.constant(120.0), 0, 0, 1)))
    return places.read_musical_place(words, TempoMap(points))


def read_strip(table: Table, head: Table, grid: Grid, *, is_bus: bool) -> Strip:
    """Read a track or a bus; what is wrong with it goes into it."""
    what = "bus" if is_bus else "track"
    position = int(table.path[-1]) + 1
    name = f"{what} {position}"
    clips: tuple[Clip | Problem, ...] = ()
    try:
        name = checked_name(table, "name", name)
        if name in RESERVED_NAMES:
            raise table.wrong("name", f"another name than {', '.join(RESERVED_NAMES)}")
        allowed = ("name", "gain_db", "pan", "muted", "to", "send", "effect", *(() if is_bus else ("clip",)))
        table.only(*allowed)
        tables = table.tables("clip")
        clips = tuple(read_clip(each, head, grid, f"{name} {n}") for n, each in enumerate(tables, 1))
        return Strip(
            line=table.line(),
            name=name,
            clips=clips,
            effects=tuple(read_effect(each, grid) for each in table.tables("effect")),
            gain_db=table.number("gain_db", 0.0, GAIN_DB),
            pan=table.number("pan", 0.0, (-1.0, 1.0)),
            muted=table.flag("muted"),
            to=table.text("to", MASTER),
            sends=tuple(read_send(each) for each in table.tables("send")),
            is_bus=is_bus,
        )
    except Problem as problem:
        return Strip(table.line(), name, clips, to=MASTER, is_bus=is_bus, problem=problem)


def read_master(table: Table, grid: Grid) -> Strip:
    line = table.line()
    try:
        table.only("effect", "gain_db")
        effects = tuple(read_effect(each, grid) for each in table.tables("effect"))
        return Strip(line, MASTER, effects=effects, gain_db=table.number("gain_db", 0.0, GAIN_DB))
    except Problem as problem:
        return Strip(line, MASTER, problem=problem)


def read_send(table: Table) -> Send:
    table.only("to", "gain_db")
    return Send(table.line(), table.text("to"), table.number("gain_db", 0.0, GAIN_DB))


def read_clip(table: Table, head: Table, grid: Grid, default_name: str) -> Clip | Problem:
    try:
        kind = table.choice("kind", tuple(KINDS))
        table.only(*PLACED, *KINDS[kind])
        is_material = table.path[0] == "clip"
        for field in ("length", "fade_in", "fade_out"):
            if table.has(field) and table.place(field, grid) == 0 and field == "length":
                raise table.wrong(field, "1 sample or more")
        noise_level = table.number("noise_level", None if kind == "restyle" else 1.0, (0.0, 1.0))
        if noise_level == 0:
            raise table.wrong("noise_level", "above 0, at most 1")
        return Clip(
            line=table.line(),
            name=checked_name(table, "name", default_name),
            kind=kind,
            start_sample=table.place("at", grid, default="0" if is_material else None),
            part=table.text("part", ""),
            gain_db=table.number("gain_db", 0.0, GAIN_DB),
            fade_in=table.words("fade_in", "0"),
            fade_out=table.words("fade_out", "0"),
            making=None if kind == "file" else read_making(table, head, kind),
            length=table.words("length") if kind in ("generate", "continue") else "",
            file=table.text("file") if kind == "file" else "",
            resample=table.flag("resample"),
            source=table.text("source") if "source" in KINDS[kind] else "",
            regions=needed(table, "regions") if kind == "inpaint" else (),
            before=table.flag("before"),
            noise_level=noise_level,
            loop=table.flag("loop"),
        )
    except Problem as problem:
        return problem


def needed(table: Table, name: str) -> tuple[str, ...]:
    found = table.texts(name)
    if not found:
        raise table.wrong(name, "at least one, such as ['2:3bars']")
    return found


def read_making(table: Table, head: Table, kind: str) -> Making:
    """Read a job's own fields; the daemon's limits are checked when the job is complete."""
    try:
        adapters = tuple(adapter_use(text) for text in table.texts("adapters"))
    except Problem:
        raise
    except Sa3Error as error:
        raise table.wrong("adapters", error.allowed) from error
    return Making(
        prompt=table.text("prompt", None if kind == "generate" else ""),
        negative_prompt=table.text("negative_prompt", ""),
        seed=table.whole("seed", head.whole("seed", 1, 0), 0),
        model=table.text("model", head.text("model", "nano")),
        steps=table.whole("steps", 0, 0),
        guidance_scale=table.number("guidance_scale", 0.0),
        apg_scale=table.optional_number("apg_scale"),
        sampler=table.text("sampler", ""),
        headroom_seconds=table.optional_number("headroom_seconds"),
        loudness_lufs=table.optional_number("loudness_lufs"),
        best_of=table.whole("best_of", 1, 1),
        warp=table.flag("warp"),
        adapters=adapters,
    )


def checked_name(table: Table, field: str, default: str) -> str:
    name = table.text(field, default)
    if not name or UNFIT_FOR_NAMES.search(name) or name.startswith(".") or len(name.encode()) > 100:
        raise table.wrong(field, "a name of at most 100 bytes that can be part of a file's name")
    return name
