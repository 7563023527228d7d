"""What can be heard, as numbers: onsets against a beat grid, brightness, pitch. Knows no model and no corpus.

All take mono float audio [S] at ``sample_rate``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sa3_training.spectra import magnitudes

ONSET_WINDOW_SAMPLES = 512
PITCH_WINDOW_SAMPLES = 8192
PITCH_HOP_SAMPLES = 2048
LOWEST_HERTZ, HIGHEST_HERTZ = 50.0, 500.0
VOICED_DB = -30.0
"""Frames this far below the loudest one carry no pitch."""

CLEAR_PEAK = 0.5
"""A frame has a pitch when its normalised autocorrelation peaks above this."""

IN_TUNE_CENTS = 30.0
TUNING_HERTZ = 440.0


def onset_envelope(audio_S: Tensor) -> Tensor:
    """Return the summed rise of log magnitude per hop of 128 samples."""
    log_magnitude = torch.log(magnitudes(audio_S[None, None], ONSET_WINDOW_SAMPLES)[0] + 0.05)
    rise = log_magnitude.diff(dim=1).clamp(min=0).sum(0)
    return torch.nn.functional.pad(rise, (1, 0))


def beat_score(audio_S: Tensor, bpm: float, sample_rate: int = 44100) -> float:
    """Return how far onsets gather on the eighth notes of ``bpm`` counted from the clip's start, -1 to 1.

    1 when all are on the grid, 0 for onsets anywhere, -1 when all are half-way between.
    """
    envelope = onset_envelope(audio_S)
    envelope = (envelope - envelope.median()).clamp(min=0)
    seconds = torch.arange(len(envelope)) * (ONSET_WINDOW_SAMPLES / 4) / sample_rate
    on_grid = torch.cos(2 * math.pi * seconds * bpm / 30)
    return float((envelope * on_grid).sum() / envelope.sum().clamp(min=1e-6))


def centroid_hertz(audio_S: Tensor, sample_rate: int = 44100) -> float:
    """Return the power-weighted mean frequency."""
    power = magnitudes(audio_S[None, None], 2048)[0].square().mean(-1)
    hertz = torch.linspace(0, sample_rate / 2, len(power))
    return float((power * hertz).sum() / power.sum().clamp(min=1e-12))


def pitches_hertz(audio_S: Tensor, sample_rate: int = 44100) -> tuple[Tensor, float]:
    """Return the fundamental of every frame that has one, and the share of sounding frames that do.

    Normalised autocorrelation: its first peak near the highest one, refined by a parabola.
    """
    frames = audio_S.unfold(0, PITCH_WINDOW_SAMPLES, PITCH_HOP_SAMPLES)
    energy = frames.square().mean(1)
    frames = frames[energy > energy.max() * 10 ** (VOICED_DB / 10)]
    shortest, longest = int(sample_rate / HIGHEST_HERTZ), int(sample_rate / LOWEST_HERTZ)
    correlation = _normalised_autocorrelation(frames - frames.mean(1, keepdim=True), longest + 2)
    window = correlation[:, shortest : longest + 1]
    centre, left, right = window, correlation[:, shortest - 1 : longest], correlation[:, shortest + 1 : longest + 2]
    best = window.amax(1, keepdim=True)
    is_peak = (centre >= left) & (centre > right) & (centre > 0.9 * best) & (centre > CLEAR_PEAK)
    voiced = is_peak.any(1)
    first = is_peak.float().argmax(1)[voiced]
    rows = torch.arange(len(first))
    a, b, c = (part[voiced][rows, first] for part in (left, centre, right))
    lag = first + shortest + 0.5 * (a - c) / (a - 2 * b + c).clamp(max=-1e-9)
    return sample_rate / lag, float(voiced.float().mean())


def _normalised_autocorrelation(frames_TS: Tensor, num_lags: int) -> Tensor:
    size = frames_TS.shape[1]
    power = torch.fft.rfft(frames_TS, 2 * size).abs().square()
    correlation = torch.fft.irfft(power)[:, :num_lags]
    squares = frames_TS.square().cumsum(1)
    total = squares[:, -1:]
    lags = torch.arange(num_lags)
    head = squares[:, size - 1 - lags]
    tail = total - torch.nn.functional.pad(squares, (1, 0))[:, lags]
    result: Tensor = correlation / torch.sqrt(head * tail).clamp(min=1e-9)
    return result


def share_in_tune(hertz: Tensor, pitch_classes: tuple[int, ...]) -> float:
    """Return the share of pitches within IN_TUNE_CENTS of one of the pitch classes (0 is C, 9 is A).

    A uniformly random pitch scores ``len(pitch_classes)`` times 5 %.
    """
    if not len(hertz):
        return 0.0
    semitones = 69 + 12 * torch.log2(hertz / TUNING_HERTZ)
    wanted = torch.tensor(pitch_classes, dtype=semitones.dtype)
    distance = (semitones[:, None] - wanted + 6).remainder(12) - 6
    return float((distance.abs().amin(1) * 100 <= IN_TUNE_CENTS).float().mean())


def spectral_share_in_tune(audio_S: Tensor, pitch_classes: tuple[int, ...], sample_rate: int = 44100) -> float:
    """Return the same share over the spectral peaks between 100 and 1500 Hz, weighted by their magnitude."""
    spectrum = magnitudes(audio_S[None, None], 16384)[0].mean(-1)
    centre, left, right = spectrum[1:-1], spectrum[:-2], spectrum[2:]
    bins = torch.arange(1, len(spectrum) - 1)
    logs = torch.log(torch.stack((left, centre, right)) + 1e-9)
    offset = 0.5 * (logs[0] - logs[2]) / (logs[0] - 2 * logs[1] + logs[2]).clamp(max=-1e-6)
    hertz = (bins + offset) * sample_rate / 16384
    keep = (centre > left) & (centre > right) & (hertz > 100) & (hertz < 1500)
    hertz, weight = hertz[keep], centre[keep].square()
    in_tune = torch.tensor([share_in_tune(h[None], pitch_classes) for h in hertz])
    return float((in_tune * weight).sum() / weight.sum().clamp(min=1e-12))
