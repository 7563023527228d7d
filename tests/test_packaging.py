"""The project file lists exactly the packages on disk, and the version is said once."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def packages_on_disk() -> set[str]:
    found = set()
    for top, name in (("sa3_daw", "sa3_daw"), ("training", "sa3_training")):
        for init in (ROOT / top).rglob("__init__.py"):
            found.add(".".join((name, *init.parent.relative_to(ROOT / top).parts)))
    return found


def test_every_folder_with_modules_is_listed() -> None:
    block = re.search(r"^packages = \[(.*?)\]", PROJECT, re.DOTALL | re.MULTILINE)
    assert block
    assert set(re.findall(r'"([\w.]+)"', block[1])) == packages_on_disk()


def test_every_folder_with_modules_is_a_package() -> None:
    for top in ("sa3_daw", "training"):
        for module in (ROOT / top).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.parent} has no __init__.py"


def test_project_and_package_name_the_same_version() -> None:
    import sa3_daw

    version = re.search(r'^version = "(.+)"', PROJECT, re.MULTILINE)
    assert version
    assert version[1] == sa3_daw.__version__
