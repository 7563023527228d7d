"""A host without windows outlives the screen that its environment names: the plugin must not tie it to one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from plugin_host_tests.ardour import Ardour, home
from plugin_host_tests.conftest import SCREEN
from plugin_host_tests.test_in_ardour import OPEN, RATE, make_session
from tests.bridge_build import need
from tests.running_daemon import environment, wait_for


def test_ardour_plays_on_when_the_screen_goes_away(plugin: Path, tmp_path: Path) -> None:
    need(SCREEN)
    server = ("Xvfb", "-noreset", "-displayfd", "1", "-screen", "0", "640x480x24")
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as screen:
        assert screen.stdout is not None
        name = f":{screen.stdout.readline().strip()}"
        variables = {**environment(tmp_path / "run"), **home(tmp_path), "DISPLAY": name}
        place = make_session(plugin, tmp_path, variables)
        ardour = Ardour(tmp_path, variables)
        ardour.tell(*(line.format(folder=place) for line in OPEN))
        screen.terminate()
    ardour.roll(RATE)
    wait_for("two more seconds", lambda: ardour.place() > 3 * RATE)
    ardour.stop()
    ardour.close()
    assert ardour.process.returncode == 0
