"""Do clips keep the tempo and key they were asked for? By the measures that every take is reported with.

Knows no model. Beside the share that keeps the asked tempo stands the share that keeps another clip's: chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from torch import Tensor

from sa3_daw.music.beats import OnsetEnvelope, measure_beats
from sa3_daw.music.key import NAMES, Chroma
from sa3_daw.music.timeline import TempoMap
from sa3_daw.take import BeatReport
from sa3_training.evaluation.material import Asked

NEAR = 0.02
CLEAR_BEAT = 0.3
RELATED = (0.5, 1.0, 2.0)
"""Half and double time count as kept: the same onsets."""


def adherence(clips: Sequence[Asked], sample_rate: int) -> dict[str, float]:
    """Return shares and errors; tempo and phase are judged where there is a clear beat: pads have none."""
    heard = [onsets(clip.audio_CS, sample_rate) for clip in clips]
    own = [(measured(found, clip.bpm), clip) for found, clip in zip(heard, clips, strict=True)]
    beating = [(found, report, clip) for found, (report, clip) in zip(heard, own, strict=True) if report is not None]
    numbers = {"with_a_clear_beat": len(beating) / len(clips)}
    if beating:
        bpms = _turned([clip.bpm for *_, clip in beating])
        strangers = [measured(found, bpm) for (found, *_), bpm in zip(beating, bpms, strict=True)]
        numbers["tempo_kept"] = fmean(_keeps(report.bpm, clip.bpm) for _, report, clip in beating)
        numbers["tempo_kept_of_another_clip"] = fmean(
            report is not None and _keeps(report.bpm, bpm) for report, bpm in zip(strangers, bpms, strict=True)
        )
        numbers["median_phase_error_ms"] = 1000 * median(abs(report.phase_error_seconds) for _, report, _ in beating)
    drums = [(found, report, clip.bpm) for found, (report, clip) in zip(heard, own, strict=True) if _is_drums(clip)]
    if drums:
        bpms = _turned([bpm for *_, bpm in drums])
        numbers["drum_prompts_on_tempo"] = fmean(_is_on(report, bpm) for _, report, bpm in drums)
        numbers["drum_prompts_on_another_clips_tempo"] = fmean(
            _is_on(measured(found, bpm), bpm) for (found, *_), bpm in zip(drums, bpms, strict=True)
        )
    keyed = [clip for clip in clips if clip.key]
    if keyed:
        keys = [(key_of(clip.audio_CS, sample_rate), clip.key) for clip in keyed]
        numbers["key_kept"] = fmean(found == key for found, key in keys)
        numbers["key_kept_by_chance"] = 1 / 24
        numbers["key_or_its_relative_kept"] = fmean(found in (key, relative(key)) for found, key in keys)
        numbers["key_or_its_relative_kept_by_chance"] = 1 / 12
    return numbers


def relative(key: str) -> str:
    """Return the key with the same notes: of C major, A minor."""
    tonic, mode = key.split(" ")
    step, other = (-3, "minor") if mode == "major" else (3, "major")
    return f"{NAMES[(NAMES.index(tonic) + step) % 12]} {other}"


def onsets(audio_CS: Tensor, sample_rate: int) -> OnsetEnvelope:
    """Return the onsets heard in a clip."""
    found = OnsetEnvelope(sample_rate)
    found.add(audio_CS.numpy())
    return found


def measured(onsets: OnsetEnvelope, asked_bpm: float) -> BeatReport | None:
    """Return the beats heard, or None when they are not clear."""
    report = measure_beats(onsets, TempoMap.constant(asked_bpm, 4, 4), 0.0)
    return report if report is not None and report.confidence >= CLEAR_BEAT else None


def key_of(audio_CS: Tensor, sample_rate: int) -> str:
    """Return the key heard, or nothing."""
    chroma = Chroma(sample_rate)
    chroma.add(audio_CS.numpy())
    report = chroma.key()
    return report.key if report else ""


def _turned(bpms: list[float]) -> list[float]:
    """Return every clip's neighbour's tempo."""
    return bpms[1:] + bpms[:1]


def _keeps(found: float, asked: float) -> bool:
    return any(abs(found / (asked * ratio) - 1) <= NEAR for ratio in RELATED)


def _is_drums(clip: Asked) -> bool:
    return clip.family == "drums"


def _is_on(report: BeatReport | None, bpm: float) -> bool:
    """Say whether a clear beat lies within 2 % of the asked tempo; half and double time do not count."""
    return report is not None and abs(report.bpm / bpm - 1) <= NEAR
