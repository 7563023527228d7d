"""Arguments -> one Job, in exact musical time. Knows no daemon; limits that only it knows are left to it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from sa3_daw.adapter_words import adapter_use
from sa3_daw.errors import InvalidField, invalid
from sa3_daw.job import Job, TempoPoint
from sa3_daw.music.timeline import TempoMap, check_bpm, parse_meter, round_half_up

MAX_INTEGER = 2**63 - 1
MAX_TEMPO_MAP_BYTES = 1 << 20


@dataclass(frozen=True)
class Given:
    """What a source brings along: it stands wherever no option says otherwise."""

    prompt: str = ""
    model: str = "nano"
    tempo: TempoMap | None = None
    start_sample: int = 0
    sample_rate: int = 44_100


def job_from(arguments: argparse.Namespace, job_id: str, random_seed: int) -> Job:
    """Build the job of `sa3-daw generate`. Raises InvalidField."""
    tempo = tempo_from(arguments, None)
    start_sample, end_sample = sample_range(arguments, tempo)
    given = Given(tempo=tempo, start_sample=start_sample, sample_rate=arguments.rate)
    return replace(plain_job(arguments, given, job_id, random_seed), num_samples=end_sample - start_sample)


def plain_job(arguments: argparse.Namespace, given: Given, job_id: str, random_seed: int) -> Job:
    """Build what all verbs have in common; the length, 0 here, is the verb's own. Raises InvalidField."""
    seed = random_seed if arguments.seed is None else arguments.seed
    prompt = given.prompt if arguments.prompt is None else arguments.prompt
    return Job(
        job_id=job_id,
        prompt=checked_text("prompt", prompt),
        negative_prompt=checked_text("negative_prompt", arguments.negative_prompt),
        num_samples=0,
        sample_rate=given.sample_rate,
        start_sample=given.start_sample,
        tempo_map=tempo_from(arguments, given.tempo).points,
        seed=checked("seed", seed, 0),
        model=checked_text("model", arguments.model or given.model),
        steps=checked("steps", arguments.steps, 0),
        guidance_scale=arguments.guidance,
        apg_scale=arguments.apg,
        sampler=checked_text("sampler", arguments.sampler),
        headroom_seconds=0.0 if arguments.ending else arguments.headroom,
        loop=getattr(arguments, "loop", False),
        num_variations=checked("num_variations", arguments.variations, 1),
        best_of=checked("best_of", arguments.best_of, 1),
        draft=arguments.draft,
        loudness_lufs=arguments.loudness,
        warp=getattr(arguments, "warp", False),
        adapters=tuple(adapter_use(checked_text("adapter", text)) for text in arguments.adapter),
        priority=arguments.priority,
        durable=arguments.durable,
    )


def tempo_from(arguments: argparse.Namespace, given: TempoMap | None) -> TempoMap:
    """Read --tempo-map, or make a constant map of --bpm and --meter, or take the given one."""
    if arguments.tempo_map is not None:
        if arguments.bpm is not None or arguments.meter is not None:
            raise invalid("tempo_map", str(arguments.tempo_map), "either --tempo-map, or --bpm and --meter")
        return TempoMap(read_points(arguments.tempo_map))
    if given is not None and arguments.bpm is None and arguments.meter is None:
        return given
    bpm = 120.0 if arguments.bpm is None else arguments.bpm
    check_bpm("bpm", bpm)
    return TempoMap.constant(bpm, *parse_meter(arguments.meter or "4/4"))


def sample_range(arguments: argparse.Namespace, tempo: TempoMap) -> tuple[int, int]:
    """Return the half-open range that the length arguments ask for, from --start-bar on."""
    rate = checked("rate", arguments.rate, 1)
    if arguments.start_bar < 1:
        raise invalid("start_bar", float(arguments.start_bar), "1 or more; bars count from 1")
    start_bar: Fraction = arguments.start_bar - 1
    if arguments.bars is not None:
        start, end = tempo.bar_range_samples(start_bar, arguments.bars, rate)
        if start == end:
            raise invalid("bars", str(arguments.bars), "at least one sample long")
    else:
        start = tempo.sample_at(tempo.ppq_of_bar(start_bar), rate)
        if arguments.samples is not None:
            end = start + checked("samples", arguments.samples, 1)
        else:
            end = start + round_half_up(arguments.seconds * rate)
            if end <= start:
                raise invalid("seconds", float(arguments.seconds), f"at least one sample, {1 / rate:.3g}")
    checked("end of the range in samples", end, 1)
    return start, end


def checked(field: str, value: int, least: int) -> int:
    """Return an integer that fits the wire. Raises InvalidField."""
    if not least <= value <= MAX_INTEGER:
        raise invalid(field, value, f"{least} or more" if value < least else f"at most {MAX_INTEGER}")
    return value


def checked_text(field: str, text: str) -> str:
    """Return a text that is valid Unicode; a shell in another encoding hands over broken bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(field, text, "text in UTF-8") from error
    return text


def read_points(path: Path) -> list[TempoPoint]:
    """Read a JSON list of tempo points. Raises InvalidField, naming the point, or OSError."""
    with path.open("rb") as file:
        content = file.read(MAX_TEMPO_MAP_BYTES + 1)
    if len(content) > MAX_TEMPO_MAP_BYTES:
        raise invalid("tempo_map", str(path), f"a file of at most {MAX_TEMPO_MAP_BYTES} bytes")
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise invalid("tempo_map", str(path), f"a JSON file ({error})") from error
    if not isinstance(entries, list):
        raise invalid("tempo_map", str(path), "a JSON list of points")
    return [read_point(f"tempo_map[{index}]", entry) for index, entry in enumerate(entries)]


def read_point(where: str, entry: Any) -> TempoPoint:
    """Read one point; position_ppq and bpm are needed, the metre defaults to 4/4."""
    names = {field.name: field.type for field in fields(TempoPoint)}
    if not isinstance(entry, dict) or not {"position_ppq", "bpm"} <= set(entry) <= set(names):
        raise invalid(where, entry, "an object with position_ppq, bpm and, where wanted, numerator and denominator")
    for name, value in entry.items():
        wanted = (int, float) if names[name] == "float" else (int,)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise invalid(f"{where}.{name}", value, "a number" if names[name] == "float" else "a whole number")
    try:
        position_ppq, bpm = float(entry["position_ppq"]), float(entry["bpm"])
    except OverflowError as error:
        raise InvalidField(f"{where} holds a number beyond float64", field=where) from error
    return TempoPoint(position_ppq, bpm, entry.get("numerator", 4), entry.get("denominator", 4))
