"""What makes a take again, and a take's file with it inside. Knows no daemon and no verb."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw import __version__
from sa3_daw.audio.files import write_wav
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted
from sa3_daw.take import TakeMade


def write_take(path: Path, samples: NDArray[np.float32], job: Job, take_id: str, audio: str) -> None:
    """Write one take with its place and everything that makes it again."""
    write_wav(path, samples, job.sample_rate, recipe_of(job) | {"take_id": take_id, "audio": audio}, job.start_sample)


def with_accepted(job: Job, accepted: Accepted) -> Job:
    """Return the job with the model's own values that the daemon has filled in."""
    return replace(
        job,
        model=accepted.model,
        steps=accepted.steps,
        guidance_scale=accepted.guidance_scale,
        apg_scale=accepted.apg_scale,
        sampler=accepted.sampler,
        headroom_seconds=accepted.headroom_seconds,
    )


def job_of_take(job: Job, made: TakeMade) -> Job:
    """Return the job that makes this one take again: its own seed, one roll, nothing before the final audio."""
    return replace(job, seed=made.seed, num_variations=1, best_of=1, draft=False)


def recipe_of(job: Job) -> dict[str, Any]:
    """Return what makes the same clip again."""
    return {"sa3_daw": __version__, **asdict(job)}
