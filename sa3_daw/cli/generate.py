"""`sa3-daw generate`: one job from the daemon into one file, chunk by chunk. Knows no model and no bytes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from sa3_daw import __version__
from sa3_daw.audio.files import WavWriter
from sa3_daw.cli.play import play
from sa3_daw.cli.report import JsonReport, Report, TerminalReport, describe_length
from sa3_daw.cli.request import job_from
from sa3_daw.client import Accepted, AudioChunk, Cancelled, Client, Finished, JobStream, new_job_id, random_seed
from sa3_daw.errors import invalid
from sa3_daw.job import Job


@dataclass(frozen=True)
class Take:
    """A written clip: the job as the daemon accepted it, its levels, and how long it took."""

    path: Path
    job: Job
    finished: Finished
    first_chunk_seconds: float
    total_seconds: float


def run(arguments: argparse.Namespace) -> int:
    job = job_from(arguments, new_job_id(), random_seed())
    check_writable(arguments.output)
    report: Report = JsonReport() if arguments.json else TerminalReport()
    with report, Client.connect() as client:
        take = generate(client, job, arguments.output, report)
    report.taken(take)
    if arguments.play:
        play(take.path)
    return 0


def generate(client: Client, job: Job, path: Path, report: Report) -> Take:
    """Run one job and write its audio while it arrives.

    Raises the job's error, or KeyboardInterrupt after Ctrl-C, when the daemon has confirmed the cancellation;
    in both cases no file is left under the final name.
    """
    started = perf_counter()
    first_chunk_seconds = 0.0
    writer: WavWriter | None = None
    with cancelling(client.submit(job), report) as stream:
        try:
            for event in stream:
                report.event(event)
                if isinstance(event, Accepted):
                    job = event.job
                    writer = WavWriter(path, job.sample_rate, 2, recipe_of(job), job.start_sample)
                elif isinstance(event, AudioChunk):
                    assert writer is not None
                    first_chunk_seconds = first_chunk_seconds or perf_counter() - started
                    writer.write(event.samples)
                elif isinstance(event, Finished):
                    assert writer is not None
                    writer.close()
                    return Take(path, job, event, first_chunk_seconds, perf_counter() - started)
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
    raise KeyboardInterrupt


@contextmanager
def cancelling(stream: JobStream, report: Report) -> Iterator[JobStream]:
    """Cancel the job on the daemon when the block is left by an error or Ctrl-C, and wait until it says so."""
    try:
        yield stream
    except BaseException:
        stream.cancel()
        for event in stream:
            if isinstance(event, Cancelled | Finished):
                report.event(event)
        raise


def recipe_of(job: Job) -> dict[str, Any]:
    """Return what makes the same clip again."""
    return {"sa3_daw": __version__, **asdict(job)}


def check_writable(path: Path) -> None:
    """Find out before anything is generated that the file could not be written. Raises InvalidField."""
    if path.is_dir():
        raise invalid("output", str(path), "a file name, not a folder")
    if not path.parent.is_dir():
        raise invalid("output", str(path), "a file in a folder that exists")
    if not os.access(path.parent, os.W_OK):
        raise invalid("output", str(path), "a file in a folder that can be written")


__all__ = ["Take", "check_writable", "describe_length", "generate", "run"]
