"""Builds the plugin and the test host once; starts daemons on the embedded model. Knows nothing of what is tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from Xlib import X, display

from plugin_host_tests.own_host import OwnHost, WindowHost
from tests.bridge_build import CLANG, PACKAGES, need
from tests.running_daemon import RunningDaemon, environment, wait_for

BRIDGE = Path(__file__).resolve().parent.parent / "bridge"
BUILD = BRIDGE / "build" / "host-tests"
JUCE = {"juce-modules-source": "/usr/lib/x86_64-linux-gnu/cmake/JUCE-7.0.5/JUCEConfig.cmake"}
TARGETS = (
    "sa3_plugin_VST3",
    "sa3_plugin_LV2",
    "sa3_plugin_Standalone",
    "sa3_test_host",
    "sa3_window_host",
    "sa3_storm",
)
SCREEN = {"xvfb": "/usr/bin/Xvfb", "openbox": "/usr/bin/openbox"}
REAL_ENGINE = f"{sys.executable} -u -m sa3_daw.engine.main"
OpenWindow = Callable[..., WindowHost]


@pytest.fixture(scope="session")
def plugin() -> Path:
    """The VST3 bundle, built incrementally; the first time takes minutes."""
    need(PACKAGES | CLANG)
    if not any(Path("/usr/lib").glob("*/cmake/JUCE-7.0.5/JUCEConfig.cmake")):
        need(JUCE)
    launchers = [f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache" for language in ("C", "CXX") if shutil.which("ccache")]
    commands = [
        ["cmake", "--preset", "host-tests", *launchers],
        ["cmake", "--build", "--preset", "host-tests", "--target", *TARGETS],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=BRIDGE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    return next(BUILD.rglob("sa3-daw.vst3"))


def program(name: str) -> Path:
    """Return one of the built test hosts; JUCE's own function puts dashes into some names."""
    found = (path for each in (name, name.replace("_", "-")) for path in BUILD.rglob(each))
    return next(path for path in found if path.is_file() and os.access(path, os.X_OK))


@pytest.fixture(scope="session")
def host_program(plugin: Path) -> Path:
    return program("sa3_test_host")


def is_managed(screen: str) -> bool:
    """Whether a window manager has told what it can; before, JUCE uses names the server does not know yet (BadAtom)."""
    with closing(display.Display(screen)) as server:
        name = server.intern_atom("_NET_SUPPORTED")
        return server.screen().root.get_full_property(name, X.AnyPropertyType) is not None


@pytest.fixture(scope="session")
def screen() -> Iterator[str]:
    """The name of a screen of our own, with a window manager: without one no window gets the keyboard."""
    need(SCREEN)
    reading, writing = os.pipe()
    size = ("-screen", "0", "1600x1000x24")
    with subprocess.Popen(
        ["Xvfb", "-noreset", "-displayfd", str(writing), *size], pass_fds=[writing], stderr=DEVNULL
    ) as server:
        os.close(writing)
        with os.fdopen(reading) as told:
            name = f":{told.readline().strip()}"
        with subprocess.Popen(["openbox"], env={**os.environ, "DISPLAY": name}, stderr=DEVNULL) as manager:
            wait_for("window manager", lambda: is_managed(name))
            yield name
            manager.terminate()
        server.terminate()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("run"), SA3_ENGINE_COMMAND=REAL_ENGINE) as running:
        yield running


@pytest.fixture
def open_host(host_program: Path, plugin: Path, tmp_path: Path) -> Iterator[Callable[[Path], OwnHost]]:
    """Start the test host with the plugin loaded, for a runtime directory with or without a daemon."""
    hosts: list[OwnHost] = []

    def start(runtime_dir: Path) -> OwnHost:
        variables = environment(runtime_dir) | {"HOME": str(tmp_path)}
        hosts.append(OwnHost(host_program, variables, tmp_path))
        hosts[-1].ask(op="load", path=str(plugin))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


@pytest.fixture
def open_window(plugin: Path, screen: str, tmp_path: Path) -> Iterator[OpenWindow]:
    """Start the host that shows the plugin's window, prepared at 48 kHz; ``more`` goes to the host."""
    hosts: list[WindowHost] = []

    def start(runtime_dir: Path, **more: Any) -> WindowHost:
        tools = tmp_path / "bin"  # stands before the system's programs
        variables = environment(runtime_dir) | {"HOME": str(tmp_path), "DISPLAY": screen}
        variables["PATH"] = f"{tools}:{variables['PATH']}"
        hosts.append(WindowHost(program("sa3_window_host"), variables, tmp_path, **more))
        hosts[-1].ask(op="load", path="")
        hosts[-1].ask(op="prepare", rate=48000, block=512)
        hosts[-1].ask(op="editor")
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()
