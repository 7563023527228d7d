"""The standalone program: its window comes up without sound hardware or daemon, and closing it ends it well."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

from Xlib import X, Xatom, display
from Xlib.protocol import event

from tests.running_daemon import PATIENCE_SECONDS, environment, wait_for

NO_SOUND = "pcm.!default { type null }\nctl.!default { type null }\n"


def windows_of(server: display.Display, title: bytes) -> list[int]:
    """The windows of that title that the window manager has taken over."""
    root = server.screen().root
    listed = root.get_full_property(server.intern_atom("_NET_CLIENT_LIST"), X.AnyPropertyType)
    windows = [server.create_resource_object("window", number) for number in (listed.value if listed else ())]
    titles = [window.get_full_property(Xatom.WM_NAME, X.AnyPropertyType) for window in windows]
    return [window.id for window, told in zip(windows, titles, strict=True) if told and told.value == title]


def close(server: display.Display, window: int) -> None:
    """Ask the window manager to close a window, as its cross does."""
    data = (32, (X.CurrentTime, 2, 0, 0, 0))
    message = event.ClientMessage(window=window, client_type=server.intern_atom("_NET_CLOSE_WINDOW"), data=data)
    server.screen().root.send_event(message, event_mask=X.SubstructureRedirectMask | X.SubstructureNotifyMask)
    server.flush()


def test_the_standalone_shows_its_window_and_ends_when_that_is_closed(
    plugin: Path, screen: str, tmp_path: Path
) -> None:
    (tmp_path / ".asoundrc").write_text(NO_SOUND)
    variables = environment(tmp_path / "nobody") | {"HOME": str(tmp_path), "DISPLAY": screen}
    program = plugin.parent.parent / "Standalone" / "sa3-daw"
    with closing(display.Display(screen)) as server, subprocess.Popen([str(program)], env=variables) as standalone:
        try:
            wait_for("window", lambda: len(windows_of(server, b"sa3-daw")) == 1)
            close(server, windows_of(server, b"sa3-daw")[0])
            assert standalone.wait(PATIENCE_SECONDS) == 0
        finally:
            standalone.kill()
