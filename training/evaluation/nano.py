"""Measure what a nano makes of its own prompts: tempo, brightness and pitch, beside chance and corpus. Trains nothing.

Every generated number has its chance level beside it: the same audio judged by another clip's tempo, or the
share that random pitches would reach. ``corpus`` is the same measure on held-out corpus clips: the ceiling.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sa3_training import measures
from sa3_training.corpus.score import compose
from sa3_training.corpus.seeds import REPORT
from sa3_training.corpus.sounds import Renders
from sa3_training.evaluation.maker import Maker

SAMPLE_RATE = 44100
SECONDS = 6.0
ON_TEMPO = 0.1
"""A clip is on its tempo when its beat score passes this; corpus drums score 0.32 on average."""

ROOT_CLASSES = (9, 5, 0, 7)
"""A, F, C, G: the notes of every bass line of the corpus."""

CHORD_CLASSES = (9, 11, 0, 4, 5, 7)
"""A, B, C, E, F, G: the notes of every chord of the corpus."""

PROMPTS = {"drums": "house drums", "hats": "closed hi-hats", "pad": "warm pad chords", "bass": "deep sub bass line"}


def tempi(seeds: range) -> list[float]:
    """Draw one fractional tempo per seed, 70 to 180 BPM."""
    return [round(random.Random(f"tempo {seed}").uniform(70, 180), 2) for seed in seeds]


def generated(maker: Maker, seeds: range) -> dict[str, Any]:
    """Generate every prompt of PROMPTS for every seed and measure."""
    bpms = tempi(seeds)
    clips = {
        name: [maker.clip(prompt, seed, bpm, SECONDS).mean(0) for bpm, seed in zip(bpms, seeds, strict=True)]
        for name, prompt in PROMPTS.items()
    }
    return {
        "tempo": tempo(clips["drums"], bpms),
        "centroid": centroids(clips),
        "bass": bass_pitch(clips["bass"]),
        "pad": {"in_tune": fmean(map(_chords_in_tune, clips["pad"])), "chance": 0.05 * len(CHORD_CLASSES)},
    }


def tempo(drums: list[Tensor], bpms: list[float]) -> dict[str, float]:
    """Compare beat scores at the asked tempo with those at the next clip's tempo."""
    shuffled = bpms[1:] + bpms[:1]
    asked = [measures.beat_score(clip, bpm) for clip, bpm in zip(drums, bpms, strict=True)]
    other = [measures.beat_score(clip, bpm) for clip, bpm in zip(drums, shuffled, strict=True)]
    return {
        "score_asked": fmean(asked),
        "score_shuffled": fmean(other),
        "on_tempo_asked": fmean(score > ON_TEMPO for score in asked),
        "on_tempo_shuffled": fmean(score > ON_TEMPO for score in other),
    }


def centroids(clips: dict[str, list[Tensor]]) -> dict[str, float]:
    """Compare the brightness of hats, pads and bass seed by seed; a random order is right in 1 of 6."""
    hertz = {name: [measures.centroid_hertz(clip) for clip in clips[name]] for name in ("hats", "pad", "bass")}
    triples = list(zip(hertz["hats"], hertz["pad"], hertz["bass"], strict=True))
    return {
        **{f"{name}_hertz": fmean(values) for name, values in hertz.items()},
        "hats_over_pad": fmean(hats > pad for hats, pad, _ in triples),
        "pad_over_bass": fmean(pad > bass for _, pad, bass in triples),
        "whole_order": fmean(hats > pad > bass for hats, pad, bass in triples),
    }


def bass_pitch(clips: list[Tensor]) -> dict[str, float]:
    """Measure how much of a solo bass has a pitch and how much of that lies on the corpus's roots."""
    found = [measures.pitches_hertz(clip) for clip in clips]
    return {
        "pitched_frames": fmean(share for _, share in found),
        "in_tune": fmean(measures.share_in_tune(hertz, ROOT_CLASSES) for hertz, _ in found),
        "chance": 0.05 * len(ROOT_CLASSES),
    }


def _chords_in_tune(clip: Tensor) -> float:
    return measures.spectral_share_in_tune(clip, CHORD_CLASSES)


def held_out(renderer: Renders, seeds: range) -> Iterator[tuple[tuple[str, ...], float, Tensor]]:
    """Yield parts, tempo and audio [2, S] of corpus clips that no training saw."""
    for seed in seeds:
        score = compose(seed, SECONDS)
        yield score.parts, score.bpm, torch.from_numpy(renderer.render(score, SECONDS))


def corpus(renderer: Renders) -> dict[str, float]:
    """Measure held-out corpus clips as ``generated`` measures the model's: the ceiling."""
    clips = list(held_out(renderer, REPORT))
    drums = [measures.beat_score(audio.mean(0), bpm) for parts, bpm, audio in clips if len(parts) == 3]
    bass = [measures.pitches_hertz(audio.mean(0))[0] for parts, _, audio in clips if parts == ("bass",)]
    pads = [_chords_in_tune(audio.mean(0)) for parts, _, audio in clips if parts == ("pad",)]
    return {
        "score_asked": fmean(drums),
        "on_tempo_asked": fmean(score > ON_TEMPO for score in drums),
        "bass_in_tune": fmean(measures.share_in_tune(hertz, ROOT_CLASSES) for hertz in bass),
        "pad_in_tune": fmean(pads),
    }
