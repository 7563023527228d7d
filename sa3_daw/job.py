"""One job: what a client asks for, complete and frozen. Knows no bytes, no model and no tensor.

Client, daemon, engine and generation all share this one type. Lengths and positions are integers in
samples at ``sample_rate``; the tempo map is the record of the musical time behind them.
"""

from __future__ import annotations

from dataclasses import dataclass


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
class Job:
    """Generate exactly ``num_samples`` stereo samples at ``sample_rate``, starting at ``start_sample``.

    ``start_sample`` counts from ppq 0 of ``tempo_map``. ``seed`` is in [0, 2**63). ``steps`` 0 and
    ``guidance_scale`` 0.0 in a request mean the model's own default; the daemon writes the real
    values into the job before it is queued, and ``accepted`` repeats them.
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
