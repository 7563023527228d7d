"""The source of an edit as the plan's work time sees it, at the job's rate and at the model's. Knows no latents.

Where the source has nothing there is silence; a loop goes round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa3_daw.audio.resample import common_start, resampled
from sa3_daw.errors import invalid
from sa3_daw.generation.edit_plan import EditPlan

BLOCK_SECONDS = 5.0
"""Read at once; bounds memory for a source of any length."""

MAX_PEAK = 1000.0
"""60 dB above full scale; what lies beyond is no audio, and a model makes nothing of it."""


@dataclass(frozen=True)
class WorkSource:
    """Audio [2, n], possibly memory-mapped, whose first sample lies at ``start_sample`` of the clip."""

    audio: NDArray[np.float32]
    start_sample: int
    plan: EditPlan

    def samples(self, start: int, end: int) -> NDArray[np.float32]:
        """Return [2, end - start] of work time at the job's rate, a fresh array. Raises InvalidField on no audio."""
        plan = self.plan
        found = np.zeros((2, end - start), dtype=np.float32)
        position = start
        while position < end:
            clip = plan.clip_sample(position) if plan.job.loop else position
            count = min(end - position, plan.num_samples - clip) if plan.job.loop else end - position
            first = max(clip, self.start_sample)
            last = min(clip + count, self.start_sample + self.audio.shape[1])
            if first < last:
                where = position - start + first - clip
                found[:, where : where + last - first] = self.audio[
                    :, first - self.start_sample : last - self.start_sample
                ]
            position += count
        peak = float(np.abs(found).max(initial=0.0))
        if not peak <= MAX_PEAK:
            raise invalid("source.audio", peak, f"samples that are finite and at most {MAX_PEAK:g}")
        return found

    def covers(self, work_sample: int) -> bool:
        """Say whether the source has this sample."""
        clip = self.plan.clip_sample(work_sample) if self.plan.job.loop else work_sample
        return self.start_sample <= clip < self.start_sample + int(self.audio.shape[1])

    def extended(self, edge: int, start: int, end: int) -> NDArray[np.float32]:
        """Return [start, end) next to ``edge``, where the kept samples end or begin.

        Where the source does not go on beyond the edge, its odd reflection does: it runs on without a step.
        """
        inward = start < edge
        beyond = end - 1 if inward else start
        if self.covers(beyond):
            return self.samples(start, end)
        if inward:
            mirrored = self.samples(edge + 1, edge + 1 + edge - start)[:, ::-1][:, : end - start]
            pivot = self.samples(edge, edge + 1)
        else:
            mirrored = self.samples(edge - 1 - (end - edge), edge - 1)[:, ::-1][:, start - edge :]
            pivot = self.samples(edge - 1, edge)
        odd: NDArray[np.float32] = 2 * pivot - mirrored
        return odd

    def blocks(self, start: int, end: int) -> Iterator[NDArray[np.float32]]:
        """Yield work time [start, end) at the job's rate in pieces."""
        size = int(BLOCK_SECONDS * self.plan.job.sample_rate)
        for position in range(start, end, size):
            yield self.samples(position, min(position + size, end))

    def at_model_rate(self, start: int, end: int) -> Iterator[NDArray[np.float32]]:
        """Yield model-rate samples [start, end) in pieces."""
        host_rate, model_rate = self.plan.job.sample_rate, self.plan.spec.sample_rate
        host_start, settled = common_start(start, host_rate, model_rate)
        beyond = 4 * host_rate + (end - settled) * host_rate // model_rate
        pieces = self.blocks(host_start, host_start + beyond)
        return resampled(pieces, host_rate, model_rate, start - settled, end - start)
