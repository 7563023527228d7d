"""One job from the daemon into its files. Knows no verb: what the job says is done, checked and written."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.files import check_writable, write_wav
from sa3_daw.cli.report import Report, Written
from sa3_daw.client import Client, JobCancelled, JobEvent, Result
from sa3_daw.errors import DaemonUnreachable, invalid
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted
from sa3_daw.recipe import job_of_take, recipe_of, with_accepted, write_take

SUFFIXES = ("", ".wav", ".wave", ".bwf")


def perform(client: Client, job: Job, output: Path, report: Report) -> list[Written]:
    """Run a job, check every take, write one file each.

    Raises the job's error, or KeyboardInterrupt after Ctrl-C when the daemon has confirmed the cancellation; then
    nothing is left under any name.
    """
    report.submitted(job)
    listener = Listener(job, output, report)
    try:
        result = client.generate(job, listener)
    except JobCancelled:
        raise cancelled_by_daemon() from None
    finally:
        listener.remove_drafts()
    written = []
    for path, made in zip(output_paths(output, job.num_variations), result.takes, strict=True):
        take_job = job_of_take(listener.job, made.take.made)
        write_take(path, made.samples, take_job, made.take.take_id, made.take.audio)
        written.append(Written(path, take_job, made.take, times_of(listener, result)))
    for each in written:
        report.written(each)
    return written


def cancelled_by_daemon() -> DaemonUnreachable:
    return DaemonUnreachable("the daemon was told to stop and has cancelled the job; nothing was written")


class Listener:
    """Hears a job's events: passes them on, takes the times, writes drafts beside the files that will replace them."""

    def __init__(self, job: Job, output: Path, report: Report) -> None:
        self.job = job
        self.first_seconds: dict[bool, float] = {}
        """Until the first chunk, of a draft (True) and of the final audio (False)."""
        self._report = report
        self._started = perf_counter()
        self._output = output
        self._drafts: dict[int, list[NDArray[np.float32]]] = {}
        self._draft_paths: list[Path] = []

    @property
    def total_seconds(self) -> float:
        return perf_counter() - self._started

    def __call__(self, event: JobEvent) -> None:
        self._report.event(event)
        if isinstance(event, Accepted):
            self.job = with_accepted(self.job, event)
        elif isinstance(event, AudioChunk):
            self.first_seconds.setdefault(event.draft, self.total_seconds)
            if event.draft:
                self._add_draft(event)

    def remove_drafts(self) -> None:
        for path in self._draft_paths:
            path.unlink(missing_ok=True)

    def _add_draft(self, chunk: AudioChunk) -> None:
        pieces = self._drafts.setdefault(chunk.variation, [])
        pieces.append(chunk.samples)
        if chunk.start_sample + chunk.samples.shape[1] == self.job.num_samples:
            final = output_paths(self._output, self.job.num_variations)[chunk.variation]
            path = final.with_name(f"{final.stem}.draft.wav")
            self._draft_paths.append(path)
            recipe = recipe_of(self.job) | {"is_draft": True}
            samples = np.concatenate(self._drafts.pop(chunk.variation), axis=1)
            write_wav(path, samples, self.job.sample_rate, recipe, self.job.start_sample)
            self._report.drafted(path, self.total_seconds)


def times_of(listener: Listener, result: Result) -> dict[str, float]:
    """Return the seconds until the first chunks and the end, then those of each stage."""
    first = listener.first_seconds
    draft = {"first draft": first[True]} if True in first else {}
    return {**draft, "first audio": first[False], "all": listener.total_seconds, **result.finished.timings_seconds}


def output_paths(output: Path, num_variations: int) -> list[Path]:
    """Return one path per variation: the name itself for one, numbered from 1 for several."""
    if num_variations == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{index + 1}{output.suffix}") for index in range(num_variations)]


def check_outputs(output: Path, num_variations: int, *, force: bool) -> None:
    """Find out, before anything is computed, what could not be written. Raises InvalidField."""
    check_writable(output)
    if output.suffix.lower() not in SUFFIXES:
        raise invalid("output", str(output), "a name ending in .wav: 32-bit float WAV is what is written")
    for path in output_paths(output, num_variations):
        check_writable(path)
        if path.exists() and not force:
            raise invalid("output", str(path), "a file that does not exist yet, or --force to write over it")
