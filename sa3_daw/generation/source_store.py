"""The engine's view of stored audio: reads sources, keeps latents for later edits. Knows no take and no job.

Files lie where ``blobs.py`` says. Audio is memory-mapped, so an edit of a long source reads what it needs.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS, audio_path, latents_path
from sa3_daw.errors import invalid

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceStore:
    """Stored audio and latents under one data folder."""

    data_dir: Path

    def read_audio(self, audio: str) -> NDArray[np.float32]:
        """Return the stored audio [2, n], memory-mapped and read-only. Raises InvalidField when it is not there."""
        path = audio_path(self.data_dir, audio)
        num_bytes = path.stat().st_size if path.is_file() else 0
        if not num_bytes or num_bytes % BYTES_PER_FRAME:
            raise invalid("source.audio", audio, "the address of audio that is stored here, whole; store it first")
        return np.memmap(path, dtype="<f4", mode="r", shape=(NUM_CHANNELS, num_bytes // BYTES_PER_FRAME))

    def read_latents(self, audio: str, model: str) -> Tensor | None:
        """Return the latents [D, T] that ``model`` made the audio from; None when they are not kept."""
        path = latents_path(self.data_dir, audio, model)
        if not path.is_file():
            return None
        try:
            return load_file(path)["latents"]
        except (SafetensorError, KeyError, OSError) as error:
            log.warning("kept latents %s cannot be read, the audio is encoded instead: %s", path, error)
            return None

    def write_latents(self, audio: str, model: str, latents_DT: Tensor) -> None:
        """Keep the latents of a take; a full or read-only disk costs a later edit its encoding, nothing else."""
        path = latents_path(self.data_dir, audio, model)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"latents": latents_DT.contiguous()}, part)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            log.warning("the latents of %s are not kept: %s", audio, error)
