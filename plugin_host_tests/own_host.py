"""Drives the test host of plugin_host_tests/host by its JSON commands. Knows no daemon."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.running_daemon import PATIENCE_SECONDS, wait_for

Samples = NDArray[np.float32]


class OwnHost:
    """One host process with one plugin, the VST3."""

    def __init__(
        self, program: Path, environment: dict[str, str], folder: Path, largest_file_bytes: int | None = None
    ) -> None:
        """``largest_file_bytes``: writing more to any file fails, as on a full disk."""
        self.folder = folder
        command = [str(program)]
        if largest_file_bytes is not None:
            command = ["sh", "-c", f"trap '' XFSZ; ulimit -f {largest_file_bytes // 512}; exec \"$0\"", *command]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the host ended with {self.process.wait(10)} at {command}"
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer
        return answer

    def run(self, **command: Any) -> tuple[dict[str, Any], Samples]:
        """Process blocks; return the measurements and the output [2, n]."""
        file = self.folder / "out.f32"
        answer = self.ask(op="run", out=str(file), **command)
        return answer, np.fromfile(file, np.float32).reshape(2, -1)

    def state(self) -> dict[str, Any]:
        file = self.folder / "state"
        self.ask(op="get_state", file=str(file))
        state: dict[str, Any] = self.state_in(file.read_bytes())
        return state

    @staticmethod
    def state_in(stored: bytes) -> Any:
        return json_in(stored)

    @staticmethod
    def stored(own: bytes) -> bytes:
        return wrapped(own)

    def set_state(self, content: bytes | dict[str, Any]) -> None:
        file = self.folder / "new-state"
        file.write_bytes(self.stored(content if isinstance(content, bytes) else json.dumps(content).encode()))
        self.ask(op="set_state", file=str(file))

    def generate(self, num_takes: int = 1) -> dict[str, Any]:
        """Raise the trigger and wait for the take to be whole; return the state."""
        before = len(self.takes())
        for value in (0, 1):
            self.ask(op="parameter", name="Generate", value=value)
            self.ask(op="run", samples=64)  # a VST3 host hands parameters over with the blocks

        self.until("take", lambda: len(self.takes()) >= before + num_takes)
        return self.state()

    def takes(self) -> list[dict[str, Any]]:
        """Return the takes that are whole, oldest first."""
        return [take for take in self.state()["takes"] if take["audio"]]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.ask(op="sleep", ms=50)
            return condition()

        wait_for(what, holds)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


class WindowHost(OwnHost):
    """The plugin's own code with its window open, and a hand on mouse and keyboard; no VST3 between."""

    @staticmethod
    def state_in(stored: bytes) -> Any:
        return json.loads(stored)

    @staticmethod
    def stored(own: bytes) -> bytes:
        return own

    def parts(self) -> dict[str, Any]:
        """What shows in the window, by id."""
        parts: dict[str, Any] = self.ask(op="parts")["parts"]
        return parts

    def status(self) -> str:
        return str(self.parts()["status"]["text"])

    def is_enabled(self, part: str) -> bool:
        return bool(self.parts()[part]["enabled"])

    def click(self, part: str, at: tuple[float, float] = (0.5, 0.5), times: int = 1) -> None:
        """Click a part once it can be clicked; ``at`` in shares of its size, or in pixels above 1."""
        self.until(f"{part} enabled", lambda: self.is_enabled(part))
        self.ask(op="click", id=part, at=at, times=times)

    def drag_over(self, part: str, start: float, end: float) -> None:
        self.ask(op="drag", id=part, **{"from": (start, 0.5), "to": (end, 0.5)})

    def keys(self, *keys: str) -> None:
        self.ask(op="keys", keys=keys)

    def make(self, verb: str, num_takes: int = 1) -> dict[str, Any]:
        """Press one of the verbs' buttons and wait for its takes; return the last of them."""
        before = len(self.takes())
        self.click(verb)
        self.until(verb, lambda: len(self.takes()) >= before + num_takes and not self.is_enabled("cancel"))
        return self.takes()[-1]

    def chosen(self) -> dict[str, Any]:
        state = self.state()
        take: dict[str, Any] = state["takes"][state["chosen_take"]]
        return take


ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
JUCE_ALPHABET = b".ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
TO_JUCE, FROM_JUCE = bytes.maketrans(ALPHABET, JUCE_ALPHABET), bytes.maketrans(JUCE_ALPHABET, ALPHABET)
MAGIC = (0x21324356).to_bytes(4, "little")


def coded(own: bytes) -> str:
    """Return bytes as JUCE writes them into texts: their number, a point, and base 64 from the lowest bits on."""
    whole = own + bytes(-len(own) % 3)
    letters = base64.b64encode(whole[::-1])[::-1].translate(TO_JUCE)[: (len(own) * 8 + 5) // 6]
    return f"{len(own)}.{letters.decode()}"


def decoded(text: str) -> bytes:
    size, _, letters = text.partition(".")
    whole = letters + "." * (-len(letters) % 4)
    return base64.b64decode(whole.encode().translate(FROM_JUCE)[::-1])[::-1][: int(size)]


def wrapped(own: bytes) -> bytes:
    """Return a plugin's own state as JUCE's VST3 hosting stores it: XML with the bytes as text."""
    head = '<?xml version="1.0" encoding="UTF-8"?> '
    content = f"{head}<VST3PluginState><IComponent>{coded(own)}</IComponent></VST3PluginState>".encode()
    return MAGIC + len(content).to_bytes(4, "little") + content + b"\0"


def unwrapped(stored: bytes) -> bytes:
    """Return the plugin's own bytes, perhaps with the wrapper's after them."""
    text = stored[8:].rstrip(b"\0").decode()
    return decoded(text.split("<IComponent>")[1].split("</IComponent>")[0])


def json_in(stored: bytes) -> Any:
    return json.JSONDecoder().raw_decode(unwrapped(stored).decode("utf-8", "replace"))[0]
