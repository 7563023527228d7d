"""What an editing verb starts from: an audio file or a stored take, in stereo at the job's rate. Knows no verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.files import read_wav, stereo
from sa3_daw.audio.resample import StreamResampler
from sa3_daw.cli.request import Given, read_point
from sa3_daw.client import Client, TakeInfo
from sa3_daw.errors import InvalidField, invalid
from sa3_daw.job import Job
from sa3_daw.music.timeline import TempoMap, round_half_up

TAKE_PREFIX, LAST = "take:", "last"


@dataclass(frozen=True)
class SourceClip:
    """Stereo samples [2, n] with what they bring along; ``notes`` say what was done to the file."""

    samples: NDArray[np.float32]
    given: Given
    notes: tuple[str, ...]


def read_source(client: Client, text: str, rate: int | None) -> SourceClip:
    """Read a file, or a take named ``take:ID``. Raises InvalidField or OSError."""
    if text.startswith(TAKE_PREFIX):
        info, job = client.get_take(take_id(client, text.removeprefix(TAKE_PREFIX)))
        given = given_by_job(job)
        samples = client.get_audio(info.audio)
        notes: tuple[str, ...] = (f"take {info.take_id}: {info.prompt}",)
    else:
        path = Path(text)
        samples, sample_rate, recipe, start_sample = read_wav(path)
        given = given_by_recipe(recipe or {}, start_sample, sample_rate)
        notes = described(path, samples, sample_rate, recipe)
        samples = stereo(path, samples)
    if rate is None or rate == given.sample_rate:
        return SourceClip(samples, given, notes)
    if rate < 1:
        raise invalid("rate", rate, "1 or more")
    return resampled_clip(SourceClip(samples, given, notes), rate)


def described(path: Path, samples: NDArray[np.float32], rate: int, recipe: Mapping[str, Any] | None) -> tuple[str, ...]:
    form = f"{path}: {samples.shape[1]} samples at {rate} Hz" + (", mono, doubled" if len(samples) == 1 else "")
    return (form + (", with a recipe" if recipe else ""),)


def resampled_clip(clip: SourceClip, rate: int) -> SourceClip:
    """Return the clip at another rate, which its notes then say."""
    given = clip.given
    stream = StreamResampler(given.sample_rate, rate, 2)
    samples = np.concatenate((stream.process(clip.samples), stream.finish()), axis=1)
    start = round_half_up(Fraction(given.start_sample * rate, given.sample_rate))
    note = f"resampled from {given.sample_rate} to {rate} Hz: {samples.shape[1]} samples"
    moved = Given(given.prompt, given.model, given.tempo, start, rate)
    return SourceClip(samples, moved, (*clip.notes, note))


def given_by_job(job: Job) -> Given:
    return Given(job.prompt, job.model, TempoMap(job.tempo_map), job.start_sample, job.sample_rate)


def given_by_recipe(recipe: Mapping[str, Any], start_sample: int, sample_rate: int) -> Given:
    """Take from a recipe what can be read; another version's may hold other things."""
    prompt, model, points = recipe.get("prompt"), recipe.get("model"), recipe.get("tempo_map")
    tempo = None
    if isinstance(points, list):
        try:
            tempo = TempoMap([read_point("tempo_map", entry) for entry in points])
        except InvalidField:
            tempo = None
    return Given(
        prompt if isinstance(prompt, str) else "",
        model if isinstance(model, str) and model else "nano",
        tempo,
        start_sample,
        sample_rate,
    )


def take_id(client: Client, text: str) -> str:
    """Return a take's id, for ``last`` the newest one's. Raises InvalidField when nothing is stored."""
    return newest(client).take_id if text == LAST else text


def newest(client: Client) -> TakeInfo:
    takes = client.list_takes(limit=1)
    if not takes:
        raise invalid("take_id", LAST, "the id of a stored take; none is stored")
    return takes[0]
