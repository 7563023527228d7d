"""Ardour with its window: starts it on a saved session without sound hardware, calls Lua actions, fills in dialogs.

Actions are started by OSC, dialogs are answered from the keyboard. Knows no daemon and nothing of what actions do.
"""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

from plugin_host_tests.ardour import SessionFile
from tests.bridge_build import need
from tests.running_daemon import wait_for

OSC_PORT = 3819  # Ardour's own
PROGRAMS = {"ardour": "/usr/bin/ardour", "xdotool": "/usr/bin/xdotool"}
SILENT_DEVICE = {
    **dict.fromkeys(("input-device", "output-device", "lm-input", "lm-output"), ""),
    **dict.fromkeys(("n-periods", "input-latency", "output-latency", "use-buffered-io"), "0"),
    **{"backend": "None (Dummy)", "driver": "Normal Speed", "device": "Silence", "midi-option": "1 in, 1 out, Silence"},
    **{"sample-rate": "48000", "buffer-size": "1024", "active": "1"},
}
SAY_DONE = """
ardour {{ ["type"] = "EditorAction", name = "{name}" }}
function factory() return function()
    {body}
    io.open("{file}", "w"):close()
end end
"""


def as_action(number: int, script: str) -> str:
    """Return the Lua by which Ardour remembers an action: what it loads gives back the function to call."""
    loads = f"local function ardour() end\n{script}\nreturn factory()"
    fields = {"n": f'"action {number}"', "s": f"[==[{script}]==]", "f": f"[==[{loads}]==]", "c": '""', "a": "{}"}
    return f"scripts[{number}] = {{{', '.join(f'{key} = {text}' for key, text in fields.items())}}} "


class ArdourWindow:
    """One Ardour with the given scripts as its actions 1, 2, ...; ``helpers`` are bodies of actions after them."""

    def __init__(
        self, session: Path, variables: dict[str, str], screen: str, scripts: list[Path], helpers: list[str]
    ) -> None:
        need(PROGRAMS)
        self.variables = {**variables, "DISPLAY": screen}
        self.done_file = session.parent / "done"
        settings = Path(variables["XDG_CONFIG_HOME"]) / "ardour7"
        (settings / "scripts").mkdir(parents=True, exist_ok=True)
        (settings / ".a7").touch()  # it has been here before: no questions for newcomers
        for script in scripts:
            for module in [*script.parent.glob("sa3_ardour.lua"), *script.parent.parent.glob("sa3_common.lua")]:
                shutil.copy(module, settings / "scripts")
        self.write_config(settings / "config")
        texts = [script.read_text() for script in scripts]
        for body in ("", *helpers):
            texts.append(SAY_DONE.format(name=f"helper {len(texts)}", body=body, file=self.done_file))
        self.first_helper = len(scripts) + 1
        self.remember(settings / "ui_scripts", texts)
        self.listen_to_osc(session)
        self.log = (session.parent / "ardour.log").open("w")
        file = session / f"{session.name}.ardour"
        command = [PROGRAMS["ardour"], "--no-splash", str(file)]
        self.process = subprocess.Popen(command, env=self.variables, stdout=self.log, stderr=self.log)

    def __enter__(self) -> ArdourWindow:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def write_config(self, file: Path) -> None:
        """Have Ardour start its silent device without asking."""
        root = ElementTree.Element("Ardour")
        options = ElementTree.SubElement(root, "Config")
        for name, value in (("try-autostart-engine", "1"), ("hide-dummy-backend", "0")):
            ElementTree.SubElement(options, "Option", name=name, value=value)
        setup = ElementTree.SubElement(ElementTree.SubElement(root, "Extra"), "AudioMIDISetup")
        states = ElementTree.SubElement(setup, "EngineStates")
        state = ElementTree.SubElement(states, "State", {**SILENT_DEVICE, "lru": str(int(time.time()))})
        ElementTree.SubElement(state, "MIDIDevices")
        ElementTree.ElementTree(root).write(file)

    def remember(self, file: Path, texts: list[str]) -> None:
        actions = "scripts = {} " + "".join(as_action(number, text) for number, text in enumerate(texts, 1))
        root = ElementTree.Element("UIScripts")
        script = ElementTree.SubElement(root, "ActionScript", lua="Lua 5.3")
        script.text = base64.b64encode(actions.encode()).decode()
        ElementTree.SubElement(root, "ActionHooks")
        ElementTree.ElementTree(root).write(file)

    def listen_to_osc(self, session: Path) -> None:
        file = SessionFile(session)
        for protocol in file.root.iter("Protocol"):
            if "OSC" in protocol.attrib["name"]:
                protocol.set("active", "1")
        for hints in file.root.findall("EngineHints"):
            file.root.remove(hints)  # without a window Ardour names its silent device otherwise, and would ask
        file.save()

    def action(self, name: str) -> None:
        """Send Ardour one of its actions; nothing tells whether it came."""
        words = (b"/access_action", b",s", name.encode())
        packet = b"".join(word + b"\0" * (4 - len(word) % 4) for word in words)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(packet, ("127.0.0.1", OSC_PORT))

    def help(self, number: int) -> None:
        """Run a helper, counted from 1, to its end; 0 does nothing: it waits until Ardour runs actions again."""
        self.done_file.unlink(missing_ok=True)
        tries = 0

        def is_done() -> bool:
            nonlocal tries
            if tries % 50 == 0:
                self.action(f"LuaAction/script-{self.first_helper + number}")
            tries += 1
            assert self.process.poll() is None, Path(self.log.name).read_text()[-3000:]
            return self.done_file.exists()

        wait_for(f"helper {number} in Ardour", is_done)

    def fill_in(self, number: int, title: str, text: str, num_fields: int) -> None:
        """Start script `number`, type into the first field of its dialog and press OK, which comes after Cancel."""
        self.action(f"LuaAction/script-{number}")
        activate = ("search", "--name", title, "windowactivate", "--sync")  # Ardour's own messages come before it
        look = ("sleep", "1", "getactivewindow", "getwindowname")
        wait_for(f"dialog {title}", lambda: self.keyboard(*activate, *look).strip() == title)
        self.keyboard("type", "--delay", "100", text)
        self.keyboard("sleep", "1", "key", "--delay", "100", *["Tab"] * (num_fields + 1), "space")

    def keyboard(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self.variables, capture_output=True, text=True, check=False)
        return done.stdout

    def close(self) -> None:
        """Save the session and end."""
        self.action("Common/Save")
        self.action("Common/Quit")
        self.process.wait(30)
