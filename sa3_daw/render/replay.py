"""A daemon's request log made again, job by job, and compared with the stored takes. Knows no command."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from sa3_daw import __version__
from sa3_daw.client import Client, JobStream, TakeInfo, audio_address, collect, new_job_id
from sa3_daw.errors import DaemonUnreachable, InvalidField, Sa3Error, invalid
from sa3_daw.job import Job

PAGE = 100
"""Takes asked for at once; the daemon's limit is higher."""


@dataclass(frozen=True)
class Logged:
    """One line of the request log, as far as it is needed here."""

    event: str
    job: Job | None = None


@dataclass(frozen=True)
class Compared:
    """A variation of a logged job, made again. ``identical`` is None when there is nothing to compare with."""

    job_id: str
    variation: int
    take_id: str
    """The stored take; "" when none is whole."""
    identical: bool | None
    error: str = ""
    """Why the job could not be made again."""
    difference: str = ""
    """Where and how much a take differs, and what else made it, as far as that is known."""

    @property
    def is_good(self) -> bool:
        return not self.error and self.identical is not False


def read_log(path: Path) -> list[Job]:
    """Return the accepted jobs of a request log, each id once. Raises InvalidField, naming the line, or OSError."""
    jobs: dict[str, Job] = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            logged = msgspec.json.decode(line, type=Logged)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            # The last line may be cut short by the daemon's death.
            if number == len(lines):
                break
            raise InvalidField(f"{path} line {number}: not a line of a request log ({error})") from error
        if logged.event == "accepted" and logged.job is not None:
            jobs.setdefault(logged.job.job_id, logged.job)
    if not jobs:
        raise invalid("log", str(path), "a request log with at least one accepted job")
    return list(jobs.values())


def replay(client: Client, jobs: Sequence[Job], in_flight: int) -> Iterator[Compared]:
    """Make jobs again and yield what became of each variation, in order; takes that are the same are not kept twice."""
    stored = whole_takes(client, {job.job_id for job in jobs})
    pending = deque(jobs)
    streams: deque[tuple[Job, JobStream]] = deque()
    try:
        while pending or streams:
            while pending and len(streams) < in_flight:
                job = pending.popleft()
                again = replace(job, job_id=new_job_id(), draft=False, durable=False)
                streams.append((job, client.submit(again)))
            job, stream = streams.popleft()
            with stream:
                yield from compared(client, job, stream, stored)
    finally:
        for _, stream in streams:
            stream.close()


def compared(
    client: Client, job: Job, stream: JobStream, stored: dict[tuple[str, int], TakeInfo]
) -> Iterator[Compared]:
    """Read one job to its end and compare its variations. Raises DaemonUnreachable."""
    try:
        result = collect(stream)
    except DaemonUnreachable:
        raise
    except Sa3Error as error:
        yield Compared(job.job_id, 0, "", None, error.message)
        return
    for made in result.takes:
        variation = made.take.made.variation
        take = stored.get((job.job_id, variation))
        if take is None:
            yield Compared(job.job_id, variation, "", None)
        elif audio_address(made.samples) == take.audio:
            if made.take.take_id:  # Without one it could not be stored.
                client.delete_take(made.take.take_id)
            yield Compared(job.job_id, variation, take.take_id, True)
        else:
            difference = told_difference(made.samples, client.get_audio(take.audio), take.daemon_version)
            yield Compared(job.job_id, variation, take.take_id, False, difference=difference)


def told_difference(made_CS: NDArray[np.float32], stored_CS: NDArray[np.float32], stored_by: str) -> str:
    """Say from where on and how loudly two takes differ: rounding is far below the music, another seed is not."""
    version = "" if stored_by == __version__ else f"; it was made by sa3-daw {stored_by}, this is {__version__}"
    if made_CS.shape != stored_CS.shape:
        return f"{made_CS.shape[1]} samples instead of {stored_CS.shape[1]}{version}"
    first = int(np.flatnonzero((made_CS.view(np.uint32) != stored_CS.view(np.uint32)).any(axis=0))[0])
    most = float(np.abs(made_CS - stored_CS).max())
    level = f"{20 * np.log10(most):.0f} dBFS at most" if most else "the sign of zeros alone"
    return f"from sample {first} on, by {level}{version}"


def whole_takes(client: Client, job_ids: set[str]) -> dict[tuple[str, int], TakeInfo]:
    """Return the stored takes of these jobs by job and variation, those left out that an interruption cut short."""
    found: dict[tuple[str, int], TakeInfo] = {}
    before = ""
    while takes := client.list_takes(limit=PAGE, before=before):
        for take in takes:
            if take.job_id in job_ids and not take.interrupted:
                found[take.job_id, take.made.variation] = take
        before = takes[-1].take_id
    return found
