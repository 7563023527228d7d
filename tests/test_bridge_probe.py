"""The C++ client against a real daemon, beside the Python client: same audio, same places, same end."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from sa3_daw.client import Client, new_job_id
from sa3_daw.edits import inpaint
from sa3_daw.job import Job, Region, TempoPoint
from sa3_daw.music.timeline import TempoMap, round_half_up
from sa3_daw.protocol.endpoints import read_connection
from sa3_daw.protocol.version import PROTOCOL_VERSION
from tests.bridge_build import build
from tests.running_daemon import RunningDaemon, environment, is_running, wait_for

NOTICE_SECONDS = 2.0


@pytest.fixture(scope="session")
def probe() -> Path:
    return build("sa3-probe")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with its real engine and the embedded model."""
    engine = f"{sys.executable} -u -m sa3_daw.engine.main"
    with RunningDaemon(tmp_path_factory.mktemp("run"), SA3_ENGINE_COMMAND=engine) as running:
        yield running


@pytest.fixture
def fake_daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path / "run") as running:
        yield running


def a_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "job_id": new_job_id(),
        "prompt": "house drums",
        "num_samples": 48000,
        "sample_rate": 48000,
        "seed": 5,
        "tempo_map": (TempoPoint(0.0, 127.5),),
        "steps": 2,
    }
    return Job(**{**fields, **changes})


def told(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def run_probe(probe: Path, daemon: RunningDaemon, *words: str | Path, ok: bool = True) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(probe), *map(str, words)],
        env=environment(daemon.runtime_dir),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return told(done.stdout)


def write_job(path: Path, job: Job) -> Path:
    path.write_text(json.dumps(asdict(job)), encoding="utf-8")
    return path


def read_planar(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.fromfile(path, dtype="<f4").reshape(2, -1)


def test_generate_gives_the_python_clients_samples(probe: Path, daemon: RunningDaemon, tmp_path: Path) -> None:
    job = a_job()
    with daemon.client() as client:
        expected = client.generate(job).samples
    same = write_job(tmp_path / "job.json", a_job())
    lines = run_probe(probe, daemon, "generate", same, tmp_path / "out.f32")
    assert np.array_equal(read_planar(tmp_path / "out.f32"), expected)
    assert lines[-1]["event"] == "finished" and lines[-1]["num_samples"] == job.num_samples


def test_inpaint_uploads_its_source_and_gives_the_python_clients_samples(
    probe: Path, daemon: RunningDaemon, tmp_path: Path
) -> None:
    source = np.random.default_rng(3).uniform(-0.3, 0.3, (2, 48000)).astype(np.float32)
    regions = (Region(12000, 30000),)
    source.tofile(tmp_path / "source.f32")
    job = write_job(tmp_path / "job.json", a_job(regions=regions))
    lines = run_probe(probe, daemon, "inpaint", job, tmp_path / "source.f32", tmp_path / "out.f32")
    painted = read_planar(tmp_path / "out.f32")
    with daemon.client() as client:
        address = client.put_audio(source)
        expected = client.generate(inpaint(a_job(), address, 48000, regions)).samples
    assert np.array_equal(painted, expected)
    assert np.array_equal(painted[:, :12000], source[:, :12000])
    assert np.array_equal(painted[:, 30000:], source[:, 30000:])
    take = next(line for line in lines if line["event"] == "take")
    listed = run_probe(probe, daemon, "takes")
    assert take["take_id"] in {line["take_id"] for line in listed}
    run_probe(probe, daemon, "fetch", take["audio"], tmp_path / "again.f32")
    assert np.array_equal(read_planar(tmp_path / "again.f32"), painted)


def test_upload_and_download_of_many_pieces(probe: Path, fake_daemon: RunningDaemon, tmp_path: Path) -> None:
    """131 072 samples are one piece."""
    source = np.random.default_rng(4).uniform(-1, 1, (2, 700001)).astype(np.float32)
    with fake_daemon.client() as client:
        address = client.put_audio(source)
    run_probe(probe, fake_daemon, "fetch", address, tmp_path / "out.f32")
    assert np.array_equal(read_planar(tmp_path / "out.f32"), source)
    other = source[:, ::-1].copy()
    other.tofile(tmp_path / "other.f32")
    job = write_job(tmp_path / "job.json", a_job(regions=(Region(0, 1000),)))
    run_probe(probe, fake_daemon, "inpaint", job, tmp_path / "other.f32", tmp_path / "painted.f32")
    with fake_daemon.client() as client:
        assert client.put_audio(other)  # is there already: answered without an upload
        assert len(client.list_takes()) == 1


def test_more_chunks_than_credit_arrive_whole(probe: Path, fake_daemon: RunningDaemon, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.json", a_job(prompt="chunk=500", num_samples=200_000, draft=True))
    lines = run_probe(probe, fake_daemon, "generate", job, tmp_path / "out.f32")
    assert lines[-1]["num_samples"] == 200_000
    with fake_daemon.client() as client:
        assert np.array_equal(
            client.generate(a_job(prompt="", num_samples=200_000)).samples, read_planar(tmp_path / "out.f32")
        )


def test_cancel_leaves_the_daemon_well(probe: Path, fake_daemon: RunningDaemon, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.json", a_job(prompt="steps=1000 step_ms=20"))
    assert run_probe(probe, fake_daemon, "cancel", job)[-1]["event"] == "cancelled"
    with fake_daemon.client() as client:
        status = client.status()
        assert status.num_cancelled == 1 and not status.jobs
        assert client.generate(a_job(prompt="")).samples.shape == (2, 48000)


def test_failures_are_told_with_code_and_field(probe: Path, fake_daemon: RunningDaemon, tmp_path: Path) -> None:
    refused = write_job(tmp_path / "job.json", a_job(num_samples=0))
    line = run_probe(probe, fake_daemon, "generate", refused, tmp_path / "out.f32", ok=False)[-1]
    assert (line["event"], line["field"]) == ("failed", "num_samples")
    failing = write_job(tmp_path / "job.json", a_job(prompt="fail=bad_output"))
    line = run_probe(probe, fake_daemon, "generate", failing, tmp_path / "out.f32", ok=False)[-1]
    assert (line["event"], line["code"]) == ("failed", "bad_output")


def test_without_a_daemon_the_reason_is_told(probe: Path, tmp_path: Path) -> None:
    assert reason_told(probe, tmp_path / "none") == "No daemon runs."


def test_hello_names_the_models(probe: Path, fake_daemon: RunningDaemon) -> None:
    assert "nano" in run_probe(probe, fake_daemon, "hello")[-1]["models"]


def reason_told(probe: Path, runtime_dir: Path) -> str:
    done = subprocess.run(
        [str(probe), "hello"], env=environment(runtime_dir), capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    reason: str = told(done.stdout)[-1]["reason"]
    return reason


def test_connection_files_that_cannot_be_trusted_are_refused_in_words(probe: Path, tmp_path: Path) -> None:
    file = tmp_path / "connection.json"
    fields = {"protocol_version": PROTOCOL_VERSION, "daemon_version": "0", "pid": os.getpid(), "ipc": "", "tcp": ""}
    fields |= {"server_key": "k", "client_public_key": "k", "client_secret_key": "k"}

    def reason(content: str, mode: int = 0o600) -> str:
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
        return reason_told(probe, tmp_path)

    assert "others may read it" in reason(json.dumps(fields), 0o644)
    assert "cannot be read" in reason("{")
    assert "cannot be read" in reason(json.dumps({**fields, "pid": "x"}))
    assert "has ended" in reason(json.dumps({**fields, "pid": 2**22 + 1}))
    assert "protocol version 99" in reason(json.dumps({**fields, "protocol_version": 99}))
    assert "connection to the daemon failed" in reason(json.dumps(fields))  # keys that are none


def test_a_missing_daemon_is_started_and_outlives_its_starter(probe: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "sa3-daw"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sa3_daw "$@"\n')
    program.chmod(0o755)
    variables = {**environment(tmp_path / "run"), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run([str(probe), "start"], env=variables, capture_output=True, text=True, check=True, timeout=90)
    assert told(done.stdout)[-1]["event"] == "hello"
    with Client(read_connection(tmp_path / "run")) as client:
        pid = client.hello().pid
        client.shutdown()
    wait_for("the daemon's end", lambda: not is_running(pid))


class Watcher:
    """``sa3-probe watch``, its lines as they come."""

    def __init__(self, probe: Path, runtime_dir: Path) -> None:
        self.process = subprocess.Popen(
            [str(probe), "watch", "60"], env=environment(runtime_dir), stdout=subprocess.PIPE, text=True
        )
        self._lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(json.loads(line))
                self._changed.notify()

    def wait_connected(self, connected: bool, timeout_seconds: float = 60.0) -> float:
        """Wait until the latest state is that; return how long it took."""
        started = monotonic()
        with self._changed:
            come = self._changed.wait_for(
                lambda: bool(self._lines) and self._lines[-1]["connected"] == connected, timeout_seconds
            )
        assert come, self._lines
        return monotonic() - started

    def end(self) -> None:
        self.process.kill()
        self._reader.join()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def watching(probe: Path, runtime_dir: Path) -> Iterator[Watcher]:
    watcher = Watcher(probe, runtime_dir)
    try:
        yield watcher
    finally:
        watcher.end()


def test_killed_daemon_is_noticed_within_2_s_and_the_next_one_found(probe: Path, tmp_path: Path) -> None:
    runtime_dir = tmp_path / "run"
    first = RunningDaemon(runtime_dir)
    with watching(probe, runtime_dir) as watcher:
        watcher.wait_connected(True)
        first.process.kill()
        assert watcher.wait_connected(False) < NOTICE_SECONDS
        first.end()
        with RunningDaemon(runtime_dir):
            watcher.wait_connected(True)


def random_map(random_: random.Random) -> list[TempoPoint]:
    position, points = 0.0, []
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        bpm = random_.choice((120.0, 127.5, 90.25, round(random_.uniform(20, 400), 3), random_.uniform(0.5, 1000)))
        points.append(TempoPoint(position, bpm, random_.randint(1, 13), random_.choice((1, 2, 4, 8, 16, 32))))
        position += random_.choice((4.0, 0.25, 1 / 3, random_.uniform(0.001, 64)))
    return points


def test_tempo_arithmetic_equals_pythons_on_thousands_of_random_cases(probe: Path) -> None:
    random_, cases, expected = random.Random(20), [], []
    for _ in range(5000):
        points = random_map(random_)
        ppq, bar = random_.uniform(-8, 600), random_.choice((random_.uniform(0, 99), float(random_.randint(0, 99))))
        seconds = random_.choice((random_.uniform(0, 500), random_.randint(0, 10**7) / 48000))
        rate = random_.choice((22050, 44100, 48000, 96000, 192000))
        plain = [(point.position_ppq, point.bpm, point.numerator, point.denominator) for point in points]
        cases.append(json.dumps({"points": plain, "ppq": ppq, "bar": bar, "seconds": seconds, "rate": rate}))
        tempo_map, place = TempoMap(points), Fraction(ppq)
        expected.append(
            [
                tempo_map.sample_at(place, rate),
                tempo_map.sample_at(tempo_map.ppq_of_bar(Fraction(bar)), rate),
                tempo_map.sample_at(tempo_map.ppq_at(Fraction(seconds)), rate),
                tempo_map.point_at(place).numerator,
                tempo_map.bar_at(place).__floor__(),
            ]
        )
        assert expected[-1][2] == round_half_up(Fraction(seconds) * rate)
    done = subprocess.run([str(probe), "timeline"], input="\n".join(cases), capture_output=True, text=True, check=True)
    found = [json.loads(line)[:5] for line in done.stdout.splitlines()]
    assert found == expected


def test_python_client_and_probe_share_a_daemon(probe: Path, fake_daemon: RunningDaemon, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.json", a_job(prompt="steps=20 step_ms=10"))
    with Client(fake_daemon.connection) as client, client.submit(a_job(prompt="steps=20 step_ms=10")) as stream:
        run_probe(probe, fake_daemon, "generate", job, tmp_path / "out.f32")
        assert [type(event).__name__ for event in stream][-1] == "Finished"
