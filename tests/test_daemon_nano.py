"""The whole line with the real engine and the embedded model: request in samples, streamed audio, cancel, memory."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from sa3_daw.client import Cancelled, JobEvent, Progress
from sa3_daw.config import ENGINE_COMMAND
from tests.running_daemon import RunningDaemon, a_job

MAX_ENGINE_BYTES = 700 << 20


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    command = shlex.join(ENGINE_COMMAND)
    with RunningDaemon(tmp_path_factory.mktemp("nano") / "run", SA3_ENGINE_COMMAND=command) as running:
        yield running


def test_a_job_sent_at_once_is_told_of_the_loading_and_arrives_exact(daemon: RunningDaemon) -> None:
    events: list[JobEvent] = []
    with daemon.client() as client:
        job = a_job("house drums and bass", num_samples=90_353)
        samples = client.generate(job, events.append).samples
        again = client.generate(replace(job, job_id="again")).samples
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert stages[0] == "loading" and "sampling" in stages
    assert samples.shape == (2, 90_353) and np.isfinite(samples).all() and np.abs(samples).max() > 0.01
    assert np.array_equal(samples, again), "same job, same seed, other samples"


def test_cancel_takes_effect_within_a_step(daemon: RunningDaemon) -> None:
    with daemon.client() as client:
        with client.submit(replace(a_job("warm pads", num_samples=48_000 * 10), steps=100)) as stream:
            steps: list[float] = []
            while len(steps) < 4:
                event = next(stream)
                if isinstance(event, Progress) and event.stage == "sampling":
                    steps.append(monotonic())
            asked = monotonic()
            stream.cancel()
            assert isinstance(list(stream)[-1], Cancelled)
            assert client.status().jobs == ()
            next_job = client.submit(a_job("warm pads", num_samples=4096))
            while not isinstance(next(next_job), Progress):
                pass
            waited = monotonic() - asked
        step_seconds = max(after - before for before, after in pairwise(steps))
        assert waited < 10 * step_seconds + 0.5, "the rest of the 100 steps was computed"


def test_the_engine_stays_small(daemon: RunningDaemon) -> None:
    status = Path(f"/proc/{daemon.engine_pid()}/status")
    if status.exists():
        peak_kib = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        assert int(peak_kib.split()[1]) << 10 < MAX_ENGINE_BYTES


def test_unloading_gives_memory_back_and_the_next_job_loads_again(daemon: RunningDaemon) -> None:
    job = a_job("house drums and bass", num_samples=48_000)
    with daemon.client() as client:
        client.generate(job)
        (model,) = client.status().engine.models
        assert (model.name, model.num_bytes > 20 << 20) == ("nano", True)
        loaded = client.status().engine.num_bytes
        assert client.unload_model("nano") == ()
        assert client.status().engine.num_bytes < loaded - model.num_bytes // 2
        events: list[JobEvent] = []
        client.generate(replace(job, job_id="after"), events.append)
    assert any(isinstance(event, Progress) and event.stage == "loading" for event in events)
