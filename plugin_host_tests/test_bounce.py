"""The plugin in a project's chain: a session that was saved bounces offline, and the file holds its take to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import pytest

from plugin_host_tests.own_host import json_in, wrapped
from tests.projects import Projects
from tests.running_daemon import RunningDaemon, wait_for

RATE = 48000
BAR_SAMPLES = RATE * 2
RECIPE = {"prompt": "house drums", "seed": 5, "seed_locked": True, "steps": 2, "range_mode": 1, "num_bars": 1.0}

PROJECT = """
[project]
rate = 48000
length = "2bars"
[[track]]
name = "saved session"
[[track.effect]]
plugin = "{plugin}"
preset = "{preset}"
parameters = {{ listen = true }}
[[output]]
file = "bounce.wav"
depth = "float"
"""


@pytest.fixture
def session(plugin: Path, daemon: RunningDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Projects:
    """A folder with the state of a plugin that has made one take, as a host would have saved it."""
    daemon.engine_pid()
    projects = Projects(tmp_path, daemon.runtime_dir, monkeypatch)
    effect: Any = pedalboard.VST3Plugin(str(plugin))
    state = json_in(effect.raw_state)
    effect.raw_state = wrapped(json.dumps({**state, "recipe": {**state["recipe"], **RECIPE}}).encode())
    effect.equal_loudness = False
    silence = np.zeros((2, BAR_SAMPLES), np.float32)
    effect(silence, RATE)
    effect.generate = True
    effect(silence, RATE)
    wait_for("take", lambda: len(json_in(effect.raw_state)["takes"]) == 1)
    (tmp_path / "session.state").write_bytes(effect.raw_state)
    (tmp_path / "session.vstpreset").write_bytes(effect.preset_data)
    return projects


@pytest.mark.parametrize("preset", ["session.state", "session.vstpreset"])
def test_a_saved_session_bounces_to_its_take_sample_for_sample(
    session: Projects, plugin: Path, daemon: RunningDaemon, preset: str
) -> None:
    assert session.render(PROJECT.format(plugin=plugin, preset=preset)) == 0
    bounce = session.audio("bounce.wav")
    with daemon.client() as client:
        take = client.list_takes(limit=1)[0]
        made = client.get_audio(take.audio)
    assert made.shape == (2, BAR_SAMPLES) and made.any()
    np.testing.assert_array_equal(bounce[:, :BAR_SAMPLES], made)
    assert not bounce[:, BAR_SAMPLES:].any()


def test_an_unknown_parameter_of_the_plugin_is_named(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    projects = Projects(tmp_path, tmp_path / "nobody", monkeypatch)
    text = PROJECT.format(plugin=plugin, preset="").replace("listen", "louder")
    assert projects.render(text) == 1
    assert "line 7: effect sa3-daw.vst3: has no parameter 'louder'; it has " in capsys.readouterr().err
