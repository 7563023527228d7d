"""Do solo clips have stable notes, and are they in the asked key? By what basic-pitch hears in them.

Knows no model and no page. A note is stable when it is held for HELD_SECONDS; a clip has stable notes when they fill
half of the time in which it sounds. Shapes: C channels, S samples, T frames, N the 88 notes of a piano.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from sa3_daw.music.key import NAMES
from sa3_training.evaluation.basic_pitch import FRAMES_PER_SECOND, HOP_SAMPLES, LOWEST_PITCH, RATE, note_strengths
from sa3_training.evaluation.material import Asked

SURE = 0.5
HELD_SECONDS = 0.1
HALF = 0.5
SOUNDING_DB = -30.0
"""Frames this far below the loudest do not sound."""

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}


@dataclass(frozen=True)
class Notes:
    """What is heard in one clip: the share of sounding time with a stable note, and each pitch class's part of them."""

    stable_share: float
    classes_12: Tensor


def heard(audio_CS: Tensor, sample_rate: int) -> Notes:
    """Find the stable notes of a clip."""
    stable_TN = held(note_strengths(audio_CS, sample_rate) > SURE, round(HELD_SECONDS * FRAMES_PER_SECOND))
    sounding_T = _sounding(audio_CS, sample_rate, len(stable_TN))
    classes = torch.zeros(12)
    pitches = (torch.arange(stable_TN.shape[1]) + LOWEST_PITCH) % 12
    classes.index_add_(0, pitches, stable_TN.sum(0).float())
    share = (stable_TN.any(1) & sounding_T).sum() / sounding_T.sum().clamp(min=1)
    return Notes(float(share), classes / classes.sum().clamp(min=1))


def held(on_TN: Tensor, num_frames: int) -> Tensor:
    """Keep only what is on for ``num_frames`` in a row."""
    if len(on_TN) < num_frames:
        return torch.zeros_like(on_TN)
    whole = on_TN.T.unfold(1, num_frames, 1).all(-1)
    kept = torch.nn.functional.pad(whole, (num_frames - 1, num_frames - 1)).unfold(1, num_frames, 1).any(-1)
    return kept.T


def in_key(classes_12: Tensor, key: str) -> float:
    """Return 1 when no other transposition of the key's scale holds more of the notes, else 0; 0 without notes."""
    tonic, mode = key.split(" ")
    shares = torch.stack([classes_12[[(step + shift) % 12 for step in SCALES[mode]]].sum() for shift in range(12)])
    return float(bool(classes_12.any()) and bool(shares[NAMES.index(tonic)] >= shares.max() - 1e-6))


def adherence(clips: Sequence[Asked], sample_rate: int) -> dict[str, float]:
    """Return shares over clips that ask for a key, overall and by family; chance: the same for the other 11 keys."""
    found = [(clip, heard(clip.audio_CS, sample_rate)) for clip in clips]
    numbers = {
        "with_stable_notes": fmean(notes.stable_share >= HALF for _, notes in found),
        "in_the_asked_key": fmean(in_key(notes.classes_12, clip.key) for clip, notes in found),
        "in_another_key": fmean(in_key(notes.classes_12, other) for clip, notes in found for other in others(clip.key)),
    }
    for family in dict.fromkeys(clip.family for clip in clips if clip.family):
        own = [(clip, notes) for clip, notes in found if clip.family == family]
        numbers[f"{family}_with_stable_notes"] = fmean(notes.stable_share >= HALF for _, notes in own)
        numbers[f"{family}_in_the_asked_key"] = fmean(in_key(notes.classes_12, clip.key) for clip, notes in own)
    return numbers


def others(key: str) -> list[str]:
    """Return the other eleven keys of the same mode."""
    tonic, mode = key.split(" ")
    return [f"{name} {mode}" for name in NAMES if name != tonic]


def _sounding(audio_CS: Tensor, sample_rate: int, num_frames: int) -> Tensor:
    hop = HOP_SAMPLES * sample_rate / RATE
    edges = (torch.arange(num_frames + 1) * hop).long().clamp(max=audio_CS.shape[-1])
    summed = torch.nn.functional.pad(audio_CS.mean(0).double().square().cumsum(0), (1, 0))
    power = summed[edges[1:]] - summed[edges[:-1]]
    return power > max(float(power.max()) * 10 ** (SOUNDING_DB / 10), 1e-9)
