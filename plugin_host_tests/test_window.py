"""Every verb of the window by mouse and keyboard, and what then lies in the daemon's store and in the state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from plugin_host_tests.conftest import REAL_ENGINE, OpenWindow
from plugin_host_tests.own_host import Samples, WindowHost
from sa3_daw.audio.loudness import loudness_lufs
from tests.running_daemon import RunningDaemon, data_dir

RATE = 48000
RECIPE = {"prompt": "house drums", "seed": 5, "seed_locked": True, "steps": 2, "range_mode": 2, "seconds": 2.0}
A_BAR = {"playing": False, "ppq": 8.0, "bpm": 120.0}
RANK = 2


def write_pack(folder: Path) -> None:
    """Write a small style pack for nano, over one layer."""
    folder.mkdir(parents=True)
    key = "model.transformer.layers.0.self_attn.to_out.parametrizations.weight.0."
    random = np.random.default_rng(1)

    def weights(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    tensors = {key + "lora_A": weights(RANK, 192), key + "lora_B": weights(192, RANK)}
    config = json.dumps({"rank": RANK, "alpha": RANK, "adapter_type": "lora"})
    save_file(tensors, folder / "grit.safetensors", {"lora_config": config, "base_model": "nano"})


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    runtime_dir = tmp_path_factory.mktemp("run") / "daemon"
    write_pack(data_dir(runtime_dir) / "adapters")
    with RunningDaemon(runtime_dir, SA3_ENGINE_COMMAND=REAL_ENGINE) as running:
        running.engine_pid()
        yield running


@pytest.fixture
def window(open_window: OpenWindow, daemon: RunningDaemon) -> WindowHost:
    """The window at bar 3 of a song at 120 BPM, with a quick recipe."""
    host = open_window(daemon.runtime_dir)
    with_recipe(host)
    host.ask(op="position", **A_BAR)
    host.run(samples=4096)
    host.until("daemon found", lambda: host.status() == "Ready" and host.is_enabled("generate"))
    return host


def with_recipe(host: WindowHost, **changes: Any) -> None:
    state = host.state()
    host.set_state({**state, "recipe": {**state["recipe"], **RECIPE, **changes}})


def audio_of(daemon: RunningDaemon, take: dict[str, Any]) -> Samples:
    with daemon.client() as client:
        return client.get_audio(take["audio"])


def play(host: WindowHost, num_samples: int, **more: Any) -> Samples:
    """Let the host play from bar 3 and return what is heard."""
    host.ask(op="position", **{**A_BAR, "playing": True})
    heard = host.run(samples=num_samples, **more)[1]
    host.ask(op="position", **A_BAR)
    host.run(samples=4096)
    return heard


def test_a_typed_prompt_is_generated_by_enter_and_repainted_where_the_mouse_marked_it(
    window: WindowHost, daemon: RunningDaemon
) -> None:
    window.click("prompt", times=3)  # selects what is there
    window.ask(op="text", text="slow piano")
    window.keys("return")
    window.until("take", lambda: len(window.takes()) == 1)
    first = window.takes()[0]
    assert (first["job"]["prompt"], first["num_samples"], first["start_ppq"]) == ("slow piano", 2 * RATE, 8.0)
    window.until("take shown", lambda: window.is_enabled("restyle"))
    for start, end in ((0.2, 0.4), (0.8, 0.6), (0.45, 0.5)):
        window.drag_over("waveform", start, end)
    window.ask(op="click", id="waveform", at=(0.47, 0.5), times=2)  # takes the last mark away again
    second = window.make("repaint")
    with daemon.client() as client:
        info, job = client.get_take(second["take_id"])
    regions = [(region.start_sample, region.end_sample) for region in job.regions]
    wanted = [(0.2, 0.4), (0.6, 0.8)]
    assert np.allclose(np.array(regions) / (2 * RATE), wanted, atol=0.005)
    assert (info.parents, job.source and job.source.audio) == ((first["take_id"],), first["audio"])
    before, after = audio_of(daemon, first), audio_of(daemon, second)
    is_kept = np.ones(2 * RATE, bool)
    for start, end in regions:
        is_kept[start:end] = False
        assert not np.array_equal(before[:, start:end], after[:, start:end])
    assert np.array_equal(before[:, is_kept], after[:, is_kept])
    window.click("waveform", at=(0.9, 0.5))
    window.keys("delete")
    window.until("marks gone", lambda: not window.is_enabled("repaint"))


def test_continue_restyle_and_make_again_do_what_they_say(window: WindowHost, daemon: RunningDaemon) -> None:
    with_recipe(window, continue_bars=0.5, init_level=0.35)
    first = window.make("generate")
    longer = window.make("continue")
    assert longer["num_samples"] == 2 * RATE + RATE
    kept, whole = audio_of(daemon, first), audio_of(daemon, longer)
    assert np.array_equal(whole[:, : 2 * RATE], kept) and np.abs(whole[:, 2 * RATE :]).max() > 1e-3
    window.click("undo")
    restyled = window.make("restyle")
    with daemon.client() as client:
        info, job = client.get_take(restyled["take_id"])
    assert (job.noise_level, job.regions, info.parents) == (0.35, (), (first["take_id"],))
    again = window.make("again")
    assert again["audio"] == restyled["audio"] and again["job"]["job_id"] != restyled["job"]["job_id"]


def test_cancel_ends_the_job_in_the_daemon_and_the_take_before_it_is_back(
    window: WindowHost, daemon: RunningDaemon
) -> None:
    first = window.make("generate")
    with_recipe(window, seconds=60.0, steps=100, seed=6)
    window.click("generate")
    window.click("cancel")
    window.until("cancelled", lambda: not window.is_enabled("cancel"))
    with daemon.client() as client:
        assert client.status().ended[0].outcome == "cancelled"
    assert window.state()["takes"] == [first] and window.chosen() == first
    assert play(window, RATE).any()


def test_takes_are_chosen_starred_undone_compared_and_deleted(window: WindowHost, daemon: RunningDaemon) -> None:
    first = window.make("generate")
    with_recipe(window, prompt="warm pad", seed=8)
    second = window.make("generate")
    assert window.chosen() == second
    for press, chosen in (("undo", first), ("redo", second), ("a_b", first), ("a_b", second)):
        window.click(press)
        assert window.chosen() == chosen, press
    window.until("no redo", lambda: not window.is_enabled("redo"))
    window.click("takes", at=(100, 60))  # the second row: the older take
    assert window.chosen() == first
    window.click("takes", at=(12, 20))  # the star of the first row, which is chosen with it
    with daemon.client() as client:
        window.until("star", lambda: client.get_take(second["take_id"])[0].starred)
    window.keys("delete")
    assert [take["take_id"] for take in window.takes()] == [first["take_id"]] and window.chosen() == first


def test_a_and_b_are_equally_loud(window: WindowHost, daemon: RunningDaemon) -> None:
    sides = []
    for prompt in ("house drums", "warm pad"):
        with_recipe(window, prompt=prompt, seconds=4.0)
        window.make("generate")
    with_takes = window.takes()
    for _ in range(2):
        window.ask(op="sleep", ms=100)
        sides.append(loudness_lufs(play(window, 4 * RATE), RATE))
        window.click("a_b")
    given = [loudness_lufs(audio_of(daemon, take), RATE) for take in with_takes]
    assert sides[0] is not None and sides[1] is not None and given[0] is not None and given[1] is not None
    assert abs(given[0] - given[1]) > 1.0, "takes as loud as each other prove nothing"
    assert abs(sides[0] - sides[1]) < 0.5


def test_variations_and_a_style_pack_reach_the_daemon(window: WindowHost, daemon: RunningDaemon) -> None:
    window.click("num_variations")
    window.keys("home")
    with_recipe(window, num_variations=3)
    plain = window.make("generate", num_takes=3)
    assert sorted(take["variation"] for take in window.takes()) == [0, 1, 2]
    assert len({take["audio"] for take in window.takes()}) == 3
    with_recipe(window, num_variations=1, seed=plain["job"]["seed"])
    window.click("adapters")
    window.until("strengths", lambda: "adapter grit" in window.parts())
    window.drag_over("adapter grit", 0.05, 0.4)
    window.ask(op="click", id="status")  # beside it: closes the box
    styled = window.make("generate")
    strength = styled["job"]["adapters"][0]["strength"]
    assert styled["job"]["adapters"][0]["name"] == "grit" and 0.1 < strength < 1.5
    assert styled["audio"] not in {take["audio"] for take in window.takes()[:3]}


def test_listen_plays_the_take_from_its_start_while_the_host_stands(window: WindowHost, daemon: RunningDaemon) -> None:
    take = window.make("generate")
    window.click("match_loudness")
    window.ask(op="sleep", ms=100)
    window.click("listen")
    window.ask(op="sleep", ms=100)
    heard = window.run(samples=2 * RATE + 4096)[1]
    assert np.array_equal(heard[:, : 2 * RATE], audio_of(daemon, take)) and not heard[:, 2 * RATE :].any()
    window.until("listen off", lambda: not window.parts()["listen"]["on"])


def test_a_recording_is_repainted_outside_its_marks_to_the_bit(window: WindowHost, daemon: RunningDaemon) -> None:
    given = np.random.default_rng(3).uniform(-0.5, 0.5, (2, 2 * RATE)).astype(np.float32)
    file = window.folder / "track.f32"
    given.tofile(file)
    window.click("record")
    window.run(samples=2 * RATE, input=str(file))
    window.click("record")
    window.until("recording", lambda: window.parts()["takes"]["rows"] == 1)
    window.drag_over("waveform", 0.5, 0.75)
    window.make("repaint")
    take = window.chosen()
    made, regions = audio_of(daemon, take), take["job"]["regions"]
    start, end = regions[0]["start_sample"], regions[0]["end_sample"]
    assert take["num_samples"] == 2 * RATE and abs(start - RATE) < 500
    assert np.array_equal(made[:, :start], given[:, :start]) and np.array_equal(made[:, end:], given[:, end:])


def test_a_capture_begins_when_the_host_plays_and_knows_its_place(window: WindowHost) -> None:
    window.click("capture")
    window.until("waiting", lambda: window.parts()["capture"]["text"] == "Play ...")
    window.run(samples=RATE, input="noise")  # the host stands still
    play(window, RATE, input="noise")
    window.until("captured", lambda: "Bar 3 to 3.5 " in window.parts()["plan"]["text"])
    taken = window.make("restyle")
    assert (taken["num_samples"], taken["start_ppq"]) == (RATE, 8.0)


def test_everything_is_reached_and_moved_with_the_keyboard(window: WindowHost) -> None:
    window.make("generate")
    window.click("prompt")
    reached: list[str] = []
    while "prompt" not in reached and len(reached) < 100:  # the numbers beside the sliders take the keyboard too
        window.keys("tab")
        reached.append(window.ask(op="parts")["focus"])
    shown = {name for name, part in window.parts().items() if part["enabled"]}
    assert shown - set(reached) == {"status", "plan"}  # which only tell
    window.click("seconds", at=(0.01, 0.5))
    before = window.parts()["seconds"]["value"]
    window.keys("cursor right", "cursor right")
    assert window.parts()["seconds"]["value"] > before
    window.click("is_on", at=(12, 14))
    assert not window.parts()["is_on"]["on"]
    window.keys("return")
    window.until("on", lambda: window.parts()["is_on"]["on"])


def test_a_tempo_change_that_was_not_played_through_is_told(window: WindowHost) -> None:
    changes = {"bpm": 120, "tempo_changes": [[0, 120], [10, 90]]}
    window.ask(op="position", playing=True, ppq=9.5, **changes)
    window.run(samples=RATE)
    window.ask(op="position", playing=False, ppq=8.0, **changes)
    window.run(samples=4096)
    window.until("warning", lambda: "The tempo changes here" in window.parts()["plan"]["text"])
