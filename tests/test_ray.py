"""Engines in a real Ray cluster of several nodes: batches over it, and a daemon with its engine in it. Nodes die."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sa3_daw import edits
from sa3_daw.audio.files import read_wav
from sa3_daw.client import AudioChunk, Cancelled, Finished, JobStream, Progress, collect
from sa3_daw.config import ENGINE_COMMAND, RAY_ENGINE_COMMAND
from sa3_daw.engine.ray_cluster import RemoteEngine
from sa3_daw.errors import EngineDead
from sa3_daw.job import Region
from sa3_daw.protocol.messages import Residency, ResidentModel
from sa3_daw.render.ray_maker import Hired, cheapest
from tests.ray_cluster import RunningCluster
from tests.running_daemon import PATIENCE_SECONDS, ROOT, RunningDaemon, a_job, environment, wait_for

FAKE_RAY_ENGINE = (sys.executable, "-m", "tests.ray_fake_engine")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with RunningCluster(2) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """Run a daemon with nano on this machine."""
    command = shlex.join(ENGINE_COMMAND)
    with RunningDaemon(tmp_path_factory.mktemp("local") / "run", SA3_ENGINE_COMMAND=command) as running:
        yield running


def daemon_in(cluster: RunningCluster, command: tuple[str, ...], folder: Path, **env: str) -> RunningDaemon:
    return RunningDaemon(folder / "run", SA3_ENGINE_COMMAND=shlex.join(command), SA3_RAY=cluster.address, **env)


def start_batch(runtime_dir: Path, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sa3_daw", "batch", *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(runtime_dir), stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command; return its exit code and what it wrote."""
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, stdout, stderr


def manifest(folder: Path) -> list[dict[str, object]]:
    path = folder / "manifest.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until_audio(stream: JobStream) -> None:
    while not isinstance(next(stream), AudioChunk):
        pass


def test_a_batch_loses_a_node_and_ends_every_job_once_with_the_local_bytes(
    cluster: RunningCluster, local: RunningDaemon, tmp_path: Path
) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("prompt,seconds,count,name\nhouse drums,1,12,{index}\nwarm pad,0.5,2,{index}\n")
    over_ray = start_batch(tmp_path / "none", jobs, "-o", tmp_path / "ray", "--ray", cluster.address, "--json")
    wait_for("three files", lambda: len(manifest(tmp_path / "ray")) >= 3 or over_ray.poll() is not None)
    cluster.kill_node()
    code, stdout, stderr = finished(over_ray)
    cluster.add_node()
    assert code == 0, stderr
    told = [json.loads(line) for line in stdout.splitlines()]
    assert told[-1] == {"event": "batch", "made": 14, "failed": 0, "left": 0}
    assert finished(start_batch(local.runtime_dir, jobs, "-o", tmp_path / "here"))[0] == 0
    entries = {entry["file"]: entry for entry in manifest(tmp_path / "ray")}
    assert len(manifest(tmp_path / "ray")) == len(entries) == 14
    assert {name: entry["audio"] for name, entry in entries.items()} == {
        entry["file"]: entry["audio"] for entry in manifest(tmp_path / "here")
    }
    for name in map(str, entries):
        assert np.array_equal(read_wav(tmp_path / "ray" / name)[0], read_wav(tmp_path / "here" / name)[0]), name


def test_a_daemon_with_its_engine_in_the_cluster_makes_and_edits_the_same_audio(
    cluster: RunningCluster, local: RunningDaemon, tmp_path: Path
) -> None:
    with daemon_in(cluster, RAY_ENGINE_COMMAND, tmp_path) as running, running.client() as far, local.client() as near:
        made = [client.generate(a_job("house drums", 24_000)).samples for client in (far, near)]
        assert np.array_equal(made[0], made[1])
        assert [model.name for model in far.status().engine.models] == ["nano"]
        edited = []
        for client in (far, near):
            source = client.put_audio(made[0])
            job = edits.inpaint(a_job("drum fill", 24_000), source, 24_000, [Region(8_000, 16_000)])
            edited.append(client.generate(job).samples)
        assert np.array_equal(edited[0], edited[1]) and np.array_equal(edited[0][:, :8_000], made[0][:, :8_000])


def test_before_its_first_audio_a_job_waits_for_another_node_and_afterwards_it_fails(tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    (tmp_path / "jobs.csv").write_text("prompt,samples\na,512\n")
    with (
        RunningCluster(1, **token) as cluster,
        daemon_in(cluster, FAKE_RAY_ENGINE, tmp_path, **token) as running,
        running.client() as client,
    ):
        words = (tmp_path / "jobs.csv", "-o", tmp_path / "out", "--ray", cluster.address)
        without_token = start_batch(tmp_path, *words)  # Ray knocks for 20 s; meanwhile the rest goes on.
        client.generate(a_job("warm up"))
        cancelled = client.submit(a_job("steps=1000 step_ms=10"))
        next(event for event in cancelled if isinstance(event, Progress) and event.stage == "sampling")
        cancelled.cancel()
        assert isinstance(list(cancelled)[-1], Cancelled)
        stream = client.submit(a_job("steps=100 step_ms=10"))
        next(event for event in stream if isinstance(event, Progress) and event.stage == "sampling")
        cluster.kill_node()
        next(event for event in stream if isinstance(event, Progress) and event.stage == "loading")
        cluster.add_node()
        assert collect(stream).finished == Finished(8192, -6.0, -9.0, {"sampling": 0.001, "decoding": 0.001})
        begun = client.submit(a_job("stop_after=4096"))
        until_audio(begun)
        cluster.kill_node()
        cluster.add_node()
        with pytest.raises(EngineDead, match="the engine in the cluster is gone"):
            list(begun)
        assert client.generate(a_job("after it")).samples.shape == (2, 8192)
        assert client.status().engine.num_deaths == 0
        code, _, stderr = finished(without_token)
        assert code == 2 and "lets this machine in" in stderr and "token" in stderr, stderr


def test_audio_that_is_not_what_the_job_names_is_refused_by_the_actor(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from sa3_daw.engine.ray_actor import RayActor; from tests.ray_fake_engine import fake; "
        "RayActor(fake)._store('0' * 64, np.zeros((2, 10), np.float32))"
    )
    env = environment(tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "InvalidField: source.audio is '000" in done.stderr


def test_a_new_actor_removes_the_folders_of_killed_ones(tmp_path: Path) -> None:
    code = (
        "from sa3_daw.engine.ray_actor import RayActor; from tests.ray_fake_engine import fake; "
        "actor = RayActor(fake); print(actor._folder, flush=True); input()"
    )
    env = environment(tmp_path / "run") | {"TMPDIR": str(tmp_path)}

    def actor() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        os.utime(folder, (0, 0))
        return process, folder

    killed, left = actor()
    living, kept = actor()
    assert left.is_dir() and kept.is_dir()
    killed.kill()
    killed.communicate()
    last, its_own = actor()
    assert kept.is_dir() and its_own.is_dir() and not left.exists()
    for process, folder in ((living, kept), (last, its_own)):
        process.communicate("\n")
        assert process.returncode == 0 and not folder.exists()


class KnownEngine(RemoteEngine):
    """An engine of which only what is in its memory matters."""

    def __init__(self, *models: str) -> None:
        self.residency = Residency(tuple(ResidentModel(name, "cpu", "fp32", 1) for name in models))


def test_a_job_goes_where_its_model_is_warm_until_waiting_costs_more_than_loading() -> None:
    engines = {"empty": Hired(KnownEngine()), "nano": Hired(KnownEngine("nano"))}
    order = []
    for _ in range(6):
        chosen = cheapest(list(engines.values()), "nano")
        chosen.models.append("nano")
        order.append(next(name for name, each in engines.items() if each is chosen))
    assert order == ["nano", "nano", "empty", "empty", "empty", "nano"]
    engines["large"] = Hired(KnownEngine("large"), ["large"])
    assert cheapest(list(engines.values()), "large") is engines["large"]


@pytest.mark.parametrize("address", ["ray://host:10001", "host", "host:port"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    (tmp_path / "jobs.csv").write_text("prompt,samples\na,512\n")
    words = (tmp_path / "jobs.csv", "-o", tmp_path / "out", "--ray", address)
    code, _, stderr = finished(start_batch(tmp_path, *words))
    assert code == 2 and "HOST:PORT" in stderr


def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("prompt,samples\na,512\n")
    words = (tmp_path / "jobs.csv", "-o", tmp_path / "out", "--ray", "127.0.0.1:1")
    code, _, stderr = finished(start_batch(tmp_path, *words))
    assert code == 2 and "no Ray cluster at 127.0.0.1:1 lets this machine in" in stderr


def test_without_ray_installed_the_option_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("prompt,samples\na,512\n")
    words = ["batch", str(tmp_path / "jobs.csv"), "-o", str(tmp_path / "out"), "--ray", "auto"]
    code = f"import sys; sys.modules['ray'] = None; from sa3_daw.cli import main; sys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'sa3-daw[ray]'" in done.stderr
