"""What is known of one finished take: its length, levels, beats, key and what changed. Knows no bytes and no tensor.

Made by generation, carried by the protocol, kept by the take store: one type for all three.
"""

from __future__ import annotations

from dataclasses import dataclass

from sa3_daw.job import Region

CLEAR_BEAT = 0.1
"""Below this confidence, as in a pad, the beats measured say nothing."""


@dataclass(frozen=True)
class BeatReport:
    """Beats as measured in a take: tempo, mean offset from the asked grid (positive: late), both with a confidence."""

    bpm: float
    phase_error_seconds: float
    confidence: float
    """0 (no beat to be found) to 1."""


@dataclass(frozen=True)
class KeyReport:
    """Key as estimated in a take, for example "A minor"; confidence 0 to 1."""

    key: str
    confidence: float


@dataclass(frozen=True)
class TakeMade:
    """One variation is complete; all its audio has been sent.

    ``changed`` are the ranges that differ from the source (all of the clip without one); ``kept_sha256`` is the
    SHA-256 of the planar float32 bytes of every sample outside them, in time order per channel, "" without a source.
    ``stretch`` is the declared time-stretch (1.0: none), ``seam_db`` the worst level jump across the edges of the
    changed ranges and of chained windows, None where there is none.
    """

    variation: int
    seed: int
    num_samples: int
    peak_db: float
    rms_db: float
    loudness_lufs: float | None
    beats: BeatReport | None
    key: KeyReport | None
    changed: tuple[Region, ...] = ()
    kept_sha256: str = ""
    stretch: float = 1.0
    seam_db: float | None = None
