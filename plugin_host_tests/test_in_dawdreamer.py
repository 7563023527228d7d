"""The plugin in dawdreamer, which plays from bar 1 at a tempo of its own: the tempo reaches the plan and the take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plugin_host_tests.own_host import Samples, json_in, wrapped
from tests.running_daemon import RunningDaemon, data_dir, wait_for

RATE = 48000
RECIPE = {"seed": 5, "seed_locked": True, "steps": 2, "range_mode": 1}


class DawDreamer:
    """An engine with the plugin fed by silence."""

    def __init__(self, plugin: Path, bpm: float | Samples, ppqn: int = 960) -> None:
        import dawdreamer  # made for Linux only in the test extra: its lack shall fail these tests, not the collection

        self.engine = dawdreamer.RenderEngine(RATE, 512)
        if isinstance(bpm, float):
            self.engine.set_bpm(bpm)
        else:
            self.engine.set_bpm(bpm, ppqn)
        silence = self.engine.make_playback_processor("silence", np.zeros((2, RATE * 8), np.float32))
        self.plugin: Any = self.engine.make_plugin_processor("sa3", str(plugin))
        self.engine.load_graph([(silence, []), (self.plugin, ["silence"])])

    def set(self, name: str, value: float) -> None:
        indices = {told["name"]: told["index"] for told in self.plugin.get_parameters_description()}
        self.plugin.set_parameter(indices[name], value)

    def state(self, folder: Path) -> dict[str, Any]:
        self.plugin.save_state(str(folder / "state"))
        state: dict[str, Any] = json_in((folder / "state").read_bytes())
        return state

    def set_recipe(self, folder: Path, **changes: Any) -> None:
        state = self.state(folder)
        new = {**state, "recipe": {**state["recipe"], **RECIPE, **changes}}
        (folder / "new").write_bytes(wrapped(json.dumps(new).encode()))
        self.plugin.load_state(str(folder / "new"))


@pytest.mark.parametrize(("bpm", "num_bars"), [(93.0, 1), (150.0, 2)])
def test_the_tempo_of_the_host_makes_the_length_of_the_take(
    plugin: Path, daemon: RunningDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bpm: float, num_bars: int
) -> None:
    daemon.engine_pid()
    monkeypatch.setenv("SA3_RUNTIME_DIR", str(daemon.runtime_dir))
    monkeypatch.setenv("SA3_DATA_DIR", str(data_dir(daemon.runtime_dir)))
    prompt = f"drums{bpm:g}"
    host = DawDreamer(plugin, bpm)
    host.set_recipe(tmp_path, prompt=prompt, num_bars=num_bars)
    host.set("Generate", 1.0)
    host.engine.render(4.0)
    with daemon.client() as client:
        wait_for("take", lambda: bool(client.list_takes(text=prompt)))
        take = client.list_takes(text=prompt)[0]
        _, job = client.get_take(take.take_id)
    assert job.tempo_map[0].bpm == bpm
    assert take.made.num_samples == round(num_bars * 4 * 60 / bpm * RATE)
    assert np.abs(host.engine.get_audio()).max() > 1e-3  # an offline render waits for what it shall sound


def test_with_a_tempo_map_the_tempo_at_the_clips_place_makes_its_length(
    plugin: Path, daemon: RunningDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.engine_pid()
    monkeypatch.setenv("SA3_RUNTIME_DIR", str(daemon.runtime_dir))
    monkeypatch.setenv("SA3_DATA_DIR", str(data_dir(daemon.runtime_dir)))
    ppqn = 960
    host = DawDreamer(plugin, np.repeat(np.array([90, 120, 60], dtype=np.float32), 4 * ppqn), ppqn)
    host.set_recipe(tmp_path, prompt="slow bar", num_bars=1)
    host.set("Generate", 1.0)
    host.engine.render(4.0)
    with daemon.client() as client:
        wait_for("take", lambda: bool(client.list_takes(text="slow bar")))
        take = client.list_takes(text="slow bar")[0]
        _, job = client.get_take(take.take_id)
    assert [point.bpm for point in job.tempo_map] == [90.0]
    assert take.made.num_samples == round(4 * 60 / 90 * RATE)
