"""The engine's view of stored audio: where the sources of edits are read. Knows no take and no job.

Files lie where ``blobs.py`` says. They are memory-mapped, so an edit of a long source reads what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa3_daw.blobs import BYTES_PER_FRAME, NUM_CHANNELS, audio_path
from sa3_daw.errors import invalid
from sa3_daw.generation.heard import Heard


@dataclass(frozen=True)
class SourceStore:
    """Stored audio under one data folder, and what was heard of it."""

    data_dir: Path
    heard: Heard = field(default_factory=Heard)

    def read_audio(self, audio: str) -> NDArray[np.float32]:
        """Return the stored audio [2, n], memory-mapped and read-only. Raises InvalidField when it is not there."""
        path = audio_path(self.data_dir, audio)
        num_bytes = path.stat().st_size if path.is_file() else 0
        if not num_bytes or num_bytes % BYTES_PER_FRAME:
            raise invalid("source.audio", audio, "the address of audio that is stored here, whole; store it first")
        return np.memmap(path, dtype="<f4", mode="r", shape=(NUM_CHANNELS, num_bytes // BYTES_PER_FRAME))
