"""Scores -> stereo audio through a General MIDI sound font. Knows no caption and no model.

The sound font (Fluid R3 Mono, MIT) is not shipped: Debian's package fluidr3mono-gm-soundfont has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sa3_training.corpus.score import DRUMS, Score

SAMPLE_RATE = 44100
SOUND_FONT_VARIABLE = "SA3TRAIN_SOUND_FONT"
DEFAULT_SOUND_FONT = Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3")

PROGRAMS = {"bass": 38, "pad": 50, "keys": 4, "lead": 81}
GAIN = {"kick": 1.0, "snare": 0.8, "hats": 0.7, "bass": 0.9, "pad": 0.55, "keys": 0.55, "lead": 0.45}
PAN = {"hats": 80, "keys": 50, "lead": 72}
DRUM_CHANNEL = 9
CLIP_RMS = 0.12
PEAK = 0.98
FADE_SAMPLES = SAMPLE_RATE // 50
"""Longer than the synthesiser fades what still sounds when all sounds are turned off (10 ms)."""


def sound_font() -> Path:
    """Return the sound font's path. Raises FileNotFoundError with the command that installs it."""
    path = Path(os.environ.get(SOUND_FONT_VARIABLE, DEFAULT_SOUND_FONT))
    if not path.exists():
        raise FileNotFoundError(
            f"no sound font at {path}: run 'apt-get install fluidr3mono-gm-soundfont' or set {SOUND_FONT_VARIABLE}"
        )
    return path


class Renders(Protocol):
    """Whatever makes a score sound."""

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        """Return audio [2, seconds * SAMPLE_RATE]."""
        ...


class Renderer:
    """One synthesiser, reused from clip to clip (loading the font takes longer than rendering a clip).

    Raises ModuleNotFoundError, with the command, when tinysoundfont is not installed: only training needs it.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tinysoundfont
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("run 'pip install --no-deps tinysoundfont' to render the corpus") from error
        self._path = path
        self._synth = tinysoundfont.Synth(samplerate=SAMPLE_RATE)
        self._font = self._synth.sfload(str(path))

    def __reduce__(self) -> tuple[type[Renderer], tuple[Path]]:
        """Let another process open the font for itself."""
        return Renderer, (self._path,)

    def render(self, score: Score, seconds: float) -> NDArray[np.float32]:
        """Return audio [2, seconds * SAMPLE_RATE]; note starts are exact to the sample.

        Levels: every clip has the same RMS unless that would pass the peak limit. Nothing rendered before is heard.
        """
        total = round(seconds * SAMPLE_RATE)
        events = self._events(score, total)
        self._reset(score)
        audio = np.zeros((2, total), np.float32)
        position = 0
        for sample, is_on, channel, pitch, velocity in events:
            self._generate(audio, position, sample)
            position = sample
            if is_on:
                self._synth.noteon(channel, pitch, velocity)
            else:
                self._synth.noteoff(channel, pitch)
        self._generate(audio, position, total)
        level = min(
            CLIP_RMS / max(float(np.sqrt(np.square(audio).mean())), 1e-6),
            PEAK / max(float(np.abs(audio).max()), 1e-6),
        )
        return audio * np.float32(level)

    def _reset(self, score: Score) -> None:
        for channel in range(16):
            self._synth.sounds_off(channel)
        self._synth.generate(FADE_SAMPLES)
        self._synth.program_select(DRUM_CHANNEL, self._font, 128, score.kit, True)
        for channel, (part, program) in enumerate(PROGRAMS.items()):
            self._synth.program_select(channel, self._font, 0, program)
            self._synth.control_change(channel, 10, PAN.get(part, 64))

    def _events(self, score: Score, total: int) -> list[tuple[int, bool, int, int, int]]:
        channels = {part: channel for channel, part in enumerate(PROGRAMS)} | dict.fromkeys(DRUMS, DRUM_CHANNEL)
        samples_per_quarter = 60 / score.bpm * SAMPLE_RATE
        events = []
        for note in score.notes:
            start = round(note.start_ppq * samples_per_quarter)
            end = round((note.start_ppq + note.length_ppq) * samples_per_quarter)
            velocity = max(1, round(note.velocity * GAIN[note.part]))
            events.append((start, True, channels[note.part], note.pitch, velocity))
            events.append((end, False, channels[note.part], note.pitch, 0))
        events.sort(key=lambda event: (event[0], event[1]))
        return [event for event in events if event[0] < total]

    def _generate(self, audio: NDArray[np.float32], start: int, end: int) -> None:
        if end > start:
            block = np.frombuffer(self._synth.generate(end - start), np.float32)
            audio[:, start:end] = block.reshape(-1, 2).T
