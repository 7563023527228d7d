"""What the window says when something is wrong, while the input passes; takes that were in the making."""

from __future__ import annotations

import json
import os
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plugin_host_tests.conftest import OpenWindow
from plugin_host_tests.own_host import WindowHost
from plugin_host_tests.test_window import A_BAR, RATE, RECIPE, audio_of, play, with_recipe
from tests.running_daemon import RunningDaemon, wait_for


@pytest.fixture(scope="module")
def shared(daemon: RunningDaemon) -> RunningDaemon:
    daemon.engine_pid()
    return daemon


@pytest.fixture
def lonely(open_window: OpenWindow, tmp_path: Path) -> WindowHost:
    return open_window(tmp_path / "nobody")


def ready(open_window: OpenWindow, daemon: RunningDaemon, **more: Any) -> WindowHost:
    host = open_window(daemon.runtime_dir, **more)
    with_recipe(host)
    host.ask(op="position", **A_BAR)
    host.run(samples=4096)
    host.until("daemon found", lambda: host.status() == "Ready")
    return host


def passes(host: WindowHost) -> bool:
    return bool(host.run(samples=4800, input="noise")[0]["identical"])


def test_without_a_daemon_the_window_names_the_command(lonely: WindowHost) -> None:
    lonely.until("message", lambda: "sa3-daw serve" in lonely.status())
    assert lonely.is_enabled("start_daemon") and passes(lonely)


def test_a_daemon_of_another_protocol_version_is_named(open_window: OpenWindow, tmp_path: Path) -> None:
    runtime_dir = tmp_path / "other"
    runtime_dir.mkdir(mode=0o700)
    told = {"protocol_version": 99, "daemon_version": "9.9", "pid": os.getpid(), "ipc": "", "tcp": "tcp://127.0.0.1:9"}
    keys = {name: "0" * 40 for name in ("server_key", "client_public_key", "client_secret_key")}
    file = runtime_dir / "connection.json"
    file.write_text(json.dumps({**told, **keys}))
    file.chmod(0o600)
    host = open_window(runtime_dir)
    host.until("message", lambda: "protocol version 99" in host.status())
    assert passes(host)


@pytest.mark.parametrize(
    ("state", "words"),
    [(b"{", "could not be read"), (b'{"format":"sa3-daw plugin state","version":99}', "from a newer plugin")],
)
def test_a_state_that_cannot_be_used_is_told(lonely: WindowHost, state: bytes, words: str) -> None:
    lonely.set_state(state)
    lonely.until("message", lambda: words in lonely.status())
    assert passes(lonely)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"bpm": 1e9}, "impossible tempo"),
        ({"numerator": 0, "denominator": 3}, "impossible metre"),
        ({"ppq": "nan"}, "impossible position"),
        ({"cycle": [4, 4]}, "cycle is empty"),
        ({"frozen": True}, "does not move"),
    ],
)
def test_a_lie_of_the_host_is_told(lonely: WindowHost, lie: dict[str, Any], words: str) -> None:
    lonely.ask(op="position", **{**A_BAR, "playing": True, **lie})
    for _ in range(4):
        assert passes(lonely)
    lonely.until("message", lambda: words in lonely.status())


def test_input_that_is_no_number_passes_and_is_not_recorded(lonely: WindowHost) -> None:
    given = np.random.default_rng(1).uniform(-0.5, 0.5, (2, RATE)).astype(np.float32)
    given[0, 100:200], given[1, 300:310], given[:, 5000] = np.nan, np.inf, 1e-41
    file = lonely.folder / "bad.f32"
    given.tofile(file)
    lonely.click("record")
    measured, _ = lonely.run(samples=RATE, input=str(file))
    assert measured["identical"]
    lonely.click("record")
    lonely.until("recording", lambda: lonely.is_enabled("copy_path"))
    lonely.click("copy_path")
    samples = wav(Path(lonely.ask(op="clipboard")["text"]))[2]
    assert np.array_equal(samples, np.where(np.isfinite(given), given, 0))


def wav(file: Path) -> tuple[int, int, Any]:
    """Return a float WAV's rate, its BWF time reference and its samples [channels, n]."""
    content, at, parts = file.read_bytes(), 12, {}
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        parts[name] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    _, channels, rate = struct.unpack_from("<HHI", parts[b"fmt "])
    reference = struct.unpack_from("<Q", parts[b"bext"], 256 + 32 + 32 + 10 + 8)[0]
    return rate, reference, np.frombuffer(parts[b"data"], np.float32).reshape(-1, channels).T


def test_a_take_leaves_as_a_file_at_the_hosts_rate_with_its_place(
    open_window: OpenWindow, shared: RunningDaemon, tmp_path: Path
) -> None:
    host = ready(open_window, shared)
    take = host.make("generate")
    host.click("copy_path")
    first = Path(host.ask(op="clipboard")["text"])
    rate, reference, samples = wav(first)
    assert (rate, reference) == (RATE, 4 * RATE)  # bar 3 at 120 BPM is at 4 s
    assert np.array_equal(samples, audio_of(shared, take))
    host.ask(op="prepare", rate=96000, block=512)
    host.click("copy_path")
    rate, reference, samples = wav(Path(host.ask(op="clipboard")["text"]))
    assert (rate, reference, samples.shape[1]) == (96000, 4 * 96000, 2 * take["num_samples"])
    assert np.abs(samples[:, 200:-200:2] - audio_of(shared, take)[:, 100:-100]).max() < 2e-3
    tool = tmp_path / "bin" / "xdg-open"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/shown\n')
    tool.chmod(0o755)
    host.click("reveal")
    host.until("file manager", lambda: (tmp_path / "shown").exists() and bool((tmp_path / "shown").read_text()))
    assert (tmp_path / "shown").read_text().strip().removeprefix("file://").replace("%20", " ") == str(first.parent)


def test_a_full_disk_is_told_and_leaves_no_part_of_a_file(open_window: OpenWindow, shared: RunningDaemon) -> None:
    host = ready(open_window, shared, largest_file_bytes=100_000)
    host.make("generate")
    host.click("copy_path")
    host.until("message", lambda: "Is the disk full?" in host.status())
    assert not list((host.folder / "sa3-daw takes").iterdir())
    assert passes(host)


def test_a_take_in_the_making_is_found_again_when_the_project_is_opened(
    open_window: OpenWindow, shared: RunningDaemon
) -> None:
    host = ready(open_window, shared)
    with_recipe(host, seconds=20.0, steps=8, seed=31)
    host.ask(op="position", **{**A_BAR, "bpm": 400 / 3})  # a tempo that no short text holds
    host.run(samples=4096)
    host.click("generate")
    host.until("running", lambda: host.is_enabled("cancel"))
    saved = host.state()
    assert saved["takes"][0]["audio"] == ""
    host.close()
    later = open_window(shared.runtime_dir)
    later.set_state(saved)
    later.until("take", lambda: len(later.takes()) == 1)
    assert later.takes()[0]["job"]["job_id"] == saved["takes"][0]["job"]["job_id"]
    third = open_window(shared.runtime_dir)  # now it is long stored
    third.set_state(saved)
    third.until("take", lambda: len(third.takes()) == 1)
    assert third.takes()[0]["audio"] == later.takes()[0]["audio"]
    third.until("audio", lambda: third.is_enabled("copy_path"))  # it is known before it is here
    assert np.abs(play(third, 4 * RATE)).max() > 1e-3


def test_a_job_that_no_state_names_ends_with_its_plugin(open_window: OpenWindow, shared: RunningDaemon) -> None:
    """What a state names lives on, as the test above shows; of this job nobody could ever ask again."""
    host = ready(open_window, shared)
    with_recipe(host, seconds=60.0, steps=100, seed=32)
    host.click("generate")
    with shared.client() as client:
        wait_for("job", lambda: bool(client.status().jobs))
        job_id = client.status().jobs[0].job_id
        host.close()
        wait_for("end", lambda: job_id in {each.job_id for each in client.status().ended})
        assert client.status().ended[0].outcome == "cancelled"


def in_the_making(host: WindowHost) -> dict[str, Any]:
    """Begin what takes long on any machine; return the state that names it."""
    with_recipe(host, seconds=60.0, steps=100, seed=33, num_variations=8)
    host.click("generate")
    host.until("running", lambda: host.is_enabled("cancel"))
    return host.state()


def test_a_copy_that_gets_another_state_leaves_the_take_in_the_making_to_the_original_and_finds_it_again(
    open_window: OpenWindow, shared: RunningDaemon
) -> None:
    host, copy = ready(open_window, shared), ready(open_window, shared)
    other, saved = copy.state(), in_the_making(host)
    copy.set_state(saved)
    copy.until("found", lambda: copy.is_enabled("cancel"))
    copy.set_state(other)
    copy.until("left", lambda: not copy.is_enabled("cancel"))
    copy.set_state(saved)  # as a host's undo does
    copy.until("found again", lambda: copy.is_enabled("cancel"))
    with shared.client() as client:
        assert [job.job_id for job in client.status().jobs] == [saved["takes"][0]["job"]["job_id"]]
    assert host.is_enabled("cancel") and copy.is_enabled("cancel")
    host.click("cancel")
    host.until("end", lambda: not host.is_enabled("cancel"))
    copy.until("end", lambda: not copy.is_enabled("cancel"))


def test_a_take_that_is_begun_while_another_is_sought_is_followed_to_its_end(
    open_window: OpenWindow, shared: RunningDaemon
) -> None:
    host, copy = ready(open_window, shared), ready(open_window, shared)
    saved = in_the_making(host)
    shared.process.send_signal(signal.SIGSTOP)
    try:
        copy.set_state({**saved, "recipe": {**saved["recipe"], **RECIPE, "num_variations": 1}})
        copy.ask(op="sleep", ms=300)  # by now it has asked, and nobody answers
        copy.click("generate")
        copy.until("running", lambda: copy.is_enabled("cancel"))
    finally:
        shared.process.send_signal(signal.SIGCONT)
    copy.ask(op="sleep", ms=300)
    host.click("cancel")
    copy.until("take", lambda: RECIPE["seed"] in {take["job"]["seed"] for take in copy.takes()})


def test_a_take_that_cannot_be_is_told_and_the_rest_of_the_state_is_used(lonely: WindowHost) -> None:
    take = {"take_id": "1", "audio": "ab" * 32, "num_samples": RATE}
    recipe = {**lonely.state()["recipe"], "prompt": "kept"}
    lonely.set_state({**lonely.state(), "recipe": recipe, "takes": [take, {**take, "bpm": 1e-300}]})
    lonely.until("message", lambda: "says what cannot be" in lonely.status())
    assert lonely.parts()["takes"]["rows"] == 1 and lonely.parts()["prompt"]["text"] == "kept"


def test_a_full_capture_of_380_s_is_whole(lonely: WindowHost) -> None:
    lonely.ask(op="prepare", rate=RATE, block=8192, offline=True)
    lonely.ask(op="position", **A_BAR)
    lonely.click("record")
    for _ in range(39):
        lonely.ask(op="run", samples=10 * RATE, input="noise")
    lonely.until("recording", lambda: lonely.parts()["takes"]["rows"] == 1)
    lonely.until("place", lambda: "380.000 s  |  18240000 samples" in lonely.parts()["plan"]["text"])


def test_a_range_that_is_too_long_is_told_before_it_is_asked_for(lonely: WindowHost) -> None:
    lonely.ask(op="position", **A_BAR, cycle=[0, 4000])
    lonely.ask(op="run", samples=4096)
    words = "This would be 2000 s long; at 48000 Hz at most 1520 s can be made at once."
    lonely.until("message", lambda: lonely.parts()["plan"]["text"] == words)
    assert not lonely.is_enabled("generate")


def test_a_take_that_no_daemon_has_is_offered_to_be_made_again(open_window: OpenWindow, shared: RunningDaemon) -> None:
    host = ready(open_window, shared)
    take = host.make("generate")
    state = host.state()
    lost = {**take, "audio": "", "take_id": "", "job": {**take["job"], "job_id": "0123456789abcdef"}}
    host.set_state({**state, "takes": [lost], "chosen_take": 0})
    again = host.make("again")
    assert again["audio"] == take["audio"]
