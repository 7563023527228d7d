"""Latents of sources on disk, beside the audio they were encoded from. Knows no plan and no model.

A file holds the SHA-256 of its latents, then the latents, float32. What is missing or damaged is encoded again, and a
disk that takes nothing costs time only.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sa3_daw.blobs import latents_path

log = logging.getLogger(__name__)

DIGEST_BYTES = 32
FLOAT_BYTES = 4


class LatentFiles:
    """Latents under one data folder, by audio and by ``made_by``, which names all else that decides them."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._num_written_bytes = 0

    def read(self, audio: str, made_by: str, shape: Sequence[int]) -> Tensor | None:
        """Return what was stored; None when there is nothing, or nothing whole."""
        path = latents_path(self._data_dir, audio, made_by)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("latents are not read: %s", error)
            return None
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if len(payload) != FLOAT_BYTES * prod(shape) or hashlib.sha256(payload).digest() != digest:
            log.warning("%s is damaged; its audio is encoded again", path)
            return None
        return torch.from_numpy(np.frombuffer(payload, dtype="<f4").reshape(shape).copy())

    def write(self, audio: str, made_by: str, latents: Tensor) -> None:
        """Store latents in one step, or log why not."""
        path = latents_path(self._data_dir, audio, made_by)
        payload = np.ascontiguousarray(latents.numpy(), dtype="<f4").tobytes()
        part = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replaced = path.stat().st_size if path.exists() else 0
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
            os.replace(part, path)
        except OSError as error:
            log.warning("latents are not stored: %s", error)
            return
        self._num_written_bytes += DIGEST_BYTES + len(payload) - replaced

    def take_num_written_bytes(self) -> int:
        """Return the bytes that files have grown by since the last call."""
        number, self._num_written_bytes = self._num_written_bytes, 0
        return number
