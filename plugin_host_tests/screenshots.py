"""Makes the pictures of the plugin's window in docs/images, with a take made by a real daemon. Tests nothing.

It needs a screen, a window manager and ImageMagick, and the plugin and the host as the tests build them:
xvfb-run -a -s "-screen 0 1600x1000x24" sh -c "openbox & exec python -m plugin_host_tests.screenshots"
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from plugin_host_tests.conftest import BUILD, REAL_ENGINE
from plugin_host_tests.own_host import OwnHost
from tests.running_daemon import ROOT, RunningDaemon, environment

RATE = 48000
WIDTH, HEIGHT = 980, 620
BAR_3_TO_7 = {"ppq": 8, "bpm": 127.5, "cycle": [8, 24]}
RECIPE = {"prompt": "house drums and bass", "steps": 2, "seed": 5, "seed_locked": True}
LOOKS = {"plugin-dark": (True, 1.0), "plugin-light-150": (False, 1.5)}


def program() -> Path:
    names = ("sa3-test-host", "sa3_test_host")
    return next(path for name in names for path in BUILD.rglob(name) if path.is_file() and os.access(path, os.X_OK))


def make_take(host: OwnHost) -> None:
    host.ask(op="prepare", rate=RATE, block=512)
    host.ask(op="position", playing=False, **BAR_3_TO_7)
    host.run(samples=4096)
    state = host.state()
    host.set_state({**state, "recipe": {**state["recipe"], **RECIPE}})
    host.generate()
    host.ask(op="position", playing=True, **BAR_3_TO_7)


def shoot(host: OwnHost, is_dark: bool, scale: float, file: Path) -> None:
    """Open the window, let it play half a second, and store the top left corner of the screen."""
    host.set_state({**host.state(), "is_dark": is_dark, "window_scale": scale})
    host.ask(op="editor")
    host.ask(op="sleep", ms=1500)
    host.run(samples=RATE // 2, realtime=True)
    size = f"{WIDTH * scale:.0f}x{HEIGHT * scale:.0f}+0+0"
    command = ["import", "-window", "root", "-crop", size, "+repage", "-colors", "64", str(file)]
    subprocess.run(command, check=True)
    host.ask(op="close_editor")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the plugin's window.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    folder: Path = parser.parse_args().folder
    home = Path(tempfile.mkdtemp())
    with RunningDaemon(home / "run", SA3_ENGINE_COMMAND=REAL_ENGINE) as daemon:
        daemon.engine_pid()
        host = OwnHost(program(), environment(daemon.runtime_dir) | {"HOME": str(home)}, home)
        host.ask(op="load", path=str(next(BUILD.rglob("sa3-daw.vst3"))))
        make_take(host)
        for name, (is_dark, scale) in LOOKS.items():
            shoot(host, is_dark, scale, folder / f"{name}.png")
        host.close()


if __name__ == "__main__":
    main()
