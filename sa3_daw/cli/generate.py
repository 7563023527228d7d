"""`sa3-daw generate`: one job from the daemon into one file, chunk by chunk. Knows no model and no bytes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from sa3_daw import __version__
from sa3_daw.audio.files import WavWriter, check_writable
from sa3_daw.cli.play import play
from sa3_daw.cli.report import JsonReport, Report, Take, TerminalReport
from sa3_daw.cli.request import job_from
from sa3_daw.client import Client, JobEvent, JobStream, new_job_id, random_seed
from sa3_daw.errors import DaemonUnreachable
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted, Finished


def run(arguments: argparse.Namespace) -> int:
    job = job_from(arguments, new_job_id(), random_seed())
    check_writable(arguments.output)
    report: Report = JsonReport() if arguments.json else TerminalReport(job.num_samples)
    with report, Client.connect() as client:
        take = generate(client, job, arguments.output, report)
    report.taken(take)
    if arguments.play:
        play(take.path)
    return 0


def generate(client: Client, job: Job, path: Path, report: Report) -> Take:
    """Run one job and write its audio while it arrives.

    Raises the job's error, or KeyboardInterrupt after Ctrl-C, when the daemon has confirmed the cancellation;
    in both cases nothing is left under the final name.
    """
    started = perf_counter()
    first_chunk_seconds = 0.0
    event: JobEvent | None = None
    with cancelled_by_ctrl_c(client.submit(job), report) as stream:
        job = accepted(stream, job, report)
        with WavWriter(path, job.sample_rate, 2, recipe_of(job), job.start_sample) as writer:
            for event in stream:
                report.event(event)
                if isinstance(event, AudioChunk):
                    first_chunk_seconds = first_chunk_seconds or perf_counter() - started
                    writer.write(event.samples)
            if not isinstance(event, Finished):
                raise stopped()
    return Take(path, job, event, first_chunk_seconds, perf_counter() - started)


def accepted(stream: JobStream, job: Job, report: Report) -> Job:
    """Return the job with the model's own values that the daemon has filled in."""
    event = next(stream)
    report.event(event)
    if not isinstance(event, Accepted):
        raise stopped()
    return replace(job, model=event.model, steps=event.steps, guidance_scale=event.guidance_scale)


def stopped() -> DaemonUnreachable:
    return DaemonUnreachable("the daemon was told to stop and has cancelled the job; nothing was written")


@contextmanager
def cancelled_by_ctrl_c(stream: JobStream, report: Report) -> Iterator[JobStream]:
    """Cancel the job on the daemon after Ctrl-C and wait until it says so; a second Ctrl-C waits no longer."""
    with stream:
        try:
            yield stream
        except KeyboardInterrupt:
            stream.cancel()
            for event in stream:
                report.event(event)
            raise


def recipe_of(job: Job) -> dict[str, Any]:
    """Return what makes the same clip again."""
    return {"sa3_daw": __version__, **asdict(job)}
