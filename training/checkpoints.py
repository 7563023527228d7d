"""Checkpoints that survive a kill, a power cut and a full disk. Knows no model and no loop.

A file is written beside its place, flushed to the disk and then put in place by one rename, so that at every
instant the path holds either the old state or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sa3_daw.errors import Sa3Error, invalid


class DiskFull(Sa3Error):
    """The disk cannot hold what must be written; nothing that was there before is lost."""

    code = "disk_full"


def replace_file(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let ``write`` fill a new file, then put it in place of ``path``. Raises DiskFull, naming the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise DiskFull(
            f"{path} cannot be written ({error}); {free >> 20} MiB are free there", value=str(path)
        ) from error
    _sync_folder(path.parent)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a small file, whole or not at all. Raises DiskFull."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    replace_file(path, write)


def write_json(values: Any, path: Path) -> None:
    """Write plain values as indented JSON, whole or not at all. Raises DiskFull."""
    replace_bytes(path, json.dumps(values, indent=1, ensure_ascii=False).encode())


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state of tensors and plain values. Raises DiskFull."""
    replace_file(path, lambda file: torch.save(state, file))


def load_state(path: Path) -> dict[str, Any]:
    """Read what ``save_state`` wrote, onto the CPU; no code in the file is run."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def remember(recipe: Mapping[str, Any], out: Path, name: str, may_change: Collection[str]) -> None:
    """Write what decides a run into ``out/name.recipe.json``, that nobody goes on with another recipe by mistake.

    Raises InvalidField, naming what differs, when a run of another recipe lies there; what ``may_change`` may differ.
    """
    path = out / f"{name}.recipe.json"
    values: dict[str, Any] = json.loads(json.dumps(recipe, default=str))
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        changed = [key for key in values if before.get(key) != values[key] and key not in may_change]
        if changed:
            raise invalid("out", str(out), f"another folder: this one holds a run with another {', '.join(changed)}")
    write_json(values, path)


def require_disk(folder: Path, num_bytes: int, purpose: str) -> None:
    """Raise DiskFull unless ``folder`` has room for ``num_bytes`` and a tenth more."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 1.1 * num_bytes:
        raise DiskFull(
            f"{purpose} needs about {num_bytes >> 20} MiB in {folder}; {free >> 20} MiB are free", value=str(folder)
        )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
