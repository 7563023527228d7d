"""What was asked of the daemon, on disk: a file per job until its last take is stored, a log of all. Knows no client.

A job whose file a new daemon finds was live when the one before it died, or, under its second name, had ended with
takes still to be stored. A file per complete variation tells until then what was measured of it. The log has one JSON
line per accepted job, with everything that makes it again, and one per end; it is rotated.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, TypeVar

import msgspec

from sa3_daw.job import Job, content_of
from sa3_daw.logs import about
from sa3_daw.protocol.messages import JobEnd
from sa3_daw.take import TakeMade

log = logging.getLogger(__name__)

T = TypeVar("T")

LIVE, ENDED, COMPLETE = ".json", ".ended", ".made"
MAX_LOG_BYTES = 16 << 20
NUM_OLD_LOGS = 4


@dataclass(frozen=True)
class Left:
    """What a daemon that died had in hand: a job, still live or ended, and its complete variations."""

    job: Job
    was_live: bool
    complete: dict[int, TakeMade]


class Journal:
    """Live jobs and the request log of one data folder. A disk that takes nothing costs only the journal."""

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir / "live"
        self._log = data_dir / "log" / "requests.jsonl"
        self._has_whole_lines = False

    def left_behind(self) -> list[Left]:
        """Return what an earlier daemon had in hand when it died."""
        try:
            files = sorted(self._live.iterdir())
        except OSError:  # Nothing was noted yet, or nothing can be read.
            return []
        paths = [path for path in files if path.suffix in (LIVE, ENDED)]
        names = {path.stem for path in paths}
        for path in files:
            if path.suffix == COMPLETE and path.stem.rpartition(".")[0] not in names:
                with suppress(OSError):
                    path.unlink()
        jobs = ((path, _read(path, Job)) for path in paths)
        return [Left(job, path.suffix == LIVE, self._complete_of(job)) for path, job in jobs if job is not None]

    def accepted(self, job: Job) -> None:
        """Note a job that is live from now on."""
        try:
            self._live.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path(job, LIVE).write_bytes(msgspec.json.encode(job))
        except OSError as error:
            log.error("journal: it is not noted: %s", error, extra=about(job.job_id))
        self._append({"event": "accepted", "time_seconds": time(), "job": job})

    def ended(self, job: Job, end: JobEnd) -> None:
        """Note that a job is no longer live, though takes of it may still have to be stored."""
        try:
            with suppress(FileNotFoundError):  # It could not be noted.
                os.replace(self._path(job, LIVE), self._path(job, ENDED))
        except OSError as error:
            log.error("journal: it stays noted as live: %s", error, extra=about(end.job_id))
        self._append({"event": "ended", "time_seconds": time(), "end": end})

    def complete(self, job: Job, made: TakeMade) -> None:
        """Note a variation of which all has come."""
        try:
            self._complete_paths(job)[made.variation].write_bytes(msgspec.json.encode(made))
        except OSError as error:
            log.error("journal: a complete variation is not noted: %s", error, extra=about(job.job_id))

    def stored(self, job: Job) -> None:
        """Forget a job that has ended and whose takes are stored."""
        try:
            if not self._path(job, LIVE).exists():  # It has not been sent again meanwhile.
                self._forget_complete(job)
            self._path(job, ENDED).unlink(missing_ok=True)
        except OSError as error:
            log.error("journal: it stays noted: %s", error, extra=about(job.job_id))

    def _complete_of(self, job: Job) -> dict[int, TakeMade]:
        found = (_read(path, TakeMade) for path in self._complete_paths(job) if path.is_file())
        return {made.variation: made for made in found if made is not None}

    def _forget_complete(self, job: Job) -> None:
        for path in self._complete_paths(job):
            path.unlink(missing_ok=True)

    def _append(self, line: dict[str, Any]) -> None:
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._log.exists() and self._log.stat().st_size > MAX_LOG_BYTES:
                self._rotate()
            if not self._has_whole_lines:
                self._drop_half_line()
            with open(self._log, "ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            log.error("journal: a request is not logged: %s", error)

    def _drop_half_line(self) -> None:
        """Cut off the half line that a power cut may have left at the end."""
        self._has_whole_lines = True
        if self._log.exists():
            content = self._log.read_bytes()
            os.truncate(self._log, content.rfind(b"\n") + 1)

    def _rotate(self) -> None:
        """requests.jsonl becomes requests.1.jsonl, and so on; the oldest goes."""
        names = [self._log, *(self._log.with_name(f"requests.{number}.jsonl") for number in range(1, NUM_OLD_LOGS + 1))]
        for newer, older in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
            if newer.exists():
                os.replace(newer, older)

    def _path(self, job: Job, suffix: str) -> Path:
        return self._live / f"{run_name(job)}{suffix}"

    def _complete_paths(self, job: Job) -> list[Path]:
        name = run_name(job)
        return [self._live / f"{name}.{variation}{COMPLETE}" for variation in range(job.num_variations)]


def run_name(job: Job) -> str:
    """Return what files of a job are called: its id may be another job's once it has ended, with other content."""
    return f"{job.job_id}.{sha256(msgspec.json.encode(content_of(job))).hexdigest()[:16]}"


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        log.error("journal: %s cannot be used: %s", path, error)
        return None
