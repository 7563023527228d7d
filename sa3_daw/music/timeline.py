"""Musical time -> samples, exactly. Pure rational arithmetic; knows no audio, no model and no host.

Positions are quarter notes (ppq) from the timeline's origin. Every float64 is taken at its exact binary
value and every sample position is rounded once, half up, so adjacent ranges tile without gap or overlap.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sa3_daw.errors import invalid
from sa3_daw.job import TempoPoint

MAX_BPM = 1000.0
MAX_NUMERATOR = 64
DENOMINATORS = (1, 2, 4, 8, 16, 32)
MAX_POINTS = 2000
"""Exact sums grow with every odd tempo: 2000 random ones take 0.2 s to add up, 10 000 take 5 s."""


@dataclass(frozen=True)
class BeatPhase:
    """Where one instant lies: share of its beat and bar, both in [0, 1), and the tempo and metre in force.

    A beat is 4 / denominator quarter notes; ``beat_in_bar`` counts from 0.
    """

    beat: float
    bar: float
    beat_in_bar: int
    bpm: float
    numerator: int
    denominator: int


@dataclass(frozen=True)
class _Segment:
    """One tempo point with its exact start in quarter notes, seconds and bars."""

    point: TempoPoint
    ppq: Fraction
    seconds: Fraction
    bar: Fraction

    @property
    def seconds_per_quarter(self) -> Fraction:
        return 60 / Fraction(self.point.bpm)

    @property
    def quarters_per_bar(self) -> Fraction:
        return Fraction(4 * self.point.numerator, self.point.denominator)


class TempoMap:
    """Tempo and metre over the timeline; constant between points, the last one in force for ever."""

    def __init__(self, points: Sequence[TempoPoint]) -> None:
        """Raise InvalidField, naming the point and field, on an empty, unordered or absurd map."""
        check_points(points)
        self.points = tuple(points)
        segments: list[_Segment] = []
        for point in points:
            ppq = Fraction(point.position_ppq)
            seconds = bar = Fraction(0)
            if segments:
                last = segments[-1]
                seconds = last.seconds + (ppq - last.ppq) * last.seconds_per_quarter
                bars = (ppq - last.ppq) / last.quarters_per_bar
                same_metre = (point.numerator, point.denominator) == (last.point.numerator, last.point.denominator)
                bar = last.bar + (bars if same_metre else math.ceil(bars))
            segments.append(_Segment(point, ppq, seconds, bar))
        self._segments = segments
        self._starts_ppq = [segment.ppq for segment in segments]
        self._starts_seconds = [segment.seconds for segment in segments]
        self._starts_bar = [segment.bar for segment in segments]

    @classmethod
    def constant(cls, bpm: float, numerator: int = 4, denominator: int = 4) -> TempoMap:
        """Return a map with one tempo and metre throughout."""
        return cls((TempoPoint(0.0, bpm, numerator, denominator),))

    def seconds_at(self, ppq: Fraction) -> Fraction:
        """Return the exact time of a position; before the origin the first tempo holds."""
        segment = _in_force(self._segments, self._starts_ppq, ppq)
        return segment.seconds + (ppq - segment.ppq) * segment.seconds_per_quarter

    def ppq_at(self, seconds: Fraction) -> Fraction:
        """Return the exact position of a time, the inverse of ``seconds_at``."""
        segment = _in_force(self._segments, self._starts_seconds, seconds)
        return segment.ppq + (seconds - segment.seconds) / segment.seconds_per_quarter

    def sample_at(self, ppq: Fraction, sample_rate: int) -> int:
        """Return the sample of a position, rounded once, half up."""
        return round_half_up(self.seconds_at(ppq) * sample_rate)

    def point_at(self, ppq: Fraction) -> TempoPoint:
        """Return the tempo and metre in force at a position."""
        return _in_force(self._segments, self._starts_ppq, ppq).point

    def bar_at(self, ppq: Fraction) -> Fraction:
        """Return which bar a position lies in (counted from 0), with its share of that bar."""
        segment = _in_force(self._segments, self._starts_ppq, ppq)
        return segment.bar + (ppq - segment.ppq) / segment.quarters_per_bar

    def ppq_of_bar(self, bar: Fraction | int) -> Fraction:
        """Return where a bar (counted from 0, fractions allowed) starts.

        A point that changes the metre starts a new bar; the bar it cuts short counts as one.
        """
        index = max(0, bisect_right(self._starts_bar, Fraction(bar)) - 1)
        segment = self._segments[index]
        ppq = segment.ppq + (Fraction(bar) - segment.bar) * segment.quarters_per_bar
        return min([ppq, *self._starts_ppq[index + 1 : index + 2]])

    def bar_range_samples(
        self, start_bar: Fraction | int, num_bars: Fraction | int, sample_rate: int
    ) -> tuple[int, int]:
        """Return the half-open sample range of ``num_bars`` bars from ``start_bar`` on. Raises InvalidField."""
        if num_bars <= 0:
            raise invalid("bars", float(num_bars), "above 0")
        start, end = (self.ppq_of_bar(Fraction(bar)) for bar in (start_bar, Fraction(start_bar) + num_bars))
        return self.sample_at(start, sample_rate), self.sample_at(end, sample_rate)

    def beat_phase(self, times_seconds: Sequence[float]) -> list[BeatPhase]:
        """Return the phase at each time, for conditioning and drawing: float precision, not a contract."""
        starts = [float(start) for start in self._starts_seconds]
        return [_phase(_in_force(self._segments, starts, time), time) for time in times_seconds]


def _in_force(segments: list[_Segment], starts: Sequence[float | Fraction], position: float | Fraction) -> _Segment:
    return segments[max(0, bisect_right(starts, position) - 1)]


def _phase(segment: _Segment, time_seconds: float) -> BeatPhase:
    point = segment.point
    quarters = (time_seconds - float(segment.seconds)) * point.bpm / 60
    bars = float(segment.bar) + quarters / float(segment.quarters_per_bar)
    bar_share = min(bars - math.floor(bars), math.nextafter(1.0, 0.0))
    beats = bar_share * point.numerator
    beat_in_bar = min(int(beats), point.numerator - 1)
    return BeatPhase(beats - beat_in_bar, bar_share, beat_in_bar, point.bpm, point.numerator, point.denominator)


def round_half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves up, at any sign."""
    return math.floor(value + Fraction(1, 2))


def parse_meter(text: str) -> tuple[int, int]:
    """Read a metre such as ``7/8``. Raises InvalidField."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*/\s*(\d{1,3})\s*", text)
    if not match:
        raise invalid("meter", text, "NUMERATOR/DENOMINATOR, for example 7/8")
    numerator, denominator = int(match[1]), int(match[2])
    check_metre("meter", numerator, denominator)
    return numerator, denominator


def check_points(points: Sequence[TempoPoint]) -> None:
    """Raise InvalidField on the first point that cannot be used."""
    if not 1 <= len(points) <= MAX_POINTS:
        raise invalid("tempo_map", len(points), f"1 to {MAX_POINTS} points, the first at position_ppq 0")
    previous = -1.0
    for index, point in enumerate(points):
        where = f"tempo_map[{index}]"
        if not math.isfinite(point.position_ppq) or (index == 0 and point.position_ppq != 0):
            raise invalid(f"{where}.position_ppq", point.position_ppq, "0 for the first point, finite for all")
        if point.position_ppq <= previous:
            raise invalid(f"{where}.position_ppq", point.position_ppq, f"above the previous point's {previous}")
        previous = point.position_ppq
        check_bpm(f"{where}.bpm", point.bpm)
        check_metre(where, point.numerator, point.denominator)


def check_bpm(field: str, bpm: float) -> None:
    """Raise InvalidField unless ``bpm`` is finite and in (0, MAX_BPM]."""
    if not (math.isfinite(bpm) and 0 < bpm <= MAX_BPM):
        raise invalid(field, bpm, f"above 0, at most {MAX_BPM:g}")


def check_metre(field: str, numerator: int, denominator: int) -> None:
    """Raise InvalidField unless the metre is one that hosts can show."""
    if not 1 <= numerator <= MAX_NUMERATOR:
        raise invalid(f"{field} numerator", numerator, f"1 to {MAX_NUMERATOR}")
    if denominator not in DENOMINATORS:
        raise invalid(f"{field} denominator", denominator, ", ".join(map(str, DENOMINATORS)))
