"""Makes the pictures of the plugin's window, in each of its states, with a real daemon. Tests nothing.

It needs a screen, a window manager, xdotool and ImageMagick, and the plugin and the hosts as the tests build them:
xvfb-run -a -s "-screen 0 1600x1000x24" sh -c "openbox & exec python -m plugin_host_tests.screenshots"
Each state comes dark at 100 % and light at 150 %; the one with takes has no state in its file names.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from plugin_host_tests.conftest import REAL_ENGINE, program
from plugin_host_tests.own_host import WindowHost
from tests.running_daemon import ROOT, RunningDaemon, environment

RATE = 48000
WIDTH, HEIGHT = 980, 620
BAR_3_TO_7 = {"ppq": 8, "bpm": 127.5, "cycle": [8, 24]}
BAR_9 = {"ppq": 32, "bpm": 127.5}  # where none of the takes lies that were made before
RECIPE = {"prompt": "house drums and bass", "steps": 2, "seed": 5, "seed_locked": True}
LONG = {"range_mode": 2, "seconds": 180.0, "steps": 8}
LOOKS = {"dark": (True, 1.0), "light-150": (False, 1.5)}
SLOW_TO_START = f"sh -c 'sleep 120; exec {REAL_ENGINE}'"


def opened(home: Path, runtime_dir: Path) -> WindowHost:
    host = WindowHost(program("sa3_window_host"), environment(runtime_dir) | {"HOME": str(home)}, home)
    host.ask(op="load", path="")
    host.ask(op="prepare", rate=RATE, block=512)
    host.ask(op="position", playing=False, **BAR_3_TO_7)
    host.run(samples=4096)
    with_recipe(host)
    return host


def with_recipe(host: WindowHost, **changes: object) -> None:
    state = host.state()
    host.set_state({**state, "recipe": {**state["recipe"], **RECIPE, **changes}})


def shoot(host: WindowHost, folder: Path, state: str) -> None:
    """Open the window in each look, let the song play half a second, and store the top left corner of the screen."""
    for look, (is_dark, scale) in LOOKS.items():
        host.ask(op="editor", scale=scale / host.state()["window_scale"])
        if is_dark != (host.parts()["theme"]["text"] == "Light"):
            host.click("theme")
        if state == "takes":
            host.drag_over("waveform", 0.3, 0.5)
            host.drag_over("waveform", 0.72, 0.8)
        host.ask(op="click", id="status")  # beside all that could be open
        host.ask(op="sleep", ms=700)
        host.run(samples=RATE // 2, realtime=True)
        size = f"{WIDTH * scale:.0f}x{HEIGHT * scale:.0f}+0+0"
        file = folder / (f"plugin-{look}.png" if state == "takes" else f"plugin-{state}-{look}.png")
        command = ["import", "-window", "root", "-crop", size, "+repage", "+dither", "-colors", "128", str(file)]
        subprocess.run(command, check=True)
        host.ask(op="close_editor")


def make_takes(host: WindowHost) -> None:
    host.ask(op="editor")
    for prompt, seed in (("warm pad", 8), ("house drums and bass", 5)):
        with_recipe(host, prompt=prompt, seed=seed)
        host.make("generate")
    host.ask(op="close_editor")
    host.ask(op="position", playing=True, **BAR_3_TO_7)


def press(host: WindowHost, button: str) -> None:
    host.ask(op="editor")
    host.click(button)
    host.ask(op="close_editor")


def is_heard(host: WindowHost) -> bool:
    host.ask(op="position", playing=True, **BAR_9)
    return bool(host.run(samples=RATE // 10)[1].any())


def shoot_without_an_engine(home: Path, folder: Path) -> None:
    lonely = opened(home, home / "nobody")
    shoot(lonely, folder, "no-daemon")
    lonely.close()
    with RunningDaemon(home / "slow", SA3_ENGINE_COMMAND=SLOW_TO_START) as daemon:
        host = opened(home, daemon.runtime_dir)
        press(host, "generate")
        shoot(host, folder, "loading")
        host.close()


def shoot_with_an_engine(home: Path, folder: Path) -> None:
    with RunningDaemon(home / "run", SA3_ENGINE_COMMAND=REAL_ENGINE) as daemon:
        daemon.engine_pid()
        host = opened(home, daemon.runtime_dir)
        shoot(host, folder, "ready")
        make_takes(host)
        shoot(host, folder, "takes")
        host.ask(op="position", playing=False, **BAR_9)
        host.run(samples=4096)
        with_recipe(host, **LONG)
        press(host, "generate")
        host.until("first audio", lambda: is_heard(host))
        shoot(host, folder, "generating")
        host.ask(op="position", playing=True, **BAR_3_TO_7)
        press(host, "cancel")
        host.ask(op="editor")
        host.until("cancelled", lambda: not host.is_enabled("cancel"))
        host.ask(op="close_editor")
        with_recipe(host, model="absent", range_mode=0)
        press(host, "generate")
        shoot(host, folder, "failed")
        host.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the plugin's window.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp())
    subprocess.run(["xdotool", "mousemove", "1599", "999"], check=True)  # away from what has a tooltip
    shoot_without_an_engine(home, options.folder)
    shoot_with_an_engine(home, options.folder)


if __name__ == "__main__":
    main()
