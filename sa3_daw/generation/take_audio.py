"""Latents and source -> one take's audio in clip time: decoded where made, the source's own samples where kept.

Inside a region made audio is brought to the level of what is kept beside it and crossfaded in at equal power; outside
every sample is the source's. Knows no sampler. Shapes: C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.audio.ops import fade_edges
from sa3_daw.audio.resample import REACH_SAMPLES, common_start, resampled
from sa3_daw.generation.decode_stream import decode_stream, decoder_context_frames
from sa3_daw.generation.edit_plan import EditPlan
from sa3_daw.generation.gate import OutputGate
from sa3_daw.generation.work_source import WorkSource
from sa3_daw.job import Region
from sa3_daw.models.same import Same

Audio = NDArray[np.float32]

CROSSFADE_SECONDS = 0.01
"""Inside a region, at each edge to what is kept; long enough to hide a step, short enough to keep an attack."""

LEVEL_SECONDS = 0.4
"""This much of what is kept beside an edge is compared with its own decode, to level the region with it."""

MAX_LEVEL_DB = 3.0
SILENT_RMS = 1e-3


class TakeAudio:
    """The audio of one take, of any range of the clip, as far as its latents are made."""

    def __init__(self, plan: EditPlan, same: Same, source: WorkSource | None, gate: OutputGate) -> None:
        self._plan, self._same, self._source, self._gate = plan, same, source, gate
        self._gains_db: dict[Region, tuple[float, float]] = {}

    def between(self, latents_DT: Tensor, start: int, end: int) -> Iterator[Audio]:
        """Yield the clip's samples [start, end) in consecutive pieces [2, n]."""
        for piece in self._plan.pieces():
            first, last = max(start, piece.start), min(end, piece.end)
            if first >= last:
                continue
            work = (first - self._plan.rotation) % self._plan.num_samples
            if piece.region is None:
                assert self._source is not None
                yield from self._source.blocks(work, work + last - first)
            else:
                yield from self._made(latents_DT, piece.region, work, work + last - first)

    def ready_until(self, known_frames: int) -> int:
        """Return up to which work sample audio can be decoded when the first frames are known."""
        plan, spec = self._plan, self._same.spec
        if known_frames >= plan.grid.num_frames:
            return plan.num_samples
        align = spec.frame_alignment
        decodable = (known_frames - decoder_context_frames(spec)[1]) // align * align
        rates = plan.spec.sample_rate, plan.job.sample_rate
        settled = 0 if rates[0] == rates[1] else REACH_SAMPLES * -(-rates[0] // rates[1]) + 1
        return max(0, min(plan.num_samples, plan.to_host(plan.grid.sample_of(decodable) - settled)))

    def _made(self, latents_DT: Tensor, region: Region, start: int, end: int) -> Iterator[Audio]:
        plan = self._plan
        rate = plan.job.sample_rate
        edge_in, edge_out = plan.has_edges(region)
        length = region.end_sample - region.start_sample
        gains_db = self._level(latents_DT, region)
        position = start
        for audio in decoded(plan, self._same, latents_DT, start, end):
            self._gate.add(audio)
            offset = position - region.start_sample
            audio = audio * _gain(gains_db, offset, audio.shape[1], length)
            audio = fade_edges(audio, offset, length, rate, fade_in=not edge_in, fade_out=not edge_out)
            width = min(round(CROSSFADE_SECONDS * rate), length // 2)
            if edge_in:
                audio = self._cross(audio, position, region.start_sample, width)
            if edge_out:
                audio = self._cross(audio, position, region.end_sample, -width)
            yield audio
            position += audio.shape[1]

    def _cross(self, audio_CS: Audio, position: int, edge: int, width: int) -> Audio:
        """Crossfade from the source at ``edge``; a negative ``width`` lies before it, towards the source."""
        first, last = max(position, min(edge, edge + width)), min(position + audio_CS.shape[1], max(edge, edge + width))
        if first >= last:
            return audio_CS
        assert self._source is not None
        kept = self._source.extended(edge, min(edge, edge + width), max(edge, edge + width))
        share = (np.abs(np.arange(first, last) + 0.5 - edge) / abs(width)).astype(np.float32)
        into = 0.5 - 0.5 * np.cos(np.pi * share)  # starts and ends level: a ramp's corner would be a small click
        mixed: Audio = audio_CS.copy()
        inside = slice(first - position, last - position)
        beside = kept[:, first - min(edge, edge + width) :][:, : last - first]
        mixed[:, inside] = audio_CS[:, inside] * np.sin(np.pi / 2 * into) + beside * np.cos(np.pi / 2 * into)
        return mixed

    def _level(self, latents_DT: Tensor, region: Region) -> tuple[float, float]:
        """Return the gain in dB at both ends of a region: what decoding costs the kept audio beside it."""
        if region not in self._gains_db:
            count = round(LEVEL_SECONDS * self._plan.job.sample_rate)
            before = (max(0, region.start_sample - count), region.start_sample)
            after = (region.end_sample, min(self._plan.num_samples, region.end_sample + count))
            found = [self._lost_db(latents_DT, *span) for span in (before, after) if span[0] < span[1]]
            self._gains_db[region] = (found[0], found[-1]) if found else (0.0, 0.0)
        return self._gains_db[region]

    def _lost_db(self, latents_DT: Tensor, start: int, end: int) -> float:
        assert self._source is not None
        kept = _rms(self._source.samples(start, end))
        heard = _rms(np.concatenate(list(decoded(self._plan, self._same, latents_DT, start, end)), axis=1))
        if min(kept, heard) < SILENT_RMS:
            return 0.0
        return max(-MAX_LEVEL_DB, min(MAX_LEVEL_DB, 20 * math.log10(kept / heard)))


def decoded(plan: EditPlan, same: Same, latents_DT: Tensor, start: int, end: int) -> Iterator[Audio]:
    """Yield work samples [start, end) of the decoded latents at the job's rate."""
    grid, frame, align = plan.grid, same.spec.samples_per_frame, same.spec.frame_alignment
    model_rate, rate = plan.spec.sample_rate, plan.job.sample_rate
    first, settled = max((0, 0), common_start(start, model_rate, rate))
    last = plan.to_model(end, up=True) + (0 if rate == model_rate else REACH_SAMPLES * -(-model_rate // rate))
    last = min(last, grid.num_samples)
    start_frame = (grid.lead_samples + first) // frame // align * align
    end_frame = -(-(grid.lead_samples + last) // frame)

    def pieces() -> Iterator[Audio]:
        position = grid.sample_of(start_frame)
        for audio in decode_stream(same, latents_DT[None], end_frame, model_rate, start_frame):
            piece: Audio = audio[0, :, max(0, first - position) : last - position].numpy()
            position += audio.shape[-1]
            yield piece

    return resampled(pieces(), model_rate, rate, start - settled, end - start)


def _gain(gains_db: tuple[float, float], offset: int, count: int, length: int) -> Audio:
    """Return gains that go from one dB value to the other along a region."""
    share = (offset + np.arange(count)) / length
    return (10 ** ((gains_db[0] + (gains_db[1] - gains_db[0]) * share) / 20)).astype(np.float32)


def _rms(samples_CS: Audio) -> float:
    return math.sqrt(float(np.square(samples_CS, dtype=np.float64).mean()))
