"""Ardour's own scanner takes the plugin as a stereo effect. Starts no Ardour and no daemon."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.bridge_build import need

FOLDERS = ("/usr/lib", "/usr/local/lib", "/opt")


def scanner() -> Path:
    found = [path for folder in FOLDERS for path in Path(folder).glob("ardour*/ardour-vst3-scanner")]
    if not found:
        need({"ardour": "/usr/bin/ardour7"})
        return scanner()
    return found[-1]


def test_the_scanner_of_ardour_takes_the_plugin_as_a_stereo_effect(plugin: Path, tmp_path: Path) -> None:
    program = scanner()
    done = subprocess.run(
        [str(program), "-f", "-v", str(plugin)],
        env=os.environ | {"LD_LIBRARY_PATH": str(program.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "Found Plugin: sa3-daw" in told
    assert 'category="Fx|Generator"' in told and 'n_inputs="2" n_outputs="2"' in told
