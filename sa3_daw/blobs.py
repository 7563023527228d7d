"""Where stored audio and its latents lie: files named by the audio's content address. Knows no take and no job."""

from __future__ import annotations

from pathlib import Path

NUM_CHANNELS = 2
BYTES_PER_FRAME = 4 * NUM_CHANNELS


def audio_path(data_dir: Path, audio: str) -> Path:
    """Return the file of the stereo audio whose planar float32 bytes have the SHA-256 ``audio`` (64 hex digits)."""
    return data_dir / "audio" / audio[:2] / f"{audio}.f32"


def latents_path(data_dir: Path, audio: str, made_by: str) -> Path:
    """Return the file of latents of that audio; ``made_by`` names encoder and stretch, in letters and digits."""
    return data_dir / "latents" / audio[:2] / f"{audio}.{made_by}.latents"
