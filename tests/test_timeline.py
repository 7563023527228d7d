"""Musical time is exact: every answer equals independent rational arithmetic, rounded once."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa3_daw.errors import InvalidField
from sa3_daw.job import TempoPoint
from sa3_daw.music.timeline import DENOMINATORS, MAX_POINTS, TempoMap, parse_meter, round_half_up

RATES = (44_100, 48_000, 88_200, 96_000, 192_000)

bpms = st.floats(min_value=1.0, max_value=1000.0) | st.sampled_from((60.0, 120.0, 127.5, 99.999, 133.33))
metres = st.tuples(st.integers(1, 64), st.sampled_from(DENOMINATORS))
rates = st.sampled_from(RATES)


@st.composite
def tempo_points(draw: st.DrawFn) -> tuple[TempoPoint, ...]:
    """Draw up to six points, at whole, fractional and awkward positions."""
    gaps = draw(st.lists(st.floats(min_value=0.015625, max_value=97.0), max_size=5))
    positions = [0.0]
    for gap in gaps:
        positions.append(positions[-1] + gap)
    return tuple(TempoPoint(position, draw(bpms), *draw(metres)) for position in positions)


def seconds_by_slices(points: tuple[TempoPoint, ...], ppq: Fraction) -> Fraction:
    """Add up the time of every stretch of constant tempo below ``ppq``: the definition, written plainly."""
    ends = [Fraction(point.position_ppq) for point in points[1:]] + [max(ppq, Fraction(10**9))]
    total = Fraction(0)
    for point, end in zip(points, ends, strict=True):
        covered = min(ppq, end) - Fraction(point.position_ppq)
        if covered > 0:
            total += covered * 60 / Fraction(*point.bpm.as_integer_ratio())
    return total


def nearest_half_up(numerator: int, denominator: int) -> int:
    """Round with integers only: floor((2n + d) / 2d)."""
    return (2 * numerator + denominator) // (2 * denominator)


@settings(max_examples=2000, deadline=None)
@given(bpm=bpms, metre=metres, rate=rates, start=st.integers(0, 500), bars=st.integers(1, 64))
def test_constant_tempo_range_equals_integer_arithmetic(
    bpm: float, metre: tuple[int, int], rate: int, start: int, bars: int
) -> None:
    top, bottom = bpm.as_integer_ratio()
    expected = [
        nearest_half_up(bar * 4 * metre[0] * 60 * bottom * rate, metre[1] * top) for bar in (start, start + bars)
    ]
    assert list(TempoMap.constant(bpm, *metre).bar_range_samples(start, bars, rate)) == expected


@settings(max_examples=1000, deadline=None)
@given(points=tempo_points(), rate=rates, ppq=st.fractions(0, 400, max_denominator=960))
def test_sample_of_a_position_equals_the_sum_over_tempo_stretches(
    points: tuple[TempoPoint, ...], rate: int, ppq: Fraction
) -> None:
    exact = seconds_by_slices(points, ppq) * rate
    assert TempoMap(points).sample_at(ppq, rate) == nearest_half_up(exact.numerator, exact.denominator)


@settings(max_examples=300, deadline=None)
@given(points=tempo_points(), rate=rates, start=st.integers(0, 40), lengths=st.lists(st.integers(1, 8), min_size=2))
def test_adjacent_bar_ranges_tile_without_gap(
    points: tuple[TempoPoint, ...], rate: int, start: int, lengths: list[int]
) -> None:
    tempo = TempoMap(points)
    whole = tempo.bar_range_samples(start, sum(lengths), rate)
    end, bar = whole[0], start
    for length in lengths:
        begin, next_end = tempo.bar_range_samples(bar, length, rate)
        assert begin == end
        assert next_end >= begin
        end, bar = next_end, bar + length
    assert end == whole[1]


@settings(max_examples=300, deadline=None)
@given(points=tempo_points(), ppq=st.fractions(-10, 400, max_denominator=960))
def test_ppq_and_seconds_are_exact_inverses(points: tuple[TempoPoint, ...], ppq: Fraction) -> None:
    tempo = TempoMap(points)
    assert tempo.ppq_at(tempo.seconds_at(ppq)) == ppq


@settings(max_examples=300, deadline=None)
@given(points=tempo_points(), ppq=st.fractions(-10, 400, max_denominator=960))
def test_bar_of_a_position_leads_back_to_it(points: tuple[TempoPoint, ...], ppq: Fraction) -> None:
    tempo = TempoMap(points)
    assert tempo.ppq_of_bar(tempo.bar_at(ppq)) == ppq
    reached = [point for point in points if Fraction(point.position_ppq) <= max(ppq, Fraction(0))]
    assert tempo.point_at(ppq) == reached[-1]


@settings(max_examples=300, deadline=None)
@given(points=tempo_points(), bars=st.lists(st.fractions(0, 60, max_denominator=16), min_size=2))
def test_later_bars_never_start_earlier(points: tuple[TempoPoint, ...], bars: list[Fraction]) -> None:
    tempo = TempoMap(points)
    starts = [tempo.ppq_of_bar(bar) for bar in sorted(bars)]
    assert starts == sorted(starts)


@settings(max_examples=300, deadline=None)
@given(points=tempo_points(), times=st.lists(st.floats(-5.0, 300.0), max_size=20))
def test_phases_lie_in_their_half_open_ranges(points: tuple[TempoPoint, ...], times: list[float]) -> None:
    for phase in TempoMap(points).beat_phase(times):
        assert 0.0 <= phase.beat < 1.0
        assert 0.0 <= phase.bar < 1.0
        assert 0 <= phase.beat_in_bar < phase.numerator


def test_four_bars_of_the_demo_are_332047_samples() -> None:
    assert TempoMap.constant(127.5).bar_range_samples(0, 4, 44_100) == (0, 332_047)


def test_seven_eight_bar_at_127_5_bpm_is_exact_to_the_sample() -> None:
    """3.5 quarters x 60 / 127.5 s x 48000 = 79058.82...: the second bar is one sample shorter than the first."""
    tempo = TempoMap.constant(127.5, 7, 8)
    assert tempo.bar_range_samples(0, 1, 48_000) == (0, 79_059)
    assert tempo.bar_range_samples(1, 1, 48_000) == (79_059, 158_118)
    assert tempo.bar_range_samples(0, 17, 48_000) == (0, 1_344_000)


def test_a_metre_change_starts_a_bar_and_cuts_the_one_before_short() -> None:
    """4/4 for six quarters, then 3/4: bars start at 0, 4, 6, 9."""
    tempo = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(6.0, 120.0, 3, 4)))
    assert [tempo.ppq_of_bar(bar) for bar in range(4)] == [0, 4, 6, 9]


def test_three_four_to_six_eight_starts_a_bar_though_both_last_three_quarters() -> None:
    tempo = TempoMap((TempoPoint(0.0, 120.0, 3, 4), TempoPoint(4.0, 120.0, 6, 8)))
    assert [tempo.ppq_of_bar(bar) for bar in range(4)] == [0, 3, 4, 7]


def test_a_tempo_change_inside_a_bar_moves_no_bar_line() -> None:
    tempo = TempoMap((TempoPoint(0.0, 120.0), TempoPoint(6.0, 60.0)))
    assert [tempo.ppq_of_bar(bar) for bar in range(4)] == [0, 4, 8, 12]
    assert tempo.bar_range_samples(1, 1, 44_100) == (88_200, 88_200 + 44_100 + 88_200)


def test_beat_phase_counts_eighths_in_seven_eight() -> None:
    phase = TempoMap.constant(120.0, 7, 8).beat_phase([0.25 * 9.5])[0]
    assert (phase.beat_in_bar, phase.numerator, phase.denominator) == (2, 7, 8)
    assert phase.beat == pytest.approx(0.5)
    assert phase.bar == pytest.approx(2.5 / 7)


@pytest.mark.parametrize(
    ("value", "rounded"), [("1/2", 1), ("-1/2", 0), ("3/2", 2), ("-3/2", -1), ("1/3", 0), ("2/3", 1), ("-2/3", -1)]
)
def test_halves_round_up(value: str, rounded: int) -> None:
    assert round_half_up(Fraction(value)) == rounded


@pytest.mark.parametrize("bpm", [0.0, -1.0, math.nan, math.inf, -math.inf, 1000.1, 1e300])
def test_impossible_bpm_names_field_value_and_allowed(bpm: float) -> None:
    with pytest.raises(InvalidField, match=r"tempo_map\[0\]\.bpm is .*; allowed: above 0, at most 1000"):
        TempoMap.constant(bpm)


@pytest.mark.parametrize("metre", [(0, 4), (-1, 4), (65, 4), (4, 0), (7, 3), (4, 64)])
def test_impossible_metre_is_refused(metre: tuple[int, int]) -> None:
    with pytest.raises(InvalidField, match=r"tempo_map\[0\]"):
        TempoMap.constant(120.0, *metre)


@pytest.mark.parametrize(
    "positions", [[1.0], [0.0, 0.0], [0.0, 4.0, 2.0], [0.0, math.nan], [0.0, math.inf], [math.nan], [-1.0, 0.0]]
)
def test_unordered_points_are_refused_by_index(positions: list[float]) -> None:
    with pytest.raises(InvalidField, match=r"tempo_map\[\d\]\.position_ppq"):
        TempoMap([TempoPoint(position, 120.0) for position in positions])


@pytest.mark.parametrize("num_points", [0, MAX_POINTS + 1])
def test_an_empty_or_endless_map_is_refused(num_points: int) -> None:
    with pytest.raises(InvalidField, match="tempo_map is .* points"):
        TempoMap([TempoPoint(float(index), 120.0) for index in range(num_points)])


@pytest.mark.parametrize("num_bars", [0, -4])
def test_a_range_of_no_bars_is_refused(num_bars: int) -> None:
    with pytest.raises(InvalidField, match="bars is .*; allowed: above 0"):
        TempoMap.constant(120.0).bar_range_samples(0, num_bars, 44_100)


def test_metre_text_is_read() -> None:
    assert parse_meter(" 7/8 ") == (7, 8)


@pytest.mark.parametrize("text", ["", "7", "7/", "/8", "7/8/9", "seven/8", "7/3", "0/4", "-3/4", "7.0/8", "x" * 2000])
def test_metre_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="meter") as caught:
        parse_meter(text)
    assert len(str(caught.value)) < 200
