"""A project's clips as nodes: files looked at, jobs written out and checked. Knows no effect and makes no audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import soundfile

from sa3_daw import edits
from sa3_daw.adapter_files import list_adapters
from sa3_daw.client import new_job_id
from sa3_daw.config import DaemonConfig
from sa3_daw.daemon.admission import admit
from sa3_daw.errors import Sa3Error
from sa3_daw.job import Job, TempoPoint
from sa3_daw.music import places
from sa3_daw.music.timeline import round_half_up
from sa3_daw.render.project.digests import file_digest, job_digest, key_of
from sa3_daw.render.project.nodes import FileWork, JobWork, Node, in_order
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.table import Grid
from sa3_daw.render.project.values import Clip, Making

NO_AUDIO = "0" * 64
"""Stands for a source's address until the source is made."""


@dataclass(frozen=True)
class Planned:
    """A clip's node with what clips made from it need to know: where its audio lies on the grid, and its prompt."""

    node: Node
    start_sample: int
    prompt: str


class ClipPlanner:
    """Turns clips into nodes, sources first. Reads files' headers and contents, never the daemon."""

    def __init__(self, folder: Path, grid: Grid, config: DaemonConfig) -> None:
        self.planned: dict[str, Planned] = {}
        """By clip name."""
        self._folder = folder
        self._grid = grid
        self._config = config
        self._adapters = [entry.name for entry in list_adapters(config.adapters_dir)]

    def add(self, clips: Sequence[Clip | Problem]) -> None:
        """Plan all clips of a project."""
        known = {clip.name: clip for clip in clips if isinstance(clip, Clip)}
        needs = {clip.name: [clip.source] if clip.source in known else [] for clip in known.values()}
        order, circles = in_order(needs)
        for name in order:
            clip = known[name]
            try:
                if name in circles:
                    circle = " from ".join(map(repr, circles[name]))
                    raise Problem(clip.line, f"clip {name!r} is made from itself: {circle}")
                self.planned[name] = self._file(clip) if clip.making is None else self._made(clip, clip.making)
            except Sa3Error as error:
                said = error if isinstance(error, Problem) else Problem(clip.line, f"clip {name!r}: {error.message}")
                self.planned[name] = self._broken(clip, said)

    def place(self, clip: Clip) -> places.Clip:
        """Return where a planned clip's audio lies, by which words inside it are read."""
        planned = self.planned[clip.name]
        return places.Clip(self._grid.tempo, planned.start_sample, planned.node.num_samples, self._grid.rate)

    def _broken(self, clip: Clip, problem: Problem) -> Planned:
        """Return a clip that cannot be made, with its length where the project alone tells it."""
        num_samples = self._grid.place(clip.length, clip.start_sample) if clip.kind == "generate" else 0
        return Planned(Node(id_of(clip), clip.line, num_samples, problem=problem), clip.start_sample, "")

    def _file(self, clip: Clip) -> Planned:
        path = self._folder / Path(clip.file).expanduser()
        try:
            info = soundfile.info(path)
            digest = file_digest(path)
        except soundfile.LibsndfileError as error:
            raise Problem(clip.line, f"file {clip.file!r} cannot be read as audio: {error.error_string}") from error
        except OSError as error:
            raise Problem(clip.line, f"file {clip.file!r}: {error.strerror or error}") from error
        rate = self._grid.rate
        if info.samplerate != rate and not clip.resample:
            allowed = f"{rate} Hz, the project's; or resample = true"
            raise Problem(clip.line, f"file {clip.file!r} is at {info.samplerate} Hz; allowed: {allowed}")
        if not 1 <= info.channels <= 2 or not info.frames:
            raise Problem(clip.line, f"file {clip.file!r} has {info.channels} channels and {info.frames} samples")
        num_samples = round_half_up(Fraction(info.frames * rate, info.samplerate))
        work = FileWork(path, digest, rate, num_samples)
        node = Node(id_of(clip), clip.line, num_samples, (), work, key_of("file", [digest, rate]))
        return Planned(node, clip.start_sample, "")

    def _made(self, clip: Clip, making: Making) -> Planned:
        source = self.planned.get(clip.source) if clip.source else None
        if clip.source and source is None:
            raise Problem(clip.line, f"clip {clip.name!r}: there is no clip {clip.source!r} to be made from")
        if source and source.node.problem:
            # What is wrong is said once, there; the node only needs it.
            return Planned(Node(id_of(clip), clip.line, needs=(source.node.id,)), 0, "")
        prompt = making.prompt or (source.prompt if source else "")
        if not prompt:
            raise Problem(clip.line, f"clip {clip.name!r}: prompt is missing; its source has none to take over")
        job = self._edit(clip, plain_job(clip, replace(making, prompt=prompt), self._grid), source)
        job = replace(job, tempo_map=heard_points(self._grid, job))
        length = source.node.num_samples if source else 0
        complete = admit(job, self._config, lambda _: length, self._adapters)
        recipe = {name: value for name, value in asdict(complete).items() if name != "job_id"}
        source_key = source.node.key if source else ""
        key = key_of("job", [recipe, source_key, job_digest(complete, self._config)])
        source_id = source.node.id if source else ""
        needs = (source_id,) if source_id else ()
        node = Node(id_of(clip), clip.line, job.num_samples, needs, JobWork(job, source_id), key)
        return Planned(node, job.start_sample, prompt)

    def _edit(self, clip: Clip, job: Job, source: Planned | None) -> Job:
        """Return the job of the clip's kind; an edit lies on the grid where its source does. Raises InvalidField."""
        if source is None:
            return replace(job, num_samples=self._grid.place(clip.length, clip.start_sample), loop=clip.loop)
        start, num_samples = source.start_sample, source.node.num_samples
        job = replace(job, start_sample=start)
        place = places.Clip(self._grid.tempo, start, num_samples, self._grid.rate)
        if clip.kind == "inpaint":
            regions = sorted((places.read_region(text, place) for text in clip.regions), key=lambda r: r.start_sample)
            return replace(edits.inpaint(job, NO_AUDIO, num_samples, regions), noise_level=clip.noise_level)
        if clip.kind == "restyle":
            return edits.restyle(job, NO_AUDIO, num_samples, clip.noise_level)
        if clip.kind == "loop":
            return edits.loop(job, NO_AUDIO, num_samples)
        if clip.before:
            num_new = places.length_before(clip.length, place)
            job = replace(job, start_sample=places.led_into(place, num_new))
            return edits.continue_before(job, NO_AUDIO, num_samples, num_new)
        return edits.continue_after(job, NO_AUDIO, num_samples, self._grid.place(clip.length, start + num_samples))


def id_of(clip: Clip) -> str:
    return f"clip {clip.name}"


def plain_job(clip: Clip, making: Making, grid: Grid) -> Job:
    """Return what all kinds of made clips have in common."""
    return Job(
        job_id=new_job_id(),
        prompt=making.prompt,
        negative_prompt=making.negative_prompt,
        num_samples=0,
        sample_rate=grid.rate,
        seed=making.seed,
        tempo_map=grid.tempo.points,
        start_sample=clip.start_sample,
        model=making.model,
        steps=making.steps,
        guidance_scale=making.guidance_scale,
        apg_scale=making.apg_scale,
        sampler=making.sampler,
        headroom_seconds=making.headroom_seconds,
        loudness_lufs=making.loudness_lufs,
        best_of=making.best_of,
        warp=making.warp,
        adapters=making.adapters,
    )


def heard_points(grid: Grid, job: Job) -> tuple[TempoPoint, ...]:
    """Return the tempo map up to the clip's end: what comes later must not make the clip another one."""
    end = job.start_sample + job.num_samples
    return tuple(
        point
        for index, point in enumerate(grid.tempo.points)
        if index == 0 or grid.tempo.sample_at(Fraction(point.position_ppq), grid.rate) < end
    )
