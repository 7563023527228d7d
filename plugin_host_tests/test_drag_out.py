"""The file that is dragged out of the window, with the real pointer, onto another program's window."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np

from plugin_host_tests.conftest import OpenWindow
from plugin_host_tests.drop_target import DropTarget
from plugin_host_tests.test_trouble import passes, ready, wav
from plugin_host_tests.test_window import RATE, audio_of
from tests.running_daemon import RunningDaemon


def test_another_window_gets_a_wav_with_its_place_each_time_it_is_dragged_there(
    open_window: OpenWindow, daemon: RunningDaemon, screen: str
) -> None:
    daemon.engine_pid()
    host = ready(open_window, daemon)
    take = host.make("generate")
    with DropTarget(screen) as target:
        dropped = [target.catch(host.parts()["drag_out"]["bounds"]) for _ in range(2)]
    assert dropped[0] == dropped[1]
    (uri,) = dropped[0].split("\r\n")[:1]
    file = Path(unquote(uri.removeprefix("file://")))
    rate, reference, samples = wav(file)
    assert (rate, reference) == (RATE, 4 * RATE)  # bar 3 at 120 BPM is at 4 s
    assert np.array_equal(samples, audio_of(daemon, take))


def test_a_full_disk_is_told_and_nothing_is_dragged(
    open_window: OpenWindow, daemon: RunningDaemon, screen: str
) -> None:
    daemon.engine_pid()
    host = ready(open_window, daemon, largest_file_bytes=100_000)
    host.make("generate")
    with DropTarget(screen) as target:
        target.drag_here(host.parts()["drag_out"]["bounds"])
        host.until("message", lambda: "Is the disk full?" in host.status())
        target.hover()
        target.release()
        target.listen()
        assert (target.num_positions, target.dropped) == (0, "")
    assert not list((host.folder / "sa3-daw takes").iterdir())
    assert passes(host)
