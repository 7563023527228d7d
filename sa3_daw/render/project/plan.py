"""A project -> its plan: every clip, strip and output as a node under a hash of all that it is made of. Makes nothing.

Reads the files that the project names, to hash them; asks no daemon and loads no plugin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from sa3_daw.config import DaemonConfig
from sa3_daw.errors import Sa3Error
from sa3_daw.music import places
from sa3_daw.render.project.digests import file_digest, key_of
from sa3_daw.render.project.effects import IMPULSE
from sa3_daw.render.project.nodes import Feed, Node, OutputWork, Placement, Plan, StripWork, in_order
from sa3_daw.render.project.plan_clips import ClipPlanner, id_of
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.read import MASTER, taken
from sa3_daw.render.project.table import Grid
from sa3_daw.render.project.values import Clip, Effect, Output, Project, Strip

MAX_SECONDS = 4 * 3600
"""Strips are summed in memory; this long, each takes 5.5 GB at 48 kHz."""
LENGTH = "length of the project"
"""What every output needs beside its strips, when there is none or it cannot be told."""


def plan_project(project: Project, folder: Path, config: DaemonConfig) -> Plan:
    """Plan a project whose relative paths start from ``folder``. Raises Problem when it is too long to be held."""
    grid = Grid(project.tempo, project.rate)
    clips = ClipPlanner(folder, grid, config)
    clips.add([*project.material, *(clip for strip in project.strips for clip in strip.clips)])
    length, untold = (project.length_samples, ()) if project.length_samples else last_end(project, clips)
    total = length + grid.place(project.tail, length)
    if total > MAX_SECONDS * project.rate:
        raise Problem(1, f"the project lasts {total} samples; allowed: {MAX_SECONDS} seconds")
    nodes = {planned.node.id: planned.node for planned in clips.planned.values()}
    problems = [*project.problems, *(clip for clip in project.material if isinstance(clip, Problem))]
    strips = StripPlanner(project, clips, folder, length, total)
    nodes |= {node.id: node for node in strips.nodes()}
    if untold:
        nodes[LENGTH] = Node(LENGTH, 1, needs=untold)
    elif not length:
        problem = Problem(1, "the project has no length: no clip on a track, and no length")
        nodes[LENGTH] = Node(LENGTH, 1, problem=problem)
    files: dict[str, int] = {}
    for output in project.outputs:
        try:
            found = output_nodes(output, strips, nodes, files)
        except Problem as problem:
            problems.append(problem)
        else:
            more = [LENGTH] if LENGTH in nodes else []
            nodes |= {node.id: replace(node, needs=(*more, *node.needs)) for node in found}
    return Plan(project.rate, total, nodes, tuple(problems))


def last_end(project: Project, clips: ClipPlanner) -> tuple[int, tuple[str, ...]]:
    """Return where the last clip ends, and the strips with a clip whose end cannot be told."""
    ends, untold = [0], []
    for strip in project.strips:
        for clip in strip.clips:
            try:
                placement = placed(clip, clips) if isinstance(clip, Clip) else None
            except Problem:
                placement = None  # What is wrong is said where the strip is planned.
            if placement:
                ends.append(placement.start_sample + placement.num_samples)
            else:
                untold.append(strip_id(strip.name))
    return max(ends), tuple(untold)


def placed(clip: Clip, clips: ClipPlanner) -> Placement:
    """Return how a clip lies on its track. Raises Problem."""
    whole = clips.place(clip)
    try:
        part = places.read_region(clip.part or f"0:{whole.num_samples}", whole)
        fades = [places.read_place(text, whole) for text in (clip.fade_in, clip.fade_out)]
    except Sa3Error as error:
        raise Problem(clip.line, f"clip {clip.name!r}: {error.message}") from error
    placement = Placement(
        clip=id_of(clip),
        start_sample=clip.start_sample,
        first_sample=part.start_sample,
        end_sample=part.end_sample,
        gain=10 ** (clip.gain_db / 20),
        fade_in_samples=fades[0],
        fade_out_samples=fades[1],
    )
    if sum(fades) > placement.num_samples:
        raise Problem(clip.line, f"clip {clip.name!r}: its fades take {sum(fades)} of {placement.num_samples} samples")
    return placement


class StripPlanner:
    """Turns tracks, buses and the master into nodes, what feeds before what is fed."""

    def __init__(self, project: Project, clips: ClipPlanner, folder: Path, length: int, total: int) -> None:
        self.by_name = {strip.name: strip for strip in (*project.strips, project.master)}
        self.tempo = project.tempo
        self.total = total
        self._project = project
        self._clips = clips
        self._folder = folder
        self._length = length
        self._buses = {strip.name for strip in project.strips if strip.is_bus}

    def fader(self, strip: Strip, gain_db: float = 0.0) -> Feed:
        """Return a strip behind its fader, and behind a send's when one is given.

        In the middle both sides stay as they are; panned, the other side fades along a quarter of a cosine.
        """
        gain = 10 ** ((strip.gain_db + gain_db) / 20)
        left, right = (math.cos(max(0.0, side * strip.pan) * math.pi / 2) for side in (1, -1))
        return Feed(strip_id(strip.name), gain * left, gain * right)

    def feeds_of(self, name: str) -> tuple[Feed, ...]:
        """Return what flows into a bus or the master, in the file's order."""
        feeds = []
        for strip in self._project.strips:
            if strip.muted:
                continue
            # What leads nowhere still belongs to the mix, which must not be made without it.
            if name == (strip.to if strip.to in self._buses else MASTER):
                feeds.append(self.fader(strip))
            feeds += [self.fader(strip, send.gain_db) for send in strip.sends if send.to == name]
        return tuple(feeds)

    def nodes(self) -> list[Node]:
        names = [*self.by_name]
        needs = {name: [feed.strip.removeprefix("strip ") for feed in self.feeds_of(name)] for name in names}
        order, circles = in_order(needs)
        keys: dict[str, str] = {}
        found = []
        for name in order:
            strip = self.by_name[name]
            try:
                node = self._node(strip, circles.get(name, []), keys)
            except Problem as problem:
                node = Node(strip_id(name), strip.line, problem=problem)
            keys[node.id] = node.key
            found.append(node)
        return found

    def _node(self, strip: Strip, circle: list[str], keys: dict[str, str]) -> Node:
        if strip.problem:
            raise strip.problem
        if circle:
            raise Problem(strip.line, f"{strip.name!r} feeds itself: {' <- '.join(map(repr, circle))}")
        buses = ", ".join(sorted(self._buses)) or "no bus: there is none"
        if strip.to not in (MASTER, "", *self._buses):
            raise Problem(strip.line, f"{strip.name!r} leads to {strip.to!r}; allowed: {MASTER}, {buses}")
        for send in strip.sends:
            if send.to not in self._buses:
                raise Problem(send.line, f"{strip.name!r} sends to {send.to!r}; allowed: {buses}")
        problem = next((clip for clip in strip.clips if isinstance(clip, Problem)), None)
        if problem:
            raise problem
        whole = [clip for clip in strip.clips if isinstance(clip, Clip)]
        feeds = self.feeds_of(strip.name)
        needs = (*(id_of(clip) for clip in whole), *(feed.strip for feed in feeds))
        if any(self._clips.planned[clip.name].node.work is None for clip in whole):
            return Node(strip_id(strip.name), strip.line, needs=needs)
        placements = self._placements(strip, whole)
        effects, digests = self._effects(strip)
        work = StripWork(placements, feeds, effects)
        parts = [
            [self._clips.planned[clip.name].node.key, asdict(replace(place, clip=""))]
            for clip, place in zip(whole, placements, strict=True)
        ]
        fed = [[keys[feed.strip], feed.left, feed.right] for feed in feeds]
        chain = [version("pedalboard"), digests, self._project.rate] if digests else []
        key = key_of("strip", [self.total, parts, fed, chain])
        return Node(strip_id(strip.name), strip.line, self.total, needs, work, key)

    def _placements(self, strip: Strip, clips: Sequence[Clip]) -> tuple[Placement, ...]:
        """Return where the clips lie. Raises Problem on the first that overlaps or runs out of the project."""
        placements = [(placed(clip, self._clips), clip) for clip in clips]
        end, before = 0, ""
        for placement, clip in sorted(placements, key=lambda pair: pair[0].start_sample):
            if placement.start_sample < end:
                reason = f"starts at sample {placement.start_sample}, but {before!r} sounds until {end}"
                raise Problem(clip.line, f"clip {clip.name!r} {reason}; clips of one track do not overlap")
            end, before = placement.start_sample + placement.num_samples, clip.name
            if end > self._length:
                raise Problem(clip.line, f"clip {clip.name!r} ends at sample {end}, the project at {self._length}")
        return tuple(placement for placement, _ in placements)

    def _effects(self, strip: Strip) -> tuple[tuple[Effect, ...], list[object]]:
        """Return the chain with absolute paths, and what identifies it. Raises Problem on a file that is missing."""
        effects: list[Effect] = []
        digests: list[object] = []
        for effect in strip.effects:
            whole = self._located(effect)
            files = [whole.plugin, whole.preset, dict(whole.parameters).get(IMPULSE)]
            contents = [digest_of(each, whole) if isinstance(each, str) and each else "" for each in files]
            said = asdict(replace(effect, plugin="", preset="", line=0, automation=()))
            moves = [[move.parameter, move.points] for move in effect.automation]
            digests.append([said, moves, contents])
            effects.append(whole)
        return tuple(effects), digests

    def _located(self, effect: Effect) -> Effect:
        def absolute(text: str) -> str:
            return str((self._folder / Path(text).expanduser()).resolve()) if text else ""

        parameters = tuple(
            (name, absolute(str(value)) if name == IMPULSE else value) for name, value in effect.parameters
        )
        return replace(effect, plugin=absolute(effect.plugin), preset=absolute(effect.preset), parameters=parameters)


def digest_of(path: str, effect: Effect) -> str:
    try:
        return file_digest(Path(path))
    except OSError as error:
        raise Problem(effect.line, f"effect {effect.name}: {path}: {error.strerror or error}") from error


def strip_id(name: str) -> str:
    return f"strip {name}"


def output_nodes(output: Output, strips: StripPlanner, nodes: dict[str, Node], files: dict[str, int]) -> list[Node]:
    """Return a node for each file of an output; ``files`` are those before it, with lines. Raises Problem."""
    master = strips.by_name[MASTER]
    sources: list[tuple[str, tuple[Feed, ...]]]
    if output.of == "mix":
        sources = [("mix", (strips.fader(master),))]
    elif output.of == "premaster":
        sources = [("premaster", strips.feeds_of(MASTER))]
    elif output.of == "stems":
        sources = [(feed.strip.removeprefix("strip "), (feed,)) for feed in strips.feeds_of(MASTER)]
    elif output.of in strips.by_name:
        sources = [(output.of, (strips.fader(strips.by_name[output.of]),))]
    else:
        names = ", ".join(name for name in strips.by_name if name != MASTER)
        raise Problem(output.line, f"there is no {output.of!r}; allowed: mix, premaster, stems, {names}")
    found = []
    for name, feeds in sources:
        node = output_node(output, name, feeds, strips, nodes)
        if problem := taken(files, node.id.removeprefix("output "), output.line):
            raise problem
        found.append(node)
    return found


def output_node(
    output: Output, name: str, feeds: tuple[Feed, ...], strips: StripPlanner, nodes: dict[str, Node]
) -> Node:
    path = str(PurePosixPath(output.file.replace("{name}", name)))
    needs = tuple(feed.strip for feed in feeds)
    said = asdict(replace(output, line=0, file=Path(output.file).suffix.lower()))
    heard = [[nodes[feed.strip].key, feed.left, feed.right] for feed in feeds]
    bars = [asdict(point) for point in strips.tempo.points]  # Its picture shows them.
    key = key_of("output", [said, heard, strips.total, bars])
    return Node(f"output {path}", output.line, strips.total, needs, OutputWork(feeds, output, path, name), key)
