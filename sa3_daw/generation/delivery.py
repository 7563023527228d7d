"""One take on its way out: chunks in time order, its drafts before them, its report after them. Knows no sampler.

A take that is brought to a loudness or onto the beat is known whole before its first chunk; every other one leaves
as it is decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sa3_daw.generation.edit_plan import EditPlan
from sa3_daw.generation.events import AudioChunk, TakeMade
from sa3_daw.generation.finish import onto_grid, to_loudness
from sa3_daw.generation.gate import OutputGate
from sa3_daw.generation.meant_noise import is_meant
from sa3_daw.generation.take_audio import TakeAudio
from sa3_daw.generation.take_meter import TakeMeter
from sa3_daw.generation.work_source import WorkSource
from sa3_daw.job import Job, Region
from sa3_daw.models.same import Same
from sa3_daw.music.timeline import TempoMap

WHOLE_CHUNK_SECONDS = 2.0


class Delivery:
    """Hands out one variation. ``chunks`` may be called again and again as more of the clip is made."""

    def __init__(self, job: Job, plan: EditPlan, same: Same, source: WorkSource | None, variation: int) -> None:
        self._job, self._plan, self._same, self._source, self._variation = job, plan, same, source, variation
        self._gate = OutputGate(job.sample_rate)
        self._audio = TakeAudio(plan, same, source, self._gate)
        self._meter = TakeMeter(job.sample_rate, job.num_samples, seams(plan))
        self._is_whole = job.warp or job.loudness_lufs is not None
        self._stretch = 1.0
        self._sent = 0

    def chunks(self, latents_DT: Tensor, made_frames: int) -> Iterator[AudioChunk]:
        """Yield what can be heard and was not yet, when the first ``made_frames`` frames are made."""
        end = self._ready(made_frames)
        if self._is_whole:
            is_due = end == self._plan.num_samples and not self._sent
            pieces = self._whole(latents_DT) if is_due else iter(())
        else:
            pieces = self._audio.between(latents_DT, self._sent, end)
        for samples in pieces:
            yield AudioChunk(self._sent, samples, self._variation)
            self._meter.add(samples)
            self._sent += samples.shape[1]

    def draft(self, latents_DT: Tensor, made_frames: int) -> Iterator[AudioChunk]:
        """Yield a rough version of the chunks that will follow for the same frames."""
        position, end = self._sent, min(self._ready(made_frames), self._job.num_samples)
        for samples in TakeAudio(self._plan, self._same, self._source, OutputGate(self._job.sample_rate)).between(
            latents_DT, position, end
        ):
            yield AudioChunk(position, samples, self._variation, draft=True)
            position += samples.shape[1]

    def finish(self, latents_DT: Tensor, seed: int) -> TakeMade:
        """Return the take's report. Raises BadOutput when it is not audio."""
        assert self._sent == self._job.num_samples, f"{self._sent} of {self._job.num_samples} samples delivered"
        job, meter = self._job, self._meter
        # A loop that keeps nothing has its joint made in the clip just made: that clip is not the job's source.
        keeps = job.source is not None and self._plan.job.source == job.source
        self._gate.finish(meter.peak_db, lambda: is_meant(self._same, latents_DT))
        return TakeMade(
            variation=self._variation,
            seed=seed,
            num_samples=job.num_samples,
            peak_db=meter.peak_db,
            rms_db=meter.rms_db,
            loudness_lufs=meter.loudness_lufs(),
            beats=meter.beats(TempoMap(job.tempo_map), job.start_sample / job.sample_rate),
            key=meter.key(),
            changed=self._plan.changed() if keeps else (Region(0, job.num_samples),),
            kept_sha256=kept_sha256(self._plan, self._source) if keeps and self._source else "",
            stretch=self._stretch,
            seam_db=meter.seam_db(),
        )

    def _ready(self, made_frames: int) -> int:
        ready = self._audio.ready_until(made_frames)
        return ready if not self._plan.rotation or ready == self._plan.num_samples else 0

    def _whole(self, latents_DT: Tensor) -> Iterator[NDArray[np.float32]]:
        job = self._job
        audio = np.concatenate(list(self._audio.between(latents_DT, 0, self._plan.num_samples)), axis=1)
        if job.warp:
            audio, self._stretch = onto_grid(audio, job)
        if job.loudness_lufs is not None:
            audio = to_loudness(audio, job.sample_rate, job.loudness_lufs)
        size = int(WHOLE_CHUNK_SECONDS * job.sample_rate)
        for start in range(0, audio.shape[1], size):
            yield audio[:, start : start + size]


def seams(plan: EditPlan) -> list[int]:
    """Return the clip's samples at which something was joined: regions, chained windows, a loop coming round."""
    found = {0} if plan.job.loop else set()
    for region in plan.regions:
        for sample, is_edge in zip((region.start_sample, region.end_sample), plan.has_edges(region), strict=True):
            if is_edge:
                found.add(plan.clip_sample(sample))
    for before, window in zip(plan.windows, plan.windows[1:], strict=False):
        if before.made[-1][1] == window.made[0][0]:
            found.add(plan.clip_sample(plan.to_host(plan.grid.sample_of(window.made[0][0]))))
    return sorted(found)


def kept_sha256(plan: EditPlan, source: WorkSource) -> str:
    """Return the SHA-256 of all kept samples, left channel first, in clip time; "" when nothing is kept."""
    if plan.keeps_nothing:
        return ""
    digest = hashlib.sha256()
    for channel in range(2):
        for piece in plan.pieces():
            if piece.region is None:
                work = (piece.start - plan.rotation) % plan.num_samples
                for samples in source.blocks(work, work + piece.end - piece.start):
                    digest.update(samples[channel].astype("<f4").tobytes())
    return digest.hexdigest()
