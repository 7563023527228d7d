"""The editing verbs as jobs: where the source lies in the clip, which regions are made anew, what cannot be combined.
Knows no audio.

Each function takes a plain generate job (its prompt, seed, model and rate) and returns the job of the edit; the
source, already stored at the daemon under its content address, has ``source_num_samples`` at the job's rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sa3_daw.errors import invalid
from sa3_daw.job import Job, Region, Source

SHORTEST_LOOP_SECONDS = 0.5
LOUDNESS_ALLOWED = (
    "none where samples of a source stay bit-identical: a gain would change them, and what is made anew has the level "
    "of its surroundings already; restyle the clip, or give the file that a project renders a loudness"
)


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


def check_combination(job: Job) -> None:
    """Raise InvalidField when a job asks for what its loop or its kept samples do not allow."""
    if job.loop and job.num_samples < SHORTEST_LOOP_SECONDS * job.sample_rate:
        raise invalid("num_samples", job.num_samples, f"at least {SHORTEST_LOOP_SECONDS} s for a loop")
    if job.warp and (job.source or job.loop):
        raise invalid("warp", job.warp, "false with a source or a loop: what is kept or followed stays in its place")
    if job.loudness_lufs is not None and keeps_samples(job):
        raise invalid("loudness_lufs", job.loudness_lufs, LOUDNESS_ALLOWED)


def keeps_samples(job: Job) -> bool:
    """Tell whether anything of the source stays as it is; a loop made of the whole source keeps all but its joint."""
    if job.source is None:
        return False
    return merged(job.regions) != (Region(0, job.num_samples),) if job.regions else job.loop


def merged(regions: Iterable[Region]) -> tuple[Region, ...]:
    """Return the regions in order, those that touch made one."""
    found: list[Region] = []
    for region in sorted(regions, key=lambda region: region.start_sample):
        if found and region.start_sample <= found[-1].end_sample:
            end = max(found[-1].end_sample, region.end_sample)
            found[-1] = Region(found[-1].start_sample, end)
        else:
            found.append(region)
    return tuple(found)
