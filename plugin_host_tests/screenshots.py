"""Makes the pictures of the plugin's window, in each of its states, with a real daemon. Tests nothing.

It needs a screen, a window manager and ImageMagick, and the plugin and the hosts as the tests build them:
xvfb-run -a -s "-screen 0 1600x1000x24" sh -c "openbox & exec python -m plugin_host_tests.screenshots"
``docs/images`` gets those of the documentation; with ``--all`` every state comes at two scales, dark and light.
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
RECIPE = {"prompt": "house drums and bass", "steps": 2, "seed": 5, "seed_locked": True}
LONG = {"range_mode": 2, "seconds": 120.0, "steps": 50}
DOCUMENTED = {"plugin-dark": (True, 1.0), "plugin-light-150": (False, 1.5)}
EVERY = {f"{shade}-{scale:g}": (shade == "dark", scale) for shade in ("dark", "light") for scale in (1.0, 1.5)}


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


def shoot(host: WindowHost, looks: dict[str, tuple[bool, float]], folder: Path, state: str) -> None:
    """Open the window in each look, let the song play half a second, and store the top left corner of the screen."""
    for name, (is_dark, scale) in looks.items():
        host.ask(op="editor", scale=scale / host.state()["window_scale"])
        if is_dark != (host.parts()["theme"]["text"] == "Light"):
            host.click("theme")
        if state == "takes":
            host.drag_over("waveform", 0.3, 0.5)
            host.drag_over("waveform", 0.72, 0.8)
        host.ask(op="click", id="status")  # the mouse rests where no tooltip is
        host.ask(op="sleep", ms=700)
        host.run(samples=RATE // 2, realtime=True)
        size = f"{WIDTH * scale:.0f}x{HEIGHT * scale:.0f}+0+0"
        file = folder / (f"{name}.png" if looks is DOCUMENTED else f"{state}-{name}.png")
        command = ["import", "-window", "root", "-crop", size, "+repage", "-colors", "64", str(file)]
        subprocess.run(command, check=True)
        host.ask(op="close_editor")


def make_takes(host: WindowHost) -> None:
    host.ask(op="editor")
    for prompt, seed in (("warm pad", 8), ("house drums and bass", 5)):
        with_recipe(host, prompt=prompt, seed=seed)
        host.make("generate")
    host.ask(op="close_editor")
    host.ask(op="position", playing=True, **BAR_3_TO_7)


def all_states(home: Path, folder: Path) -> None:
    lonely = opened(home, home / "nobody")
    shoot(lonely, EVERY, folder, "no-daemon")
    lonely.close()
    with RunningDaemon(home / "run", SA3_ENGINE_COMMAND=REAL_ENGINE) as daemon:
        daemon.engine_pid()
        host = opened(home, daemon.runtime_dir)
        shoot(host, EVERY, folder, "ready")
        make_takes(host)
        shoot(host, EVERY, folder, "takes")
        with_recipe(host, **LONG)
        host.ask(op="editor")
        host.click("generate")
        host.ask(op="close_editor")
        shoot(host, EVERY, folder, "generating")
        host.ask(op="editor")
        host.click("cancel")
        host.until("cancelled", lambda: not host.is_enabled("cancel"))
        host.ask(op="close_editor")
        with_recipe(host, model="absent")
        host.ask(op="editor")
        host.click("generate")
        host.ask(op="close_editor")
        shoot(host, EVERY, folder, "failed")
        host.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the plugin's window.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--all", action="store_true", help="every state in every look")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp())
    if options.all:
        all_states(home, options.folder)
        return
    with RunningDaemon(home / "run", SA3_ENGINE_COMMAND=REAL_ENGINE) as daemon:
        daemon.engine_pid()
        host = opened(home, daemon.runtime_dir)
        make_takes(host)
        shoot(host, DOCUMENTED, options.folder, "takes")
        host.close()


if __name__ == "__main__":
    main()
