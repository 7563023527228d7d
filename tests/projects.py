"""Projects rendered by the command in this process, for tests. Knows nothing of what is tested."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sa3_daw.cli import main
from tests.conftest import system_program
from tests.running_daemon import environment


class Projects:
    """A folder with a project in it, and the daemon that makes its clips."""

    def __init__(self, folder: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.environment = environment(runtime_dir)
        for key, text in self.environment.items():
            monkeypatch.setenv(key, text)

    def write(self, text: str) -> Path:
        path = self.folder / "song.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def render(self, text: str, output: str = "out", *options: str) -> int:
        """Render into a sub-folder; return the exit code."""
        return main(["render", str(self.write(text)), "-o", str(self.folder / output), *options])

    def audio(self, file: str, output: str = "out") -> NDArray[np.float32]:
        """Return a written file's samples [2, n]."""
        samples: NDArray[np.float32] = soundfile.read(self.folder / output / file, dtype="float32")[0].T
        return samples

    def bytes_of(self, output: str) -> dict[str, bytes]:
        """Return every file of an output folder but the cache."""
        root = self.folder / output
        files = (path for path in root.rglob("*") if path.is_file() and path.parent.name != "cache")
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def vst3(folder: Path, name: str, entry: str) -> Path:
    """Build a VST3 bundle whose entry function does what ``entry`` says in C; it holds no plugin."""
    binary = folder / name / "Contents" / "x86_64-linux" / f"{Path(name).stem}.so"
    binary.parent.mkdir(parents=True)
    source = folder / f"{name}.c"
    head = "#include <stdlib.h>\n#include <unistd.h>\n"
    source.write_text(
        f"{head}int ModuleEntry(void *handle) {{ {entry} return 1; }}\nint ModuleExit(void) {{ return 1; }}\n"
        "void *GetPluginFactory(void) { return 0; }\n",
        encoding="utf-8",
    )
    compiler = system_program("gcc", "g++")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(binary), str(source)], check=True)
    return folder / name
