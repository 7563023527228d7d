"""The launcher makes its environment once, mends a half-made one and says what went wrong.

It runs for real, in a small project without dependencies whose build backend lies in the project itself, so
that nothing is fetched.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BACKEND = """
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-0.1-py3-none-any.whl"
    info = "tiny-0.1.dist-info/"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("tiny.py", "import sys\\ndef main():\\n    print('tiny', *sys.argv[1:])\\n    return 3\\n")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 0.1\\nProvides-Extra: test\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        scripts = ("sa3-daw", "ruff", "mypy", "pytest")
        lines = ["[console_scripts]", *(f"{script} = tiny:main" for script in scripts)]
        wheel.writestr(info + "entry_points.txt", "\\n".join(lines))
        wheel.writestr(info + "RECORD", "")
    return name
"""

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "0.1"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project the launcher has already installed once; the first start must have said so."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(ROOT / "sa3", folder)
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    first = start(folder, "hello", "world")
    assert (first.returncode, first.stdout) == (3, "tiny hello world\n")
    assert "ready after" in first.stderr
    return folder


def start(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment = {**kept, **more}
    command = [sys.executable, str(folder / "sa3"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_an_old_python_can_read_the_launcher_far_enough_to_be_told_so() -> None:
    ast.parse((ROOT / "sa3").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_second_start_installs_nothing_and_hands_the_exit_code_through(project: Path) -> None:
    again = start(project, "again")
    assert (again.returncode, again.stdout, again.stderr) == (3, "tiny again\n", "")


def test_a_half_made_environment_is_made_anew(project: Path) -> None:
    (project / ".venv" / "sa3-stamp.json").unlink()
    (project / ".venv" / "leftover").touch()
    assert "making the environment" in start(project).stderr
    assert not (project / ".venv" / "leftover").exists()


def test_a_changed_project_file_is_installed_again_in_place(project: Path) -> None:
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    changed = start(project)
    assert "ready after" in changed.stderr
    assert "making the environment" not in changed.stderr


def test_test_runs_every_check_then_pytest_and_fails_with_it(project: Path) -> None:
    tested = start(project, "test")
    assert tested.returncode == 3
    assert [line for line in tested.stdout.splitlines() if line.startswith("sa3:")] == [
        "sa3: ruff check",
        "sa3: ruff format --check",
        "sa3: mypy",
        "sa3: pytest",
    ]
    assert json.loads((project / ".venv" / "sa3-stamp.json").read_text())["extras"] == ["test"]
    assert start(project, "test", "-k", "word").stdout == "sa3: pytest -k word\ntiny -k word\n"


def test_a_failing_installation_shows_the_reason_and_leaves_no_stamp(project: Path) -> None:
    backend = project / "backend.py"
    backend.write_text("raise SystemError('the build is broken')\n", encoding="utf-8")
    with (project / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n# changed again\n")
    broken = start(project)
    assert broken.returncode == 1
    assert broken.stderr.startswith("sa3: ")
    assert "the build is broken" in broken.stderr
    assert not (project / ".venv" / "sa3-stamp.json").exists()
    backend.write_text(BACKEND, encoding="utf-8")
    assert start(project).returncode == 3


def test_test_installs_missing_system_packages_as_root_and_else_names_them(project: Path, tmp_path: Path) -> None:
    (project / "tests").mkdir()
    (project / "tests" / "debian-packages.txt").write_text("# needed\nthere\ngone\n", encoding="utf-8")
    scripts = {"dpkg-query": "echo there installed; exit 1", "apt-get": f'echo "$@" >> {tmp_path / "asked"}'}
    for name, body in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    told = start(project, "test", "-k", "word", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}").stderr
    asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else ""
    if os.geteuid() == 0:
        assert asked == "update\ninstall -y --no-install-recommends gone\n"
    else:
        assert not asked and "sudo apt-get install -y --no-install-recommends gone" in told
    shutil.rmtree(project / "tests")
