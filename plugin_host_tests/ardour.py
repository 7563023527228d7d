"""Drives Ardour without a window by lines of Lua, and changes its session files. Knows no daemon and no recipe.

Ardour's Lua can make and play sessions but neither loops nor plugin states: those are written into the saved file.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.bridge_build import need
from tests.running_daemon import PATIENCE_SECONDS, wait_for

FOLDERS = ("/usr/lib", "/usr/local/lib", "/opt")
UNITS_PER_SECOND = 282_240_000
"""Ardour's session files count time in these."""

LOOP = """
for line in io.lines() do
    local command, reason = load(line)
    local fine, answer = pcall(command or error, reason)
    print(string.format("answer\\t%s\\t%s", fine, answer))
    io.stdout:flush()
end
"""
BY_USER = "ARDOUR.TransportRequestSource.TRS_UI"


def scanner() -> Path:
    found = [path for folder in FOLDERS for path in Path(folder).glob("ardour*/ardour-vst3-scanner")]
    if not found:
        need({"ardour": "/usr/bin/ardour7-lua"})
        return scanner()
    return found[-1]


def home(folder: Path) -> dict[str, str]:
    """Return the variables that keep an Ardour's settings and caches inside a folder, and it off any screen."""
    folders = {"HOME": "home", "XDG_CONFIG_HOME": "home/config", "XDG_CACHE_HOME": "home/cache"}
    return {**{key: str(folder / name) for key, name in folders.items()}, "DISPLAY": ":none"}


def scan(plugin: Path, variables: dict[str, str]) -> str:
    """Put a VST3 where Ardour looks and let its scanner look; return what that says."""
    found_at = Path(variables["HOME"]) / ".vst3" / plugin.name
    found_at.parent.mkdir(parents=True, exist_ok=True)
    if not found_at.exists():
        found_at.symlink_to(plugin)
    done = subprocess.run(
        [str(scanner()), "-f", "-v", str(found_at)],
        env={**os.environ, **variables, "LD_LIBRARY_PATH": str(scanner().parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


class Ardour:
    """One Ardour process without a window and without sound hardware."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        need({"ardour": "/usr/bin/ardour7-lua"})
        script = folder / "loop.lua"
        script.write_text(LOOP)
        program = shutil.which("ardour7-lua")
        assert program is not None
        self.process = subprocess.Popen(
            [program, str(script)], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.tell('AudioEngine:set_backend("None (Dummy)", "", "")')

    def ask(self, line: str) -> str:
        """Run one line of Lua; return the text of what it returns."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        for told in self.process.stdout:
            if told.startswith("answer\t"):
                _, fine, answer = told.rstrip("\n").split("\t", 2)
                assert fine == "true", f"{line}: {answer}"
                return answer
        raise AssertionError(f"Ardour ended with {self.process.wait(10)} at {line}")

    def tell(self, *lines: str) -> None:
        for line in lines:
            self.ask(line)

    def place(self) -> int:
        return int(self.ask("return session:transport_sample()"))

    def is_stopped(self) -> bool:
        return self.ask("return session:transport_stopped()") == "true"

    def stop(self) -> None:
        self.tell(f"session:request_stop(false, false, {BY_USER})")
        wait_for("stop", self.is_stopped)

    def roll(self, first: int) -> None:
        """Play from a sample on, from standstill."""
        where = "ARDOUR.LocateTransportDisposition.MustStop"
        self.tell(f"session:request_locate({first}, false, {where}, {BY_USER})")
        wait_for("place", lambda: self.place() == first and self.is_stopped())
        self.tell(f"session:request_roll({BY_USER})")

    def close(self) -> None:
        """Save the session and end."""
        self.tell('session:save_state("", false, false, false, false, false)', "close_session()")
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)
        self.process.stdout.close()


class SessionFile:
    """A saved session, changed as a text of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{folder.name}.ardour"
        self.root = ElementTree.parse(self.file).getroot()

    def set_loop(self, start_seconds: float, end_seconds: float) -> None:
        edges = (round(seconds * UNITS_PER_SECOND) for seconds in (start_seconds, end_seconds))
        places = {name: f"a{edge}" for name, edge in zip(("start", "end"), edges, strict=True)}
        names = {"id": "9000", "name": "Loop", "flags": "IsAutoLoop,IsHidden", "locked": "0"}
        ElementTree.SubElement(self.element("Locations"), "Location", {**names, **places})

    def plugin_state(self) -> dict[str, Any]:
        """Return what our plugin has stored: its own JSON inside the preset that Ardour keeps of a VST3."""
        preset = base64.b64decode(self.element("chunk").text or "")
        state: dict[str, Any] = json.JSONDecoder().raw_decode(preset[48:].decode("utf-8", "replace"))[0]
        return state

    def set_plugin_state(self, state: dict[str, Any]) -> None:
        own = json.dumps(state).encode()
        chunk = self.element("chunk")
        head = base64.b64decode(chunk.text or "")[:40] + struct.pack("<q", 48 + len(own))
        contents = b"List" + struct.pack("<i", 1) + b"Comp" + struct.pack("<qq", 48, len(own))
        chunk.text = base64.b64encode(head + own + contents).decode()

    def regions_of(self, track: str) -> list[tuple[int, int]]:
        """Return [start, end) in samples of what lies on a track."""
        rate = int(self.root.attrib["sample-rate"])
        playlists = [one for one in self.root.iter("Playlist") if one.attrib["name"].startswith(track)]
        lengths = [region.attrib["length"] for playlist in playlists for region in playlist.iter("Region")]
        return [range_of(text, rate) for text in lengths]

    def element(self, name: str) -> ElementTree.Element:
        found = next(self.root.iter(name), None)
        assert found is not None, name
        return found

    def save(self) -> None:
        ElementTree.ElementTree(self.root).write(self.file)


def range_of(length: str, rate: int) -> tuple[int, int]:
    """Read Ardour's `a LENGTH @ a START`, in its units."""
    num, start = (int(part.strip("a")) * rate // UNITS_PER_SECOND for part in length.split("@"))
    return start, start + num
