"""What tests need from the system: found, installed where that is allowed, else asked for in one command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import cache

import pytest


@cache
def installed_by_apt(package: str) -> bool:
    """Install a Debian package when running as root with apt-get at hand; tell whether that worked."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return False
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    if subprocess.run(install, capture_output=True, check=False).returncode == 0:
        return True
    subprocess.run(["apt-get", "update"], capture_output=True, check=False)
    return subprocess.run(install, capture_output=True, check=False).returncode == 0


def system_program(name: str, package: str) -> str:
    """Return the path of a program, installing its package when allowed; otherwise skip with the command to run."""
    found = shutil.which(name)
    if not found and installed_by_apt(package):
        found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing: sudo apt-get install {package} (or your system's like)")
    return found


@pytest.fixture(scope="session")
def sox() -> str:
    return system_program("sox", "sox")


# A runner that was started in the background ignores Ctrl-C, and its children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
