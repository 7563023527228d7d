"""What was asked of the daemon, on disk: a file per job until its last take is stored, a log of all. Knows no client.

A job whose file a new daemon finds was live when the one before it died, or, under its second name, had ended with
takes still to be stored. The log has one JSON line per accepted job, with everything that makes it again, and one per
end; it is rotated.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import msgspec

from sa3_daw.job import Job
from sa3_daw.logs import about
from sa3_daw.protocol.messages import JobEnd

log = logging.getLogger(__name__)

LIVE, ENDED = ".json", ".ended"
MAX_LOG_BYTES = 16 << 20
NUM_OLD_LOGS = 4


class Journal:
    """Live jobs and the request log of one data folder. A disk that takes nothing costs only the journal."""

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir / "live"
        self._log = data_dir / "log" / "requests.jsonl"
        self._has_whole_lines = False

    def left_behind(self) -> list[tuple[Job, bool]]:
        """Return the jobs that an earlier daemon had in hand when it died, and whether each was still live."""
        try:
            paths = sorted(self._live.iterdir())
        except OSError:  # Nothing was noted yet, or nothing can be read.
            return []
        jobs = []
        for path in paths:
            try:
                jobs.append((msgspec.json.decode(path.read_bytes(), type=Job), path.suffix == LIVE))
            except (OSError, msgspec.MsgspecError) as error:
                log.error("journal: %s cannot be used: %s", path, error)
        return jobs

    def accepted(self, job: Job) -> None:
        """Note a job that is live from now on."""
        try:
            self._live.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path(job.job_id, LIVE).write_bytes(msgspec.json.encode(job))
        except OSError as error:
            log.error("journal: it is not noted: %s", error, extra=about(job.job_id))
        self._append({"event": "accepted", "time_seconds": time(), "job": job})

    def ended(self, end: JobEnd) -> None:
        """Note that a job is no longer live, though takes of it may still have to be stored."""
        try:
            with suppress(FileNotFoundError):  # It could not be noted.
                os.replace(self._path(end.job_id, LIVE), self._path(end.job_id, ENDED))
        except OSError as error:
            log.error("journal: it stays noted as live: %s", error, extra=about(end.job_id))
        self._append({"event": "ended", "time_seconds": time(), "end": end})

    def stored(self, job_id: str) -> None:
        """Forget a job that has ended and whose takes are stored."""
        try:
            self._path(job_id, ENDED).unlink(missing_ok=True)
        except OSError as error:
            log.error("journal: it stays noted: %s", error, extra=about(job_id))

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

    def _path(self, job_id: str, suffix: str) -> Path:
        return self._live / f"{job_id}{suffix}"
