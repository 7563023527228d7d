"""Places in a clip, "A:B" in samples, seconds, beats or bars -> exact sample ranges. Knows no file and no daemon."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from sa3_daw.errors import invalid
from sa3_daw.job import Region
from sa3_daw.music.timeline import TempoMap, round_half_up

PLACE = re.compile(r"(?P<number>\d{1,18}(?:\.\d{1,18})?(?:/[1-9]\d{0,8})?)(?P<unit>s|beats?|bars?|)")
PLACE_WORDS = "a place such as 96000 (samples), 0.5s, 3beats, 4bars, 9/2bars, 0 or later"
REGION_WORDS = "START:END from the clip's start, such as 96000:144000, 0.5s:2s, 1:2bars, 3beats:, START below END"


@dataclass(frozen=True)
class Clip:
    """A clip's place on the timeline, by which bars and beats inside it are found."""

    tempo: TempoMap
    start_sample: int
    num_samples: int
    sample_rate: int

    def start_ppq(self) -> Fraction:
        """Return the clip's start in quarter notes: the beat itself when the start is that beat's sample."""
        return ppq_of_sample(self.tempo, self.start_sample, self.sample_rate)

    def end_ppq(self) -> Fraction:
        """Return the same of its end."""
        return ppq_of_sample(self.tempo, self.start_sample + self.num_samples, self.sample_rate)


def ppq_of_sample(tempo: TempoMap, sample: int, sample_rate: int) -> Fraction:
    """Return a sample's position; where the nearest beat rounds to this very sample, that beat's.

    So bars counted from a rounded start stay exact, however many follow.
    """
    ppq = tempo.ppq_at(Fraction(sample, sample_rate))
    beat_ppq = Fraction(4, tempo.point_at(ppq).denominator)
    for bar in (math.floor(tempo.bar_at(ppq)), math.floor(tempo.bar_at(ppq)) + 1):
        start = tempo.ppq_of_bar(bar)
        beat = start + round_half_up((ppq - start) / beat_ppq) * beat_ppq
        if tempo.sample_at(beat, sample_rate) == sample:
            return beat
    return ppq


def read_region(text: str, clip: Clip) -> Region:
    """Read one region; an open start or end is the clip's. Raises InvalidField."""
    start_text, colon, end_text = text.partition(":")
    end = PLACE.fullmatch(end_text)
    start = PLACE.fullmatch(start_text)
    if not colon or (start_text and not start) or (end_text and not end) or not (start or end):
        raise invalid("region", text, REGION_WORDS)
    # One unit at the end counts for both: 1:2bars.
    unit = (start and start["unit"]) or (end and end["unit"]) or ""
    first = sample_of(start["number"], unit, clip) if start else 0
    last = sample_of(end["number"], end["unit"], clip) if end else clip.num_samples
    if not 0 <= first < last <= clip.num_samples:
        raise invalid("region", text, f"{REGION_WORDS}; the clip ends at {clip.num_samples}, this is {first}:{last}")
    return Region(first, last)


def read_place(text: str, clip: Clip) -> int:
    """Read one place or length; return its sample, from the clip's start. Raises InvalidField."""
    found = PLACE.fullmatch(text)
    if not found:
        raise invalid("place", text, PLACE_WORDS)
    return sample_of(found["number"], found["unit"], clip)


def read_musical_place(text: str, tempo: TempoMap) -> Fraction:
    """Read a place in beats or bars from the timeline's origin; return it in quarter notes. Raises InvalidField."""
    found = PLACE.fullmatch(text)
    if not found or found["unit"] in ("", "s"):
        raise invalid("place", text, "a place in beats or bars, such as 3beats, 4bars, 9/2bars")
    return _ppq_after(tempo, Fraction(0), found["number"], found["unit"])


def sample_of(number: str, unit: str, clip: Clip) -> int:
    """Return the sample of a place, from the clip's start."""
    if unit == "s":
        return round_half_up(_exact(number) * clip.sample_rate)
    if not unit:
        return round_half_up(_exact(number))
    ppq = _ppq_after(clip.tempo, clip.start_ppq(), number, unit)
    return clip.tempo.sample_at(ppq, clip.sample_rate) - clip.start_sample


def bars_before_samples(clip: Clip, num_bars: Fraction) -> int:
    """Return how many samples the bars take that end where the clip starts; a clip may start before the origin."""
    start = clip.tempo.seconds_at(ppq_after_bars(clip.tempo, clip.start_ppq(), -num_bars))
    return clip.start_sample - round_half_up(start * clip.sample_rate)


def length_before(text: str, clip: Clip) -> int:
    """Read a length that ends where the clip starts; return its samples. Raises InvalidField."""
    found = PLACE.fullmatch(text)
    if not found or found["unit"].startswith("beat"):
        raise invalid("length", text, "a length before a clip, such as 96000 (samples), 0.5s, 4bars")
    if found["unit"].startswith("bar"):
        return bars_before_samples(clip, _exact(found["number"]))
    return sample_of(found["number"], found["unit"], clip)


def led_into(clip: Clip, num_new: int) -> int:
    """Return where a clip starts with ``num_new`` samples before it. Raises InvalidField.

    A clip too close to the origin is moved on by whole bars, which keeps its beats; that needs one tempo throughout.
    """
    start_sample = clip.start_sample - num_new
    if start_sample >= 0:
        return start_sample
    if len(clip.tempo.points) > 1:
        allowed = f"at most {clip.start_sample} samples: the clip lies that far behind the tempo map's origin"
        raise invalid("length before the clip", num_new, allowed)
    bar_samples = max(1, clip.tempo.sample_at(clip.tempo.ppq_of_bar(1), clip.sample_rate))
    bars = Fraction(-(start_sample // bar_samples))
    return clip.tempo.sample_at(ppq_after_bars(clip.tempo, clip.start_ppq(), bars), clip.sample_rate) - num_new


def ppq_after_bars(tempo: TempoMap, ppq: Fraction, num_bars: Fraction) -> Fraction:
    """Return the position that many bars later (negative: earlier), in whatever metres are in force."""
    return tempo.ppq_of_bar(tempo.bar_at(ppq) + num_bars)


def ppq_after_beats(tempo: TempoMap, ppq: Fraction, num_beats: Fraction) -> Fraction:
    """Return the position that many beats later; each beat is as long as the metre in force says."""
    left = num_beats
    for point in tempo.points:
        start = Fraction(point.position_ppq)
        if start > ppq:
            beats = (start - ppq) * tempo.point_at(ppq).denominator / 4
            if beats > left:
                break
            ppq, left = start, left - beats
    return ppq + left * Fraction(4, tempo.point_at(ppq).denominator)


def _ppq_after(tempo: TempoMap, ppq: Fraction, number: str, unit: str) -> Fraction:
    return (ppq_after_bars if unit.startswith("bar") else ppq_after_beats)(tempo, ppq, _exact(number))


def _exact(number: str) -> Fraction:
    whole, _, divisor = number.partition("/")
    return Fraction(whole) / int(divisor or 1)
