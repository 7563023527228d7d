"""Every field of a job against its limits, one function per group. Knows no socket, no queue and no file.

Each check raises InvalidField or LimitExceeded with the field's path, its value and what would do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection

from sa3_daw.daemon.limits import (
    LOUDNESS_LUFS,
    MAX_ADAPTERS,
    MAX_CLIP_SECONDS,
    MAX_FILTER_BYTES,
    MAX_GUIDANCE_SCALE,
    MAX_HEADROOM_SECONDS,
    MAX_PROMPT_BYTES,
    MAX_REGIONS,
    MAX_ROLLS,
    MAX_SEED,
    MAX_START_SAMPLE,
    MAX_STEPS,
    MAX_STRENGTH,
    SAMPLE_RATES,
)
from sa3_daw.daemon.scheduler import PRIORITIES
from sa3_daw.errors import InvalidField, LimitExceeded, invalid
from sa3_daw.job import AdapterUse, Job, Region
from sa3_daw.models.specs import ModelSpec
from sa3_daw.music.timeline import check_points

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
JOB_ID_WORDS = "1 to 64 of A-Z a-z 0-9 _ -"
ADDRESS = re.compile(r"[0-9a-f]{64}", re.ASCII)
ADDRESS_WORDS = "a SHA-256 as 64 lower-case hex digits"

StoredLength = Callable[[str], int]
"""Samples of stored audio by its address, 0 when it is not stored."""


def check_plain_fields(job: Job) -> None:
    """Check everything that needs neither the model nor the store."""
    if not JOB_ID.fullmatch(job.job_id):
        raise invalid("job_id", job.job_id, JOB_ID_WORDS)
    for field, text in (("prompt", job.prompt), ("negative_prompt", job.negative_prompt)):
        num_bytes = len(text.encode("utf-8"))
        if num_bytes > MAX_PROMPT_BYTES:
            raise too_large(field, num_bytes, MAX_PROMPT_BYTES, "UTF-8 bytes")
    _check_range("seed", job.seed, 0, MAX_SEED - 1)
    _check_range("start_sample", job.start_sample, 0, MAX_START_SAMPLE)
    if job.sample_rate not in SAMPLE_RATES:
        raise invalid("sample_rate", job.sample_rate, ", ".join(map(str, SAMPLE_RATES)))
    if job.steps:
        _check_range("steps", job.steps, 1, MAX_STEPS, ", or 0 for the model's default")
    _check_range("guidance_scale", job.guidance_scale, 0.0, MAX_GUIDANCE_SCALE, "; 0 is the model's default")
    if job.apg_scale is not None:
        _check_range("apg_scale", job.apg_scale, 0.0, 1.0)
    if job.headroom_seconds is not None:
        _check_range("headroom_seconds", job.headroom_seconds, 0.0, MAX_HEADROOM_SECONDS)
    if job.loudness_lufs is not None:
        _check_range("loudness_lufs", job.loudness_lufs, *LOUDNESS_LUFS)
    if not (math.isfinite(job.noise_level) and 0 < job.noise_level <= 1):
        raise invalid("noise_level", job.noise_level, "above 0, at most 1")
    if job.priority not in PRIORITIES:
        raise invalid("priority", job.priority, ", ".join(PRIORITIES))
    check_rolls(job)
    check_points(job.tempo_map)


def check_negative_prompt(job: Job, default_guidance_scale: float) -> None:
    """Check that a negative prompt is read at all."""
    if job.negative_prompt and (job.guidance_scale or default_guidance_scale) == 1.0:
        allowed = f"empty without guidance; with a guidance_scale above 1 ({job.model}'s own is "
        raise invalid("negative_prompt", job.negative_prompt, f"{allowed}{default_guidance_scale:g}) any text")


def check_rolls(job: Job) -> None:
    """Check how many takes are made and how often each is rolled."""
    for field, number in (("num_variations", job.num_variations), ("best_of", job.best_of)):
        if number < 1:
            raise invalid(field, number, f"1 to {MAX_ROLLS}")
    if job.num_variations * job.best_of > MAX_ROLLS:
        raise too_large("num_variations * best_of", job.num_variations * job.best_of, MAX_ROLLS, "rolls")
    if job.seed + job.num_variations * job.best_of > MAX_SEED:
        raise invalid("seed", job.seed, f"0 to 2**63 - 1 - {job.num_variations * job.best_of - 1}, one for each roll")


def check_length(job: Job) -> None:
    """Check the clip's length, chained windows included."""
    longest = MAX_CLIP_SECONDS * job.sample_rate
    allowed = f"1 to {longest} at {job.sample_rate} Hz ({MAX_CLIP_SECONDS} s)"
    if job.num_samples < 1:
        raise invalid("num_samples", job.num_samples, allowed)
    if job.num_samples > longest:
        raise LimitExceeded(
            f"num_samples is {job.num_samples}; allowed: {allowed}",
            field="num_samples",
            value=str(job.num_samples),
            allowed=allowed,
        )


def is_chained(job: Job, spec: ModelSpec) -> bool:
    """Tell whether the clip is longer than the model makes in one piece."""
    return job.num_samples > spec.max_num_samples * job.sample_rate // spec.sample_rate


def check_source(job: Job, stored_length: StoredLength) -> None:
    """Check that the source is stored and fits, and that it and the regions cover the clip."""
    check_regions(job)
    if job.source is None:
        if job.noise_level < 1:
            raise invalid("noise_level", job.noise_level, "1 without a source")
        _check_covered(job, 0, 0)
        return
    audio, start = job.source.audio, job.source.start_sample
    if not ADDRESS.fullmatch(audio):
        raise invalid("source.audio", audio, ADDRESS_WORDS)
    num_samples = stored_length(audio)
    if not num_samples:
        raise invalid("source.audio", audio, "the address of audio that is stored here; send it with put_audio first")
    if start < 0 or start + num_samples > job.num_samples:
        allowed = f"0 to {job.num_samples - num_samples}" if num_samples <= job.num_samples else "none"
        reason = f"{allowed}: the source has {num_samples} samples, the clip {job.num_samples}"
        raise invalid("source.start_sample", start, reason)
    _check_covered(job, start, start + num_samples)
    if job.noise_level < 1:
        for index, region in enumerate(job.regions):
            if region.start_sample < start or region.end_sample > start + num_samples:
                raise invalid(f"regions[{index}]", _shown(region), "inside the source when noise_level is below 1")


def check_regions(job: Job) -> None:
    """Check that regions are in order, do not overlap and lie inside the clip."""
    if len(job.regions) > MAX_REGIONS:
        raise too_large("regions", len(job.regions), MAX_REGIONS, "regions")
    previous_end = 0
    for index, region in enumerate(job.regions):
        if not 0 <= region.start_sample < region.end_sample <= job.num_samples:
            raise invalid(f"regions[{index}]", _shown(region), f"not empty, inside 0 to {job.num_samples}")
        if region.start_sample < previous_end:
            raise invalid(f"regions[{index}]", _shown(region), f"starting at {previous_end} or later, in order")
        previous_end = region.end_sample


def check_adapters(uses: Collection[AdapterUse], installed: Collection[str]) -> None:
    """Check adapters' names and the ranges in which they act."""
    if len(uses) > MAX_ADAPTERS:
        raise too_large("adapters", len(uses), MAX_ADAPTERS, "adapters")
    names: set[str] = set()
    for index, use in enumerate(uses):
        where = f"adapters[{index}]"
        if use.name not in installed:
            raise invalid(f"{where}.name", use.name, ", ".join(installed) or "none, because none is installed")
        if use.name in names:
            raise invalid(f"{where}.name", use.name, "each adapter once")
        names.add(use.name)
        _check_range(f"{where}.strength", use.strength, -MAX_STRENGTH, MAX_STRENGTH)
        _check_range(f"{where}.min_noise", use.min_noise, 0.0, 1.0)
        _check_range(f"{where}.max_noise", use.max_noise, use.min_noise, 1.0)
        num_bytes = len(use.layer_filter.encode("utf-8"))
        if num_bytes > MAX_FILTER_BYTES:
            raise too_large(f"{where}.layer_filter", num_bytes, MAX_FILTER_BYTES, "UTF-8 bytes")


def too_large(field: str, size: int, limit: int, unit: str) -> LimitExceeded:
    """Return the error for a text, list or frame that is too long."""
    return LimitExceeded(
        f"{field} has {size} {unit}; allowed: at most {limit}",
        field=field,
        value=f"{size} {unit}",
        allowed=f"at most {limit}",
    )


def _check_covered(job: Job, source_start: int, source_end: int) -> None:
    """Check that source and regions together leave nothing of the clip open; no region means all of it."""
    if not job.regions:
        return
    reached = 0
    pieces = [(region.start_sample, region.end_sample) for region in job.regions]
    for start, end in sorted([*pieces, (source_start, source_end)]):
        if start > reached:
            break
        reached = max(reached, end)
    if reached < job.num_samples:
        raise InvalidField(
            f"sample {reached} of the clip lies neither in the source nor in a region",
            field="regions",
            value=f"nothing at {reached}",
            allowed="what no source covers lies in a region; no region at all means the whole clip",
        )


def _check_range(field: str, value: float, least: float, most: float, more: str = "") -> None:
    if not (math.isfinite(value) and least <= value <= most):
        shown = f"{least} to {most}" if isinstance(value, int) else f"{least:g} to {most:g}"
        raise invalid(field, value, shown + more)


def _shown(region: Region) -> str:
    return f"{region.start_sample} to {region.end_sample}"
