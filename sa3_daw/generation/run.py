"""ONE request in a straight line: condition, sample, decode, resample, cut. Knows no socket and no queue.

Shapes: B batch, C channels, S samples, D latent channels, T latent frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from sa3_daw.audio.ops import fade_edges
from sa3_daw.audio.resample import StreamResampler, covering_samples
from sa3_daw.generation.adapters import Adapted, PreparedAt
from sa3_daw.generation.beat_grid import beat_grid
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.events import AudioChunk, Event, Finished, Progress, TakeMade
from sa3_daw.generation.gate import OutputGate, check_latents
from sa3_daw.generation.latent_grid import LatentGrid
from sa3_daw.generation.model import LoadedModel
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job, Region
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.music.timeline import TempoMap
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import Step, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, t_grid


def run(job: Job, model: LoadedModel, store: SourceStore | None = None) -> Iterator[Event]:
    """Generate one clip. A job with a source needs the ``store`` that holds it.

    Yields Progress before the first and after every sampler step, then AudioChunks in time order whose
    lengths sum to exactly ``job.num_samples``, then TakeMade and Finished. Closing the iterator cancels: nothing runs
    beyond the current step or chunk. The result depends on the job alone; noise comes from
    ``job.seed`` on the CPU. Raises BadOutput, OutOfMemory (as MemoryError from torch's allocator).
    """
    started = perf_counter()
    spec = model.spec
    yield Progress("conditioning", 0, 1)
    grid = LatentGrid.covering(covering_samples(job.num_samples, job.sample_rate, spec.sample_rate), spec)
    guidance = Guidance(job.guidance_scale, spec.default_apg_scale if job.apg_scale is None else job.apg_scale)
    with model.adapters.use(job.adapters) as adapted:
        prepared_at = condition(job, model, adapted, grid, guidance)
        conditioned = perf_counter()
        yield Progress("conditioning", 1, 1)
        generator = torch.Generator().manual_seed(job.seed)
        noise_BDT = torch.randn(1, spec.dit.latent_dim, grid.num_frames, generator=generator)
        latents_BDT = noise_BDT
        for step in sample(job, model, prepared_at, noise_BDT, guidance, generator):
            latents_BDT = step.x_BDT
            yield Progress("sampling", step.index + 1, job.steps)
    check_latents(float(latents_BDT.std()), job.seed)
    sampled = perf_counter()
    gate = OutputGate()
    yield from deliver(job, model, grid, latents_BDT, gate)
    peak_db, rms_db = gate.finish()
    timings = {
        "conditioning": conditioned - started,
        "sampling": sampled - conditioned,
        "decoding": perf_counter() - sampled,
    }
    yield TakeMade(0, job.seed, job.num_samples, peak_db, rms_db, None, None, None, (Region(0, job.num_samples),))
    yield Finished(job.num_samples, peak_db, rms_db, timings)


@torch.inference_mode()
def condition(job: Job, model: LoadedModel, adapted: Adapted, grid: LatentGrid, guidance: Guidance) -> PreparedAt:
    """Prepare the DiT's conditioning; with guidance the batch is two, conditional first.

    Nothing is kept (keep-mask all 0), so every frame is generated.
    """
    spec = model.spec
    seconds = torch.tensor([grid.num_samples / spec.sample_rate])
    states, mask = model.text_encoder.encode([job.prompt], spec.conditioning.max_tokens)
    context, global_ = model.conditioner(states, mask, seconds)
    local = torch.zeros(1, spec.dit.local_dim, grid.num_frames)
    if spec.conditioning.beat_grid_dim:
        start_seconds = job.start_sample / job.sample_rate - grid.lead_samples / spec.sample_rate
        features = beat_grid(
            TempoMap(job.tempo_map), start_seconds, grid.num_frames, spec.samples_per_frame / spec.sample_rate
        )
        local[0, -spec.conditioning.beat_grid_dim :] = torch.from_numpy(features)
    if guidance.scale != 1.0:
        if job.negative_prompt:
            states, mask = model.text_encoder.encode([job.negative_prompt], spec.conditioning.max_tokens)
            negative = model.conditioner.negative_context(states, mask, seconds)
        else:
            negative = torch.zeros_like(context)
        context = torch.cat((context, negative))
        global_, local = global_.expand(2, -1), local.expand(2, -1, -1)
    return adapted.prepare(model.dit, Conditioning(context, global_, local))


def sample(
    job: Job,
    model: LoadedModel,
    prepared_at: PreparedAt,
    noise_BDT: Tensor,
    guidance: Guidance,
    generator: torch.Generator,
) -> Iterator[Step]:
    """Return the job's sampler over the model's default schedule, from pure noise."""
    grid = t_grid(job.steps, LogSNRShift(), torch.tensor(float(noise_BDT.shape[-1])))
    velocity = guided(model, prepared_at, guidance)
    name = job.sampler or model.spec.sampler
    return sampler_steps(name, velocity, noise_BDT, grid, lambda: torch.randn(noise_BDT.shape, generator=generator))


def guided(model: LoadedModel, prepared_at: PreparedAt, guidance: Guidance) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the velocity function; with guidance both halves go through the DiT as one batch of two."""

    @torch.inference_mode()
    def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        prepared = prepared_at(t_B)
        if guidance.scale == 1.0:
            plain: Tensor = model.dit(x_BDT, t_B, prepared)
            return plain
        both = model.dit(x_BDT.expand(2, -1, -1), t_B.expand(2), prepared)
        return guide(guidance, x_BDT, t_B, both[:1], both[1:])

    return velocity


def deliver(
    job: Job, model: LoadedModel, grid: LatentGrid, latents_BDT: Tensor, gate: OutputGate
) -> Iterator[AudioChunk]:
    """Decode in time order, drop the lead, resample once to the job's rate, cut to the exact length, fade its edges."""
    resampler = StreamResampler(model.spec.sample_rate, job.sample_rate, 2)
    position, end = -grid.lead_samples, grid.num_samples
    sent = 0
    for audio in decode_stream(model.same, latents_BDT, grid.clip_end_frame, model.spec.sample_rate):
        piece = audio[0, :, max(0, -position) : end - position].numpy()
        position += audio.shape[-1]
        gate.add(piece)
        chunk = resampler.process(piece)
        if position >= end:
            chunk = np.concatenate((chunk, resampler.finish()), axis=1)
        chunk = chunk[:, : job.num_samples - sent]
        if chunk.shape[1]:
            yield AudioChunk(sent, fade_edges(chunk, sent, job.num_samples, job.sample_rate))
            sent += chunk.shape[1]
    assert sent == job.num_samples, f"{sent} of {job.num_samples} samples delivered"
