"""Scores are seeded, on the grid and in key; captions name what sounds. Needs no sound font."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sa3_daw.generation.beat_grid import BEAT_GRID_DIM, beat_grid
from sa3_daw.job import TempoPoint
from sa3_daw.music.timeline import TempoMap
from sa3_training.corpus.captions import WORDS, caption, named_parts
from sa3_training.corpus.score import CHORDS, DRUMS, PARTS, ROOTS, SCALE, STYLES, Score, compose
from sa3_training.corpus.sounds import SOUND_FONT_VARIABLE, Renderer, sound_font

SEEDS = range(300)
A_MINOR = {9, 11, 0, 2, 4, 5, 7}


def scores() -> list[Score]:
    return [compose(seed, 8.0) for seed in SEEDS]


def test_the_same_seed_gives_the_same_score() -> None:
    assert compose(7, 8.0) == compose(7, 8.0)
    assert compose(7, 8.0) != compose(8, 8.0)


def test_a_longer_score_begins_with_the_shorter_one() -> None:
    short, long = compose(11, 6.0), compose(11, 30.0)
    assert short.parts == long.parts
    assert set(short.notes) <= set(long.notes)


def test_drums_are_on_sixteenths() -> None:
    for score in scores():
        for note in score.notes:
            if note.part in DRUMS:
                assert (Fraction(note.start_ppq) * 4).denominator == 1, f"seed {score.seed}: {note}"


def test_notes_are_in_a_minor() -> None:
    for score in scores():
        for note in score.notes:
            if note.part not in DRUMS:
                assert note.pitch % 12 in A_MINOR, f"seed {score.seed}: {note}"
    assert {pitch % 12 for notes in (*CHORDS.values(), ROOTS.values(), SCALE) for pitch in notes} <= A_MINOR


def test_pads_are_above_the_bass() -> None:
    lowest = {part: min(n.pitch for s in scores() for n in s.notes if n.part == part) for part in ("pad", "bass")}
    assert lowest["pad"] >= lowest["bass"] + 24


def test_notes_fill_the_asked_time() -> None:
    for score in scores():
        seconds_per_bar = score.numerator * 4 / score.denominator * 60 / score.bpm
        last = max(note.start_ppq for note in score.notes) * 60 / score.bpm
        assert last >= 8.0 - 2 * seconds_per_bar


def test_every_style_part_and_metre_occurs() -> None:
    composed = scores()
    assert {score.style for score in composed} == set(STYLES)
    assert {part for score in composed for part in score.parts} == set(PARTS)
    assert {(s.numerator, s.denominator) for s in composed} == {(4, 4), (3, 4), (6, 8), (7, 8), (5, 4)}
    assert min(s.bpm for s in composed) < 75 and max(s.bpm for s in composed) > 175


def test_a_whole_kit_is_called_drums() -> None:
    for score in scores():
        names = named_parts(score)
        assert ("drums" in names) == set(DRUMS).issubset(score.parts)


def test_most_captions_name_every_part() -> None:
    named = 0
    for score in scores():
        text = caption(score, random.Random(score.seed))
        named += all(any(word in text for word in WORDS[part]) for part in named_parts(score))
    assert named / len(SEEDS) > 0.85


def test_captions_are_seeded() -> None:
    score = compose(3, 8.0)
    assert caption(score, random.Random(1)) == caption(score, random.Random(1))
    assert len({caption(score, random.Random(seed)) for seed in range(20)}) > 5


def test_beat_grid_turns_once_a_beat_and_once_a_bar() -> None:
    frame_seconds = 60 / 120 / 16
    grid = beat_grid(TempoMap.constant(120.0, 3, 4), 0.0, 48, frame_seconds)
    assert grid.shape == (BEAT_GRID_DIM, 48)
    assert grid[0, ::16] == pytest.approx(1, abs=1e-6)
    assert grid[0, 8::16] == pytest.approx(-1, abs=1e-6)
    assert grid[6, 0] == pytest.approx(1, abs=1e-6)
    assert grid[6, 24] == pytest.approx(-1, abs=1e-6)
    assert np.all(grid[8] == 0)
    assert grid[9] == pytest.approx(-0.25)


def test_beat_grid_stays_in_what_a_model_can_read_at_the_slowest_tempos() -> None:
    for bpm in (5e-324, 1e-300, 14.0):
        assert abs(beat_grid(TempoMap.constant(bpm), 0.0, 48, 0.02)).max() <= 3.0
    assert beat_grid(TempoMap.constant(30.0), 0.0, 1, 0.02)[-2, 0] == -2.0


def test_beat_grid_follows_a_tempo_change() -> None:
    tempo = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(4.0, 60.0)))
    grid = beat_grid(tempo, 0.0, 10, 0.5)
    assert grid[8, :4] == pytest.approx(0)
    assert grid[8, 4:] == pytest.approx(-1)


def test_a_missing_sound_font_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOUND_FONT_VARIABLE, "/nowhere/font.sf3")
    with pytest.raises(FileNotFoundError, match="fluidr3mono-gm-soundfont"):
        sound_font()


class Ringing:
    """A synthesiser whose notes are one constant; turned off, it still fades for 10 ms, as TinySoundFont does."""

    def __init__(self, samplerate: int) -> None:
        self.fade_samples = samplerate // 100
        self.num_notes = self.left = 0

    def sfload(self, path: str) -> int:
        return 0

    def program_select(self, *_: object) -> None: ...
    def control_change(self, *_: object) -> None: ...

    def noteon(self, channel: int, pitch: int, velocity: int) -> None:
        self.num_notes += 1

    def noteoff(self, channel: int, pitch: int) -> None: ...

    def sounds_off(self, channel: int) -> None:
        self.left = self.fade_samples if self.num_notes else self.left
        self.num_notes = 0

    def generate(self, num_samples: int) -> bytes:
        audio = np.full((num_samples, 2), float(self.num_notes), np.float32)
        audio[: self.left] += 1
        self.left = max(0, self.left - num_samples)
        return audio.tobytes()


def test_a_clip_does_not_begin_with_the_end_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", SimpleNamespace(Synth=Ringing))
    first, second = (compose(seed, 2.0) for seed in (0, 2))
    renderer = Renderer(Path("font.sf3"))
    renderer.render(first, 2.0)
    alone = Renderer(Path("font.sf3")).render(second, 2.0)
    assert np.abs(alone).max() > 0.1
    np.testing.assert_array_equal(renderer.render(second, 2.0), alone)
