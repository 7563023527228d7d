"""Regions in words become exact ranges: samples, seconds, beats and bars, in any metre and from any start."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa3_daw.errors import InvalidField
from sa3_daw.job import Region, TempoPoint
from sa3_daw.music.places import Clip, ppq_after_beats, read_region
from sa3_daw.music.timeline import TempoMap

CLIP = Clip(TempoMap.constant(120.0), 0, 480_000, 48_000)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("96000:144000", 96_000, 144_000),
        ("0.5s:2s", 24_000, 96_000),
        ("1/3s:1s", 16_000, 48_000),
        ("1bars:2bars", 96_000, 192_000),
        ("1:2bars", 96_000, 192_000),
        ("1:3beats", 24_000, 72_000),
        ("0.5bar:3beats", 48_000, 72_000),
        ("4bars:", 384_000, 480_000),
        (":1beat", 0, 24_000),
        ("0:480000", 0, 480_000),
    ],
)
def test_a_region_is_read_in_any_unit(text: str, start: int, end: int) -> None:
    assert read_region(text, CLIP) == Region(start, end)


@pytest.mark.parametrize(
    "text", ["", ":", "5", "2:1", "1:1", "a:b", "-1:5", "0:480001", "1:2miles", "1s:2s:3s", "5bars:"]
)
def test_what_is_no_region_is_named_with_what_would_do(text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read_region(text, CLIP)
    assert caught.value.field == "region"
    assert "START:END" in caught.value.allowed


@settings(max_examples=200, deadline=None)
@given(
    bpm=st.floats(20, 400),
    start_bar=st.integers(0, 300),
    bar=st.integers(0, 7),
    rate=st.sampled_from((44_100, 48_000, 96_000)),
    meter=st.sampled_from(((4, 4), (7, 8), (3, 4), (5, 16))),
)
def test_bars_inside_a_clip_are_the_timelines_own(
    bpm: float, start_bar: int, bar: int, rate: int, meter: tuple[int, int]
) -> None:
    tempo = TempoMap.constant(bpm, *meter)
    start, end = tempo.bar_range_samples(start_bar, 8, rate)
    clip = Clip(tempo, start, end - start, rate)
    first, last = tempo.bar_range_samples(start_bar + bar, 1, rate)
    assert read_region(f"{bar}:{bar + 1}bars", clip) == Region(first - start, last - start)


def test_beats_follow_a_change_of_metre() -> None:
    tempo = TempoMap([TempoPoint(0.0, 120.0, 4, 4), TempoPoint(4.0, 120.0, 7, 8)])
    assert ppq_after_beats(tempo, Fraction(2), Fraction(2)) == 4
    assert ppq_after_beats(tempo, Fraction(2), Fraction(4)) == 5
    assert ppq_after_beats(tempo, Fraction(4), Fraction(7)) == Fraction(15, 2)
