"""A host without windows outlives the screen that its environment names: the plugin must not tie it to one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugin_host_tests.ardour import Ardour, home
from plugin_host_tests.conftest import SCREEN
from plugin_host_tests.test_in_ardour import OPEN, RATE, make_session
from tests.bridge_build import need
from tests.running_daemon import PATIENCE_SECONDS, environment, wait_for

LV2_HOST = """
import sys
from pathlib import Path

import numpy as np

from plugin_host_tests.lv2_host import Lv2Plugin

lv2 = Lv2Plugin(Path(sys.argv[1]), "https://sa3-daw.invalid/plugin", 48000)
given = np.ones((2, 64), np.float32)
for _ in sys.stdin:
    print(np.array_equal(lv2.block(given), given), flush=True)
lv2.close()
"""
"""Plays a block for each line it is told."""


@contextmanager
def passing_screen() -> Iterator[str]:
    """The name of a screen that goes away at the end of ``with``."""
    need(SCREEN)
    server = ("Xvfb", "-noreset", "-displayfd", "1", "-screen", "0", "640x480x24")
    with subprocess.Popen(server, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as screen:
        assert screen.stdout is not None
        yield f":{screen.stdout.readline().strip()}"
        screen.terminate()


def test_ardour_plays_on_when_the_screen_goes_away(plugin: Path, tmp_path: Path) -> None:
    with passing_screen() as name:
        variables = {**environment(tmp_path / "run"), **home(tmp_path), "DISPLAY": name}
        place = make_session(plugin, tmp_path, variables)
        ardour = Ardour(tmp_path, variables)
        ardour.tell(*(line.format(folder=place) for line in OPEN))
    ardour.roll(RATE)
    wait_for("two more seconds", lambda: ardour.place() > 3 * RATE)
    ardour.stop()
    ardour.close()
    assert ardour.process.returncode == 0


def test_a_host_of_the_lv2_plays_on_when_the_screen_goes_away(plugin: Path, tmp_path: Path) -> None:
    bundle = plugin.parent.parent / "LV2" / "sa3-daw.lv2"
    with passing_screen() as name:
        variables = {**environment(tmp_path / "run"), "HOME": str(tmp_path), "DISPLAY": name}
        host = subprocess.Popen(
            [sys.executable, "-c", LV2_HOST, str(bundle)],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert host.stdin is not None and host.stdout is not None
        host.stdin.write("play\n")
        host.stdin.flush()
        assert host.stdout.readline() == "True\n"
    with pytest.raises(subprocess.TimeoutExpired):
        host.wait(1)  # an end by Xlib comes at once
    played, _ = host.communicate("play\n", PATIENCE_SECONDS)
    assert (played, host.returncode) == ("True\n", 0)
