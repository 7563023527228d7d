"""Builds the plugin's C++ core for tests: packages first, then CMake into build/, incrementally. Knows no daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import installed_by_apt

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "bridge" / "client"
PACKAGES = {
    "cmake": "/usr/bin/cmake",
    "ninja-build": "/usr/bin/ninja",
    "g++": "/usr/bin/g++",
    "pkg-config": "/usr/bin/pkg-config",
    "libzmq3-dev": "/usr/include/zmq.h",
    "cppzmq-dev": "/usr/include/zmq.hpp",
    "libmsgpack-cxx-dev": "/usr/include/msgpack.hpp",
    "nlohmann-json3-dev": "/usr/include/nlohmann/json.hpp",
    "doctest-dev": "/usr/include/doctest/doctest.h",
}
CLANG = {"clang-22": "/usr/bin/clang++-22", "libclang-rt-22-dev": "/usr/lib/llvm-22/lib/clang/22/lib/linux"}


def need(packages: dict[str, str]) -> None:
    """Install the packages whose file is missing; fail with the one command when that cannot be done."""
    missing = [name for name, file in packages.items() if not Path(file).exists() and not installed_by_apt(name)]
    assert not missing, f"sudo apt-get install {' '.join(missing)}"


@cache
def build(target: str, sanitizer: str = "", compiler: str = "g++") -> Path:
    """Build one program of the core, with a sanitizer or without; return its path."""
    need(PACKAGES)
    if compiler.startswith("clang"):
        need(CLANG)
    folder = ROOT / "build" / f"bridge-core-{compiler.replace('+', 'x')}{'-' * bool(sanitizer)}{sanitizer}"
    cache_tool = shutil.which("ccache")
    configure = [
        *("cmake", "-S", str(CORE), "-B", str(folder), "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}"),
        *("-DSA3_BUILD_TESTS=ON", "-DSA3_BUILD_PROBE=ON", f"-DSA3_SANITIZER={sanitizer}"),
        *([f"-DCMAKE_CXX_COMPILER_LAUNCHER={cache_tool}"] if cache_tool else []),
    ]
    for command in (configure, ["ninja", "-C", str(folder), target]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    return next(path for path in folder.rglob(target) if path.is_file() and os.access(path, os.X_OK))
