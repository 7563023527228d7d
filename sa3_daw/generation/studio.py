"""Where the takes of one job are made: windows sampled, joints closed, the best roll chosen, chunks handed out.

Knows no socket and no queue; ``run.py`` says in which order. Shapes: B batch, D latent channels, T latent frames.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from sa3_daw.generation.adapters import Adapted
from sa3_daw.generation.canvas import Canvas
from sa3_daw.generation.conditioning import Text, condition
from sa3_daw.generation.delivery import Delivery
from sa3_daw.generation.denoise import Sampling, denoise
from sa3_daw.generation.edit_plan import EditPlan
from sa3_daw.generation.events import AudioChunk, Event, Progress, TakeMade
from sa3_daw.generation.gate import OutputGate, check_latents
from sa3_daw.generation.heard import Heard
from sa3_daw.generation.model import LoadedModel
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.generation.rolls import Roll, beat_score
from sa3_daw.generation.take_audio import Audio, TakeAudio
from sa3_daw.generation.timing import Timings
from sa3_daw.generation.work_source import WorkSource
from sa3_daw.job import Job

DRAFT_SHARE = 0.6
"""A draft is the clean estimate after this share of the steps, rounded up. Measured with nano (12 steps): after 6 it
lies farther from the take than another seed does, after 8 nearer."""


@dataclass(frozen=True)
class Pass:
    """One way over the clip: its plan, what it starts from, and how it is sampled."""

    plan: EditPlan
    source: WorkSource | None
    sampling: Sampling


@dataclass(frozen=True)
class Take:
    """One roll, sampled: the pass that made it, its latents, its noise for what follows, its way out."""

    roll: Roll
    made_by: Pass
    latents_DT: Tensor
    noise: SeededNoise
    delivery: Delivery


class Studio:
    """One job's model with its adapters on, text and progress."""

    def __init__(
        self, job: Job, model: LoadedModel, adapted: Adapted, text: Text, heard: Heard, timings: Timings, num_steps: int
    ) -> None:
        self._job, self._model, self._adapted, self._text, self._timings = job, model, adapted, text, timings
        self._heard = heard
        self._num_steps, self._steps_done = num_steps, 0

    def make(self, first: Pass, rolls: Sequence[Roll]) -> Generator[Event, None, list[Take]]:
        """Sample a batch of rolls; a take that nothing is done to afterwards is handed out window by window."""
        noise = SeededNoise([roll.seed for roll in rolls])
        deliveries = [self._delivery(first, roll) for roll in rolls]
        streams = self._job.best_of == 1 and first.plan.job.loop == self._job.loop
        latents_BDT = yield from self._sample(first, rolls, noise, deliveries, streams=streams)
        return [
            Take(roll, first, latents_BDT[index], noise.of_item(index), deliveries[index])
            for index, roll in enumerate(rolls)
        ]

    def close_joint(self, plan: EditPlan, take: Take) -> Generator[Event, None, Take]:
        """Make the joint of a loop, with the take itself as the source."""
        audio = np.concatenate(list(self._audio(take)), axis=1)
        joint = Pass(plan, WorkSource(audio, 0, plan), replace(take.made_by.sampling, start_t=1.0))
        delivery = self._delivery(joint, take.roll)
        latents_BDT = yield from self._sample(joint, [take.roll], take.noise, [delivery], streams=False)
        return Take(take.roll, joint, latents_BDT[0], take.noise, delivery)

    def best(self, rolled: Sequence[Take]) -> Take:
        """Return the roll whose beats lie best on the grid."""
        if len(rolled) == 1:
            return rolled[0]
        with self._timings.stage("decoding"):
            return max(rolled, key=lambda take: beat_score(self._job, self._audio(take)))

    def deliver(self, take: Take) -> Generator[Event, None, TakeMade]:
        """Hand out what of a take was not yet, and its report."""
        yield from self._chunks(take.delivery, take.latents_DT, take.made_by.plan.grid.num_frames)
        with self._timings.stage("decoding"):
            report = take.delivery.finish(take.latents_DT, take.roll.seed)
        yield report
        return report

    def _sample(
        self, way: Pass, rolls: Sequence[Roll], noise: SeededNoise, deliveries: Sequence[Delivery], *, streams: bool
    ) -> Generator[Event, None, Tensor]:
        """Sample every window of a pass and return the clip's latents; yields progress, drafts and chunks."""
        plan, sampling = way.plan, way.sampling
        canvas = Canvas(plan, self._model.same, len(rolls), way.source, self._heard)
        draft_index = math.ceil(DRAFT_SHARE * sampling.num_steps) - 1
        for number, window in enumerate(plan.windows):
            with self._timings.stage("conditioning"):
                keep_T, known_BDT = canvas.look_at(window)
                conditioning = condition(plan, self._model, self._text, window, keep_T, known_BDT)
                velocity = self._adapted.velocity(self._model.graphed, conditioning)
            steps = denoise(velocity, self._model.dit.device, sampling, noise, keep_T, known_BDT)
            for step in self._timings.timed("sampling", steps):
                self._steps_done += 1
                yield Progress("sampling", self._steps_done, self._num_steps)
                if self._job.draft and step.index == draft_index < sampling.num_steps - 1:
                    rough_BDT = canvas.with_made(window, step.denoised_BDT.cpu())
                    for roll, delivery, rough_DT in zip(rolls, deliveries, rough_BDT, strict=True):
                        if roll.attempt == 0:
                            yield from self._timings.timed("decoding", delivery.draft(rough_DT, window.end))
            with self._timings.stage("sampling"):
                made_BDT = step.x_BDT.cpu()
            for roll, made_DT in zip(rolls, made_BDT, strict=True):
                check_latents(float(made_DT.std()), roll.seed, may_be_quiet=way.source is not None)
            canvas.put(window, made_BDT)
            if len(plan.windows) > 1:
                yield Progress("windows", number + 1, len(plan.windows))
            if streams and len(rolls) == 1:
                yield from self._chunks(deliveries[0], canvas.latents_BDT[0], canvas.first_unmade())
        return canvas.latents_BDT

    def _chunks(self, delivery: Delivery, latents_DT: Tensor, made_frames: int) -> Iterator[AudioChunk]:
        return self._timings.timed("decoding", delivery.chunks(latents_DT, made_frames))

    def _delivery(self, way: Pass, roll: Roll) -> Delivery:
        return Delivery(self._job, way.plan, self._model.same, way.source, roll.variation)

    def _audio(self, take: Take) -> Iterator[Audio]:
        """Yield a take's whole clip as decoded, before any finish."""
        way = take.made_by
        audio = TakeAudio(way.plan, self._model.same, way.source, OutputGate(self._job.sample_rate))
        return audio.between(take.latents_DT, 0, way.plan.num_samples)
