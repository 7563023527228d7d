"""The request log survives a power cut: half a line goes, whole ones stay, and new ones begin at a line's start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sa3_daw.daemon.journal import Journal
from tests.running_daemon import a_job


def lines_of(log: Path) -> list[str]:
    return [json.loads(line)["job"]["job_id"] for line in log.read_text("utf-8").splitlines()]


def test_half_a_line_left_by_a_power_cut_is_dropped_before_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log" / "requests.jsonl"
    job = a_job("house drums")
    Journal(tmp_path).accepted(replace(job, job_id="first"))
    with open(log, "ab") as file:
        file.write(b'{"event": "acc')
    again = Journal(tmp_path)
    again.accepted(replace(job, job_id="second"))
    again.accepted(replace(job, job_id="third"))
    assert lines_of(log) == ["first", "second", "third"]
