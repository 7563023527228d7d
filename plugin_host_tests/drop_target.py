"""A window of our own that files can be dropped on, and a hand on the real pointer. Knows no plugin.

It speaks XDND 5 as another program would: nothing of JUCE is in it.
"""

from __future__ import annotations

from typing import Any

from Xlib import X, Xatom, display
from Xlib.ext import xtest
from Xlib.protocol import event

from tests.running_daemon import wait_for

VERSION = 5
LEFT_BUTTON = 1
PLACE, SIZE = (1200, 500), 200
SETTLED_POSITIONS = 3
"""So many times the source has told where it is: by then it has read our first answer."""


class DropTarget:
    """The window, open until the end of ``with``; ``dropped`` is what was dropped on it, as it came."""

    def __init__(self, screen: str) -> None:
        self.display = display.Display(screen)
        root = self.display.screen()
        self.root = root.root
        self.window: Any = self.root.create_window(
            *PLACE, SIZE, SIZE, 0, root.root_depth, override_redirect=True, background_pixel=root.white_pixel
        )
        self.window.change_property(self.atom("XdndAware"), Xatom.ATOM, 32, [VERSION])
        self.window.map()
        self.display.sync()
        self.dropped = ""
        self.num_positions = 0

    def __enter__(self) -> DropTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self.display.close()

    def atom(self, name: str) -> int:
        return int(self.display.intern_atom(name))

    def drag_here(self, bounds: list[int]) -> None:
        """Press the left button inside ``bounds``, move here, release; return once the source has shown no more."""
        self.dropped, self.num_positions = "", 0
        x, y = bounds[0] + bounds[2] // 2, bounds[1] + bounds[3] // 2
        self.move(x, y)
        xtest.fake_input(self.display, X.ButtonPress, LEFT_BUTTON)
        for step in range(1, 11):
            self.move(x + (PLACE[0] - x) * step // 10, y + (PLACE[1] - y) * step // 10)

    def move(self, x: int, y: int) -> None:
        xtest.fake_input(self.display, X.MotionNotify, x=x, y=y)
        self.display.sync()

    def hover(self) -> bool:
        """Move about inside; whether the source is ready to drop."""
        self.move(PLACE[0] + 50 + self.num_positions % 2, PLACE[1] + 50)
        self.listen()
        return self.num_positions >= SETTLED_POSITIONS

    def release(self) -> None:
        xtest.fake_input(self.display, X.ButtonRelease, LEFT_BUTTON)
        self.display.sync()

    def catch(self, bounds: list[int]) -> str:
        """Drag from ``bounds`` to here, drop, and return the text of what came."""
        self.drag_here(bounds)
        wait_for("a source over the window", self.hover)
        self.release()

        def has_come() -> bool:
            self.listen()
            return bool(self.dropped)

        wait_for("a drop", has_come)
        return self.dropped

    def listen(self) -> None:
        """Answer everything that waits."""
        while self.display.pending_events():
            told = self.display.next_event()
            if told.type == X.ClientMessage:
                self.answer(told)
            elif told.type == X.SelectionNotify:
                self.take(told)

    def answer(self, told: Any) -> None:
        source = self.display.create_resource_object("window", told.data[1][0])
        if told.client_type == self.atom("XdndPosition"):
            self.num_positions += 1
            self.send(source, "XdndStatus", 3, 0, 0, self.atom("XdndActionCopy"))
        elif told.client_type == self.atom("XdndDrop"):
            self.source = source
            names = ("XdndSelection", "text/uri-list", "SA3_DROPPED")
            self.window.convert_selection(*map(self.atom, names), told.data[1][2])
            self.display.sync()

    def take(self, told: Any) -> None:
        found = self.window.get_full_property(told.property, X.AnyPropertyType)
        self.dropped = bytes(found.value).decode()
        self.send(self.source, "XdndFinished", 1, self.atom("XdndActionCopy"), 0, 0)

    def send(self, to: Any, kind: str, *words: int) -> None:
        message = event.ClientMessage(window=to, client_type=self.atom(kind), data=(32, [self.window.id, *words]))
        to.send_event(message)
        self.display.sync()
