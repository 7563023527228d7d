"""What a running job shows: a progress bar on the terminal, or one JSON line per event. Knows no daemon."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sa3_daw.client import JobEvent
from sa3_daw.errors import Sa3Error
from sa3_daw.generation.events import AudioChunk
from sa3_daw.job import Job
from sa3_daw.protocol.messages import Accepted, Cancelled, Finished, Take
from sa3_daw.protocol.messages import Progress as JobProgress
from sa3_daw.take import CLEAR_BEAT, TakeMade


@dataclass(frozen=True)
class Written:
    """A written take: the job that makes it again, what is known of it, and seconds by what they were spent on."""

    path: Path
    job: Job
    take: Take
    seconds: dict[str, float]


class Report(Protocol):
    """Told of every event of one job, then of each written take; a context manager around the job."""

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, text: str) -> None: ...

    def submitted(self, job: Job) -> None: ...

    def event(self, event: JobEvent) -> None: ...

    def drafted(self, path: Path, seconds: float) -> None: ...

    def written(self, written: Written) -> None: ...

    def rerendered(self, take_id: str, *, peak_difference: float, identical: bool) -> None: ...


class TerminalReport:
    """A bar per stage with the time that is left, on stderr and only on a terminal; the summary on stdout."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._is_first = True
        self._num_samples: int | None = None
        self._prompt = ""

    def __enter__(self) -> TerminalReport:
        self._bars.start()
        self._show("waiting", 0, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def submitted(self, job: Job) -> None:
        self._num_samples, self._prompt = job.num_samples, job.prompt

    def event(self, event: JobEvent) -> None:
        if isinstance(event, Accepted):
            self._accepted(event)
        elif isinstance(event, JobProgress):
            self._show(event.stage, event.step, event.num_steps if event.num_steps > 1 else None)
        elif isinstance(event, AudioChunk):
            stage = "draft" if event.draft else f"take {event.variation + 1}" if event.variation else "decoding"
            self._show(stage, event.start_sample + event.samples.shape[1], self._num_samples)
        elif isinstance(event, Take) and event.problem:
            self.note(f"sa3-daw: {event.problem}")
        elif isinstance(event, Cancelled):
            self._bars.stop()
            print("sa3-daw: cancelled on the daemon, nothing was written", file=sys.stderr)

    def _accepted(self, accepted: Accepted) -> None:
        if accepted.chained:
            self.note("longer than the model makes in one piece: made of several windows, each continuing the last")
        if accepted.prompt != self._prompt:
            self.note(f"the model gets: {accepted.prompt}")

    def drafted(self, path: Path, seconds: float) -> None:
        self.note(f"{path}: a draft, after {seconds:.2f} s; it goes when the final audio is here")

    def written(self, written: Written) -> None:
        self._bars.stop()
        made = written.take.made
        print(f"{written.path}: {describe_length(written.job)}")
        print(f"  take {written.take.take_id or '(not stored)'}, seed {made.seed}, model {written.job.model}")
        for line in describe_made(made, with_changes=written.job.source is not None):
            print(f"  {line}")
        if self._is_first:
            print(f"  {describe_times(written.seconds)}")
        self._is_first = False

    def rerendered(self, take_id: str, *, peak_difference: float, identical: bool) -> None:
        self._bars.stop()
        how = "bit-identical" if identical else f"different: by up to {peak_difference:.3g} of full scale"
        print(f"take {take_id} made again: {how}")

    def _show(self, stage: str, done: int, total: int | None) -> None:
        if stage not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total, visible=True)


class JsonReport:
    """Every event as one line on stdout, the samples left out; ends with ``written``, ``failed`` or ``cancelled``."""

    def __enter__(self) -> JsonReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Sa3Error):
            self._line("failed", code=error.code, message=error.message, field=error.field, allowed=error.allowed)

    def note(self, text: str) -> None:
        self._line("note", text=text)

    def submitted(self, job: Job) -> None:
        self._line("submitted", job_id=job.job_id, num_samples=job.num_samples, sample_rate=job.sample_rate)

    def event(self, event: JobEvent) -> None:
        if isinstance(event, AudioChunk):
            self._line(
                "audio",
                variation=event.variation,
                draft=event.draft,
                start_sample=event.start_sample,
                num_samples=int(event.samples.shape[1]),
            )
        else:
            self._line(EVENT_WORDS[type(event)], **asdict(event))

    def drafted(self, path: Path, seconds: float) -> None:
        self._line("draft_written", path=str(path), seconds=round(seconds, 4))

    def written(self, written: Written) -> None:
        self._line(
            "written",
            path=str(written.path),
            num_samples=written.take.made.num_samples,
            sample_rate=written.job.sample_rate,
            start_sample=written.job.start_sample,
            seed=written.take.made.seed,
            take_id=written.take.take_id,
            seconds={stage: round(seconds, 4) for stage, seconds in written.seconds.items()},
        )

    def rerendered(self, take_id: str, *, peak_difference: float, identical: bool) -> None:
        difference = peak_difference if math.isfinite(peak_difference) else None
        self._line("rerendered", take_id=take_id, identical=identical, peak_difference=difference)

    def _line(self, kind: str, **values: object) -> None:
        print(json.dumps({"event": kind, **values}), flush=True)


EVENT_WORDS: dict[type, str] = {
    Accepted: "accepted",
    JobProgress: "progress",
    Take: "take",
    Finished: "finished",
    Cancelled: "cancelled",
}


MOMENTS = ("first draft", "first audio", "all")
"""Keys of ``Written.seconds`` that are times since the request; the others are stages."""


def describe_length(job: Job) -> str:
    return f"{job.num_samples} samples at {job.sample_rate} Hz ({job.num_samples / job.sample_rate:.3f} s)"


def describe_levels(made: TakeMade) -> str:
    loudness = "" if made.loudness_lufs is None else f", {made.loudness_lufs:.1f} LUFS"
    return f"peak {made.peak_db:.1f} dBFS, RMS {made.rms_db:.1f} dBFS{loudness}"


def describe_made(made: TakeMade, *, with_changes: bool) -> list[str]:
    """Return what was measured in a take, one line per thing."""
    lines = [describe_levels(made)]
    if made.beats is None or made.beats.confidence < CLEAR_BEAT:
        lines.append("no clear beat")
    else:
        late = 1000 * made.beats.phase_error_seconds
        where = f"{abs(late):.1f} ms {'late' if late > 0 else 'early'}"
        lines.append(f"beats {made.beats.bpm:.2f} BPM, {where}, confidence {made.beats.confidence:.2f}")
    if made.key is not None:
        lines.append(f"key {made.key.key}, confidence {made.key.confidence:.2f}")
    if made.stretch != 1.0:
        lines.append(f"stretched by {100 * (made.stretch - 1):+.2f} % onto the tempo")
    if with_changes:
        ranges = ", ".join(f"{region.start_sample}:{region.end_sample}" for region in made.changed)
        kept = "; every other sample is bit-identical, checked" if made.kept_sha256 else ""
        lines.append(f"changed {ranges}{kept}")
    if made.seam_db is not None:
        lines.append(f"level beside the seams differs by at most {made.seam_db:.1f} dB; a beat on a seam counts too")
    return lines


def describe_times(seconds: dict[str, float]) -> str:
    """Say when something came and then, in brackets, what each stage took."""
    moments = [f"{what} after {seconds[what]:.2f} s" for what in MOMENTS if what in seconds]
    stages = [f"{stage} {took:.2f}" for stage, took in seconds.items() if stage not in MOMENTS]
    return f"{', '.join(moments)} ({', '.join(stages)})"
