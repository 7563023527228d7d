"""What a running job shows: a progress bar on the terminal, or one JSON line per event. Knows no daemon."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sa3_daw.client import JobEvent
from sa3_daw.errors import Sa3Error
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted, Cancelled, Finished
from sa3_daw.protocol.messages import Progress as JobProgress


@dataclass(frozen=True)
class Take:
    """A written clip: the job as the daemon accepted it, its levels, and how long it took."""

    path: Path
    job: Job
    finished: Finished
    first_chunk_seconds: float
    total_seconds: float


class Report(Protocol):
    """Told of every event of one job, then of the written clip; a context manager around the job."""

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def event(self, event: JobEvent) -> None: ...

    def taken(self, take: Take) -> None: ...


class TerminalReport:
    """A bar per stage with the time that is left, on stderr and only on a terminal; the summary on stdout."""

    def __init__(self, num_samples: int) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._num_samples = num_samples

    def __enter__(self) -> TerminalReport:
        self._bars.start()
        self._show("waiting", 0, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def event(self, event: JobEvent) -> None:
        if isinstance(event, JobProgress):
            self._show(event.stage, event.step, event.num_steps if event.num_steps > 1 else None)
        elif isinstance(event, AudioChunk):
            self._show("decoding", event.start_sample + event.samples.shape[1], self._num_samples)
        elif isinstance(event, Cancelled):
            self._bars.stop()
            print("sa3-daw: cancelled on the daemon, nothing was written", file=sys.stderr)

    def taken(self, take: Take) -> None:
        print(f"{take.path}: {describe_length(take.job)}")
        print(f"seed {take.job.seed}, model {take.job.model}, {describe_levels(take)}")
        print(describe_times(take))

    def _show(self, stage: str, done: int, total: int | None) -> None:
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


class JsonReport:
    """Every event as one line on stdout, the samples left out; ends with ``written``, ``failed`` or ``cancelled``."""

    def __enter__(self) -> JsonReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Sa3Error):
            self._line("failed", code=error.code, message=error.message, field=error.field, allowed=error.allowed)

    def event(self, event: JobEvent) -> None:
        if isinstance(event, Accepted):
            self._line("accepted", position=event.position, model=event.model, steps=event.steps)
        elif isinstance(event, JobProgress):
            self._line("progress", stage=event.stage, step=event.step, num_steps=event.num_steps)
        elif isinstance(event, AudioChunk):
            self._line("audio", start_sample=event.start_sample, num_samples=int(event.samples.shape[1]))
        elif isinstance(event, Finished):
            self._line("finished", num_samples=event.num_samples, peak_db=event.peak_db, rms_db=event.rms_db)
        elif isinstance(event, Cancelled):
            self._line("cancelled")

    def taken(self, take: Take) -> None:
        self._line(
            "written",
            path=str(take.path),
            num_samples=take.finished.num_samples,
            sample_rate=take.job.sample_rate,
            start_sample=take.job.start_sample,
            seed=take.job.seed,
            first_chunk_seconds=round(take.first_chunk_seconds, 4),
            total_seconds=round(take.total_seconds, 4),
            timings_seconds=take.finished.timings_seconds,
        )

    def _line(self, kind: str, **values: object) -> None:
        print(json.dumps({"event": kind, **values}), flush=True)


def describe_length(job: Job) -> str:
    return f"{job.num_samples} samples at {job.sample_rate} Hz ({job.num_samples / job.sample_rate:.3f} s)"


def describe_levels(take: Take) -> str:
    return f"peak {take.finished.peak_db:.1f} dBFS, RMS {take.finished.rms_db:.1f} dBFS"


def describe_times(take: Take) -> str:
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in take.finished.timings_seconds.items())
    return f"first audio after {take.first_chunk_seconds:.2f} s, all after {take.total_seconds:.2f} s ({stages})"
