"""The built LV2 in lilv, against the VST3 in the host of our own: the same samples, state and latency."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from plugin_host_tests.lv2_host import MAX_BLOCK_SAMPLES, Lv2Plugin
from plugin_host_tests.own_host import OwnHost, Samples, coded, decoded
from tests.running_daemon import RunningDaemon, data_dir

URI = "https://sa3-daw.invalid/plugin"
BPM, PPQ = 120.0, 8.0
RECIPE = {"prompt": "house drums", "seed": 5, "seed_locked": True, "steps": 2, "range_mode": 2, "seconds": 2.0}
OpenLv2 = Callable[[Path, int], Lv2Plugin]


@pytest.fixture
def open_lv2(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLv2]:
    """Load the LV2 at a rate, for a runtime directory with or without a daemon."""
    opened: list[Lv2Plugin] = []
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def start(runtime_dir: Path, rate: int) -> Lv2Plugin:
        monkeypatch.setenv("SA3_RUNTIME_DIR", str(runtime_dir))
        monkeypatch.setenv("SA3_DATA_DIR", str(data_dir(runtime_dir)))
        opened.append(Lv2Plugin(plugin.parent.parent / "LV2" / "sa3-daw.lv2", URI, rate))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def noise(num_samples: int) -> Samples:
    return np.random.default_rng(2).uniform(-0.5, 0.5, (2, num_samples)).astype(np.float32)


def play(lv2: Lv2Plugin, given: Samples, rate: int, block: int) -> Samples:
    """Let the song run from PPQ on over the whole input, as the host of our own does."""
    heard = []
    for start in range(0, given.shape[1], block):
        position = lv2.position(PPQ + start / rate * BPM / 60, BPM, speed=1.0)
        heard.append(lv2.block(given[:, start : start + block], position))
    return np.concatenate(heard, axis=1)


@pytest.mark.parametrize("block", [1, 64, 65, MAX_BLOCK_SAMPLES])
def test_input_passes_bit_identically_and_without_latency(open_lv2: OpenLv2, tmp_path: Path, block: int) -> None:
    lv2, given = open_lv2(tmp_path / "nobody", 48000), noise(2000 if block == 1 else 20000)
    assert np.array_equal(play(lv2, given, 48000, block), given)
    assert lv2.latency.value == 0


def test_a_parameter_set_by_a_message_is_heard_and_stored(open_lv2: OpenLv2, tmp_path: Path) -> None:
    lv2, given = open_lv2(tmp_path / "nobody", 48000), noise(8192)
    lv2.block(given, lv2.parameter("mute_input", 1.0))
    assert not lv2.block(given).any()
    assert json.loads(decoded(lv2.state_text()))["parameters"]["mute_input"] == 1


@pytest.mark.parametrize("rate", [48000, 44100])
def test_a_take_sounds_sample_for_sample_as_in_the_vst3(
    open_host: Callable[[Path], OwnHost], open_lv2: OpenLv2, daemon: RunningDaemon, rate: int
) -> None:
    """The take is made at 48 kHz: at 44.1 kHz both resample it."""
    daemon.engine_pid()
    vst3 = open_host(daemon.runtime_dir)
    vst3.ask(op="prepare", rate=48000, block=512)
    vst3.ask(op="position", playing=False, ppq=PPQ, bpm=BPM)
    vst3.run(samples=4096)
    state = vst3.state()
    vst3.set_state({**state, "recipe": {**state["recipe"], **RECIPE}})
    state = vst3.generate()
    given = noise(3 * rate)
    file = vst3.folder / "given.f32"
    given.tofile(file)
    vst3.ask(op="prepare", rate=rate, block=500, offline=True)
    vst3.ask(op="position", playing=True, ppq=PPQ, bpm=BPM)
    _, expected = vst3.run(samples=3 * rate, block=500, input=str(file))

    lv2 = open_lv2(daemon.runtime_dir, rate)
    lv2.set_state_text(coded(json.dumps(state).encode()))
    assert json.loads(decoded(lv2.state_text()))["takes"] == state["takes"]
    lv2.free_wheeling.value = 1.0  # a bounce: it waits for the take
    heard = play(lv2, given, rate, 500)
    assert np.abs(heard - given).max() > 0.01
    assert np.array_equal(heard, expected)
