"""Where stored audio lies: one file of planar little-endian float32 per content address. Knows no take and no job."""

from __future__ import annotations

from pathlib import Path

NUM_CHANNELS = 2
BYTES_PER_FRAME = 4 * NUM_CHANNELS


def audio_path(data_dir: Path, audio: str) -> Path:
    """Return the file of the stereo audio whose bytes have the SHA-256 ``audio`` (64 hex digits)."""
    return data_dir / "audio" / audio[:2] / f"{audio}.f32"
