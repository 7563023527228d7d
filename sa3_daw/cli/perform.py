"""One job from the daemon into its files, by way of the disk. Knows no verb: what the job says is done and checked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter

from sa3_daw.audio.files import WavWriter, check_writable
from sa3_daw.blobs import NUM_CHANNELS
from sa3_daw.cli.report import Report, Written
from sa3_daw.client import Client, JobCancelled, JobEvent, Result
from sa3_daw.client_clip import OnDisk
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
        result = client.generate(job, listener, partial(OnDisk, output.resolve().parent))
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
        self._drafts: dict[int, WavWriter] = {}

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
        for writer in self._drafts.values():
            writer.abort()
            writer.path.unlink(missing_ok=True)

    def _add_draft(self, chunk: AudioChunk) -> None:
        if chunk.variation not in self._drafts:
            self._drafts[chunk.variation] = self._draft_writer(chunk.variation)
        writer = self._drafts[chunk.variation]
        writer.write(chunk.samples)
        if writer.num_samples == self.job.num_samples:
            writer.close()
            self._report.drafted(self._draft_path(chunk.variation), self.total_seconds)

    def _draft_writer(self, variation: int) -> WavWriter:
        job = self.job
        recipe = recipe_of(job) | {"is_draft": True}
        return WavWriter(self._draft_path(variation), job.sample_rate, NUM_CHANNELS, recipe, job.start_sample)

    def _draft_path(self, variation: int) -> Path:
        final = output_paths(self._output, self.job.num_variations)[variation]
        return final.with_name(f"{final.stem}.draft.wav")


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
