"""What identifies the things a project depends on: contents of files, plugins, models, adapters. Knows no project."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sa3_daw import __version__
from sa3_daw.adapter_files import find_adapter
from sa3_daw.catalogue import CONFIG_NAME, find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.job import Job

PIECE_BYTES = 1 << 20


def key_of(kind: str, content: Any) -> str:
    """Return the name under which something made is stored: a hash of everything that it is made of."""
    return hashlib.sha256(json.dumps([kind, __version__, content], sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files and their names. Raises OSError."""
    digest = hashlib.sha256()
    for part in sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else (path,):
        digest.update(f"{part.relative_to(path).as_posix()}\0{part.stat().st_size}\0".encode())
        with part.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
    return digest.hexdigest()


def job_digest(job: Job, config: DaemonConfig) -> list[Any]:
    """Return what tells whether a job would still be made with the same: device, precision, and the files of weights.

    Weights are gigabytes, so they are not read: their sizes and times stand for them. Raises what find_model and
    find_adapter raise.
    """
    model = find_model(job.model, config).directory
    # A text encoder lies in a sub-folder.
    files = [*sorted(model.rglob("*.safetensors")), model / CONFIG_NAME]
    for use in job.adapters:
        path = find_adapter(use.name, config.adapters_dir).path
        files += sorted(path.iterdir()) if path.is_dir() else [path]
    return [config.device, config.precision, config.compile, *file_facts(files)]


def file_facts(files: list[Path]) -> list[list[str | int]]:
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
