"""Fairness between clients, and what an idle front costs; heavier loads: test_daemon_load.py and load/soak.py."""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from sa3_daw.cli.bench import percentile, steps_to_cancel
from sa3_daw.client import Accepted, Cancelled, Finished
from tests.running_daemon import RunningDaemon, a_job, wait_for

NUM_GREEDY = 200
IDLE_SECONDS = 4.0
MAX_IDLE_SHARE = 0.01
NUM_SINGLES = 5


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("load") / "run", SA3_LOG_LEVEL="warning") as running:
        running.engine_pid()
        yield running


def processor_seconds(pid: int) -> float:
    """Return the time a process has computed so far, from the system's own books."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_front_takes_less_than_one_percent_of_a_core(daemon: RunningDaemon) -> None:
    before, started = processor_seconds(daemon.process.pid), monotonic()
    threading.Event().wait(IDLE_SECONDS)
    share = (processor_seconds(daemon.process.pid) - before) / (monotonic() - started)
    print(f"idle front: {100 * share:.2f} % of a core")
    assert share < MAX_IDLE_SHARE


def test_a_greedy_client_delays_another_by_at_most_one_job_beyond_the_running_one(daemon: RunningDaemon) -> None:
    with daemon.client() as greedy, daemon.client() as other:
        first = greedy.submit(a_job("steps=50000 step_ms=20", num_samples=64))
        streams = [greedy.submit(a_job("steps=1", num_samples=64)) for _ in range(NUM_GREEDY - 1)]
        wait_for("the greedy jobs wait", lambda: len(other.status().jobs) == NUM_GREEDY)
        single = a_job("steps=1", num_samples=64)
        waiting = other.submit(single)
        accepted = next(waiting)
        assert isinstance(accepted, Accepted) and accepted.position <= 2
        first.cancel()
        assert isinstance(list(waiting)[-1], Finished)
        ended = [end.job_id for end in other.status().ended]
        num_between = ended.index(first.job.job_id) - ended.index(single.job_id) - 1
        print(f"{num_between} of {NUM_GREEDY - 1} queued greedy jobs ran before the single one")
        assert num_between <= 1
        assert isinstance(list(first)[-1], Cancelled)
        for stream in streams:
            assert isinstance(list(stream)[-1], Finished)


def test_a_cancel_at_any_moment_takes_no_step_and_the_next_job_begins_after_the_rest_of_it(
    daemon: RunningDaemon,
) -> None:
    with daemon.client() as client:
        waits = steps_to_cancel(client, a_job("steps=500 step_ms=200"), 6)
    assert percentile(waits["cancel"], 99) < 1
    assert percentile(waits["cancel to the next job"], 50) < 1.5


def test_waiting_times_stay_level_while_a_greedy_client_queues(daemon: RunningDaemon) -> None:
    waits = []
    with daemon.client() as greedy, daemon.client() as other:
        streams = [greedy.submit(a_job("steps=1 step_ms=20", num_samples=64)) for _ in range(NUM_GREEDY // 4)]
        for _ in range(NUM_SINGLES):
            started = monotonic()
            other.generate(a_job("steps=1", num_samples=64))
            waits.append(monotonic() - started)
        for stream in streams:
            stream.close()
    print(f"single jobs beside a full queue: median {statistics.median(waits):.3f} s, longest {max(waits):.3f} s")
    assert statistics.median(waits) < NUM_GREEDY // 4 * 0.02 / 2
