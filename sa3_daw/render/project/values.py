"""A project as values: what the file says, typed, frozen and complete. Knows no file, no daemon and no audio.

Places are samples where the tempo map is enough to tell; what depends on another clip's length stays in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from sa3_daw.job import AdapterUse
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.project.problem import Problem

EffectValue = float | bool | str


@dataclass(frozen=True)
class Making:
    """What a job's own fields are to be; names and defaults as in ``Job``."""

    prompt: str
    negative_prompt: str
    seed: int
    model: str
    steps: int
    guidance_scale: float
    apg_scale: float | None
    sampler: str
    headroom_seconds: float | None
    loudness_lufs: float | None
    best_of: int
    warp: bool
    adapters: tuple[AdapterUse, ...]


@dataclass(frozen=True)
class Clip:
    """One piece of audio. On a track it sounds from ``start_sample`` on; as material it only feeds other clips."""

    line: int
    name: str
    kind: str
    """generate, file, inpaint, continue, restyle or loop."""
    start_sample: int
    part: str = ""
    """The region of the finished clip that sounds, in words; "" is all of it."""
    gain_db: float = 0.0
    fade_in: str = "0"
    fade_out: str = "0"
    making: Making | None = None
    """None for a file."""
    length: str = ""
    file: str = ""
    resample: bool = False
    source: str = ""
    regions: tuple[str, ...] = ()
    before: bool = False
    noise_level: float = 1.0
    loop: bool = False


@dataclass(frozen=True)
class Automation:
    """One parameter over time: (sample, value) in order; numbers run straight from point to point, others jump."""

    line: int
    parameter: str
    points: tuple[tuple[int, EffectValue], ...]


@dataclass(frozen=True)
class Effect:
    """One effect of a chain: pedalboard's own by name, or a plugin by path."""

    line: int
    name: str
    plugin: str = ""
    plugin_name: str = ""
    """Which plugin of a file that holds several."""
    preset: str = ""
    parameters: tuple[tuple[str, EffectValue], ...] = ()
    automation: tuple[Automation, ...] = ()


@dataclass(frozen=True)
class Send:
    line: int
    to: str
    gain_db: float


@dataclass(frozen=True)
class Strip:
    """A track, a bus or the master: what comes in, through effects, to a fader and on."""

    line: int
    name: str
    clips: tuple[Clip | Problem, ...] = ()
    effects: tuple[Effect, ...] = ()
    gain_db: float = 0.0
    pan: float = 0.0
    muted: bool = False
    to: str = ""
    sends: tuple[Send, ...] = ()
    is_bus: bool = False
    problem: Problem | None = None
    """What is wrong with the strip itself."""


@dataclass(frozen=True)
class Output:
    """One file, or with {name} in its name one per stem."""

    line: int
    file: str
    of: str
    """mix, premaster, stems, or the name of a track or bus."""
    rate: int
    depth: int
    """Bits of whole numbers; 0 is 32-bit float."""
    dither: bool
    loudness_lufs: float | None
    true_peak_db: float | None


@dataclass(frozen=True)
class Project:
    """Everything that is to be rendered; ``problems`` are what could not even be read, with nothing in its place."""

    rate: int
    tempo: TempoMap
    length_samples: int | None
    """None: to the end of the last clip."""
    tail: str
    """What sounds on after the length, in words counted from there."""
    material: tuple[Clip | Problem, ...]
    strips: tuple[Strip, ...]
    """Tracks, then buses, in the file's order."""
    master: Strip
    outputs: tuple[Output, ...]
    problems: tuple[Problem, ...]
