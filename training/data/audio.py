"""Random stretches of audio from a folder or from shards, for training an autoencoder. Knows no model.

Shapes: B batch, C channels, S samples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.errors import invalid
from sa3_training.data.folder import SILENCE_PEAK, Fault, Sound, scan
from sa3_training.data.latents import model_rate
from sa3_training.data.shards import read_shards

TRIES = 10
"""How often a silent stretch is drawn again before it is taken as it is."""


def open_sounds(path: Path) -> tuple[list[Sound], list[Fault]]:
    """Return the sounds of a folder of audio, of a folder of tar shards or of one shard, and what is wrong with them.

    Raises InvalidField, listing every fault, when nothing can be trained on.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path] if path.suffix == ".tar" else []
    if shards:
        clips, faults = read_shards(shards)
        if not clips:
            listed = "; ".join(map(str, faults)) or "none found"
            raise invalid("data", str(path), f"shards with usable audio in them ({listed})")
        return list(clips), faults
    found = scan(path)
    return list(found.sources), list(found.faults)


@dataclass(frozen=True)
class AudioBatch:
    """What one part of an autoencoder's step sees."""

    audio_BCS: Tensor
    captions: tuple[str, ...]


def draw_audio(
    sounds: Sequence[Sound], batch_size: int, num_samples: int, sample_rate: int, rng: random.Random
) -> AudioBatch:
    """Draw stretches at the model's rate: files by their length, silence avoided, polarity turned half of the time."""
    weights = [sound.num_samples / sound.sample_rate for sound in sounds]
    chosen = rng.choices(sounds, weights, k=batch_size)
    audio = [_stretch(sound, num_samples, sample_rate, rng) for sound in chosen]
    return AudioBatch(torch.from_numpy(np.stack(audio)), tuple(sound.caption for sound in chosen))


def _stretch(sound: Sound, num_samples: int, sample_rate: int, rng: random.Random) -> NDArray[np.float32]:
    wanted = -(-num_samples * sound.sample_rate // sample_rate)
    audio = np.zeros((2, 0), np.float32)
    for _ in range(TRIES):
        start = rng.randint(0, max(0, sound.num_samples - wanted))
        audio = sound.read(start, min(wanted, sound.num_samples - start))
        if np.abs(audio).max(initial=0.0) > SILENCE_PEAK:
            break
    audio = model_rate(audio, sound.sample_rate, sample_rate)[:, :num_samples]
    audio = np.pad(audio, ((0, 0), (0, num_samples - audio.shape[1])))
    sign = np.float32(-1 if rng.random() < 0.5 else 1)
    return np.clip(sign * audio, -1, 1)
