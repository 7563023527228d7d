"""The plugin in pedalboard, whose time stands still at 120 BPM, bar 1: parameters, state, pass-through, a take."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest

from plugin_host_tests.own_host import Samples, json_in, wrapped
from tests.running_daemon import RunningDaemon, data_dir, wait_for

RATE = 48000
RECIPE = {"prompt": "house drums", "seed": 5, "seed_locked": True, "steps": 2, "range_mode": 1, "num_bars": 1.0}


def loaded(plugin: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SA3_RUNTIME_DIR", str(runtime_dir))
    monkeypatch.setenv("SA3_DATA_DIR", str(data_dir(runtime_dir)))
    return pedalboard.VST3Plugin(str(plugin))


@pytest.fixture
def lonely(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin where no daemon runs."""
    return loaded(plugin, tmp_path / "nobody", monkeypatch)


def with_recipe(effect: Any, **changes: Any) -> None:
    state = json_in(effect.raw_state)
    new = {**state, "recipe": {**state["recipe"], **RECIPE, **changes}}
    effect.raw_state = wrapped(json.dumps(new).encode())


def noise(num_samples: int) -> Samples:
    return np.random.default_rng(1).uniform(-1, 1, (2, num_samples)).astype(np.float32)


def num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_parameters_are_found_by_name_and_can_be_set(lonely: Any) -> None:
    assert {"take_on", "dry_wet", "mute_input", "equal_loudness", "listen", "generate"} <= set(lonely.parameters)
    lonely.mute_input = True
    assert lonely.mute_input
    assert not lonely(noise(RATE), RATE)[:, RATE // 2 :].any()  # it fades out


@pytest.mark.parametrize("block", [1, 64, 513, 8192])
def test_input_passes_bit_identically(lonely: Any, block: int) -> None:
    given = noise(20000)
    assert np.array_equal(lonely.process(given, RATE, buffer_size=block), given)


def test_the_state_comes_back_whole(lonely: Any, plugin: Path) -> None:
    with_recipe(lonely, prompt="slow piano", num_bars=3.0)
    lonely.mute_input = True
    other: Any = pedalboard.VST3Plugin(str(plugin))
    other.raw_state = lonely.raw_state
    assert json_in(other.raw_state) == json_in(lonely.raw_state)
    assert json_in(other.raw_state)["recipe"]["prompt"] == "slow piano"
    assert other.mute_input


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_the_trigger_makes_a_take_that_listen_lets_sound(
    plugin: Path, daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    daemon.engine_pid()
    effect = loaded(plugin, daemon.runtime_dir, monkeypatch)
    prompt = f"house drums {rate}"
    with_recipe(effect, prompt=prompt)
    effect.equal_loudness = False
    silence = np.zeros((2, rate * 2), np.float32)  # a bar
    effect(silence, rate)  # before a first block the plugin knows no sample rate
    effect.generate = True
    effect(silence, rate)
    with daemon.client() as client:
        wait_for("take", lambda: bool(client.list_takes(text=prompt)))
        take = client.list_takes(text=prompt)[0]
        made = client.get_audio(take.audio)
    assert (take.made.num_samples, take.sample_rate, take.prompt) == (rate * 2, rate, prompt)
    wait_for("take in the state", lambda: json_in(effect.raw_state)["takes"][0].get("audio") == take.audio)
    effect.listen = True
    heard: list[Samples] = []

    def sounds() -> bool:
        heard.append(effect.process(silence, rate, buffer_size=512))
        return bool(heard[-1].any())

    wait_for("sound", sounds)
    assert 1e-3 < np.abs(heard[-1]).max() <= np.abs(made).max() + 1e-4


def test_plugins_that_are_gone_leave_no_threads(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def come_and_go() -> int:
        effect = loaded(plugin, tmp_path / "nobody", monkeypatch)
        effect(noise(512), RATE)
        del effect
        gc.collect()
        return num_threads()

    before = come_and_go()
    for _ in range(5):
        wait_for("threads to end", lambda: come_and_go() <= before)
