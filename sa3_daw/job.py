"""One job: what a client asks for, complete and frozen. Knows no bytes, no model and no tensor.

Client, daemon, engine and generation all share this one type. Lengths and positions are integers in
samples at ``sample_rate``; the tempo map is the record of the musical time behind them. Every verb is the
same job: what differs is the source it starts from and the regions it makes anew (``edits.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TempoPoint:
    """Tempo and metre in force from ``position_ppq`` (quarter notes from the timeline's origin) on.

    ``bpm`` counts quarter notes per minute, any finite float64 above 0. A bar is
    ``numerator * 4 / denominator`` quarter notes long; a point that changes the metre starts a bar.
    """

    position_ppq: float
    bpm: float
    numerator: int = 4
    denominator: int = 4


@dataclass(frozen=True)
class Source:
    """Stored stereo audio at the job's rate; its first sample lies at ``start_sample`` of the job's clip.

    ``audio`` is its content address: the SHA-256, in hex, of its planar little-endian float32 bytes.
    """

    audio: str
    start_sample: int = 0


@dataclass(frozen=True)
class Region:
    """The half-open range [start_sample, end_sample) of the job's clip."""

    start_sample: int
    end_sample: int


@dataclass(frozen=True)
class AdapterUse:
    """A LoRA adapter by name, how strong, and where it acts.

    ``strength`` is any finite number, 0 off, 1 as trained. It acts at noise levels in [min_noise, max_noise]
    and, when ``layer_filter`` is not empty, only on modules whose path contains one of its comma-separated words;
    a word with a minus before it (``-cross_attn``) takes the modules that contain it away.
    """

    name: str
    strength: float = 1.0
    min_noise: float = 0.0
    max_noise: float = 1.0
    layer_filter: str = ""


@dataclass(frozen=True)
class Job:
    """Make exactly ``num_samples`` stereo samples at ``sample_rate``, starting at ``start_sample``.

    ``start_sample`` counts from ppq 0 of ``tempo_map``. ``seed`` is in [0, 2**63); variation i uses ``seed + i``.
    ``steps`` 0, ``guidance_scale`` 0.0, ``sampler`` "" and None mean the model's own default; the daemon writes
    the real values into the job before it is queued, and ``accepted`` repeats them.

    Without a ``source`` everything is generated. With one, ``regions`` are made anew (none: the whole clip) and
    every sample of the source outside them comes back bit-identical; what no source covers must lie in a region.
    ``noise_level`` below 1 starts the regions from the source, noised to that level, instead of from noise alone.
    ``loop`` makes the clip's end run on into its start.
    """

    job_id: str
    prompt: str
    num_samples: int
    sample_rate: int
    seed: int
    tempo_map: tuple[TempoPoint, ...]
    start_sample: int = 0
    model: str = "nano"
    negative_prompt: str = ""
    steps: int = 0
    guidance_scale: float = 0.0
    apg_scale: float | None = None
    """How much of the guidance stays orthogonal to the prediction (adaptive projected guidance), 0 to 1."""
    sampler: str = ""
    """euler, rk4, dpmpp or pingpong."""
    headroom_seconds: float | None = None
    """Made beyond the clip and cut away, so that it need not end where the clip ends; 0 asks for an ending."""
    source: Source | None = None
    regions: tuple[Region, ...] = ()
    noise_level: float = 1.0
    loop: bool = False
    num_variations: int = 1
    """Takes of this one job, each with its own seed."""
    best_of: int = 1
    """Rolls per variation; the one whose beats lie best on the grid is delivered."""
    draft: bool = False
    """Send a rough version after an early step, before the final audio replaces it."""
    loudness_lufs: float | None = None
    """Integrated loudness to bring each take to; the whole take is decoded before its first chunk."""
    warp: bool = False
    """Allow a time-stretch of at most 2 % onto the asked tempo; what was done is declared in the take."""
    adapters: tuple[AdapterUse, ...] = ()
    priority: str = "normal"
    """audible, normal or speculative: which of the waiting jobs run first."""
    durable: bool = False
    """Goes on, into the take store, when its client vanishes; otherwise it is cancelled then."""


def content_of(job: Job) -> Job:
    """Return what a job makes, whoever waits for it and how urgently; equal contents are the same audio."""
    return replace(job, priority="normal", durable=False)
