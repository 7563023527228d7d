"""The editing verbs as jobs: where the source lies in the clip and which regions are made anew. Knows no audio.

Each function takes a plain generate job (its prompt, seed, model and rate) and returns the job of the edit; the
source, already stored at the daemon under its content address, has ``source_num_samples`` at the job's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sa3_daw.job import Job, Region, Source


def inpaint(job: Job, audio: str, source_num_samples: int, regions: Sequence[Region]) -> Job:
    """Make ``regions`` of the source anew; the clip keeps the source's length."""
    return replace(job, num_samples=source_num_samples, source=Source(audio), regions=tuple(regions))


def continue_after(job: Job, audio: str, source_num_samples: int, num_samples: int) -> Job:
    """Let the source run on for ``num_samples``; the clip is the source followed by them."""
    end = source_num_samples + num_samples
    return replace(job, num_samples=end, source=Source(audio), regions=(Region(source_num_samples, end),))


def continue_before(job: Job, audio: str, source_num_samples: int, num_samples: int) -> Job:
    """Lead into the source with ``num_samples`` new ones; the clip is them followed by the source."""
    return replace(
        job,
        num_samples=num_samples + source_num_samples,
        source=Source(audio, num_samples),
        regions=(Region(0, num_samples),),
    )


def restyle(job: Job, audio: str, source_num_samples: int, noise_level: float) -> Job:
    """Make the whole source anew, starting from it at ``noise_level`` in (0, 1): the lower, the closer to it."""
    return replace(job, num_samples=source_num_samples, source=Source(audio), noise_level=noise_level)


def loop(job: Job, audio: str, source_num_samples: int) -> Job:
    """Keep the source but for its joint: the samples around its end and start are made anew so that it repeats."""
    return replace(job, num_samples=source_num_samples, source=Source(audio), loop=True)
