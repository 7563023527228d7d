"""One window from noise to latents: velocity, guidance, sampler, schedule. Knows no audio and no clip.

Shapes: B batch, D latent channels, T latent frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_daw.generation.adapters import PreparedAt
from sa3_daw.generation.model import LoadedModel
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.job import Job
from sa3_daw.models.specs import ModelSpec
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import Step, Velocity, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, t_grid


@dataclass(frozen=True)
class Sampling:
    """How to sample, the model's defaults filled in."""

    sampler: str
    num_steps: int
    guidance: Guidance
    start_t: float

    @classmethod
    def of(cls, job: Job, spec: ModelSpec) -> Sampling:
        scale = job.guidance_scale or spec.default_guidance_scale
        guidance = Guidance(scale) if job.apg_scale is None else Guidance(scale, job.apg_scale)
        return cls(job.sampler or spec.sampler, job.steps or spec.default_steps, guidance, job.noise_level)


def denoise(
    model: LoadedModel,
    prepared_at: PreparedAt,
    sampling: Sampling,
    noise: SeededNoise,
    keep_T: Tensor,
    known_BDT: Tensor,
) -> Iterator[Step]:
    """Yield the sampler's steps; the last one's ``x`` is the result.

    Below noise level 1 the frames to make start from ``known_BDT``. In kept frames the velocity is the exact one,
    towards the known latents, so every sampler carries them at their true noise level and ends on them.
    """
    _, dim, num_frames = known_BDT.shape
    fresh = noise.draw(dim, num_frames)
    start = known_BDT if sampling.start_t < 1 else known_BDT * keep_T
    x_BDT = torch.lerp(start, fresh, sampling.start_t)
    grid = t_grid(sampling.num_steps, LogSNRShift(), torch.tensor(float(num_frames)), sampling.start_t)
    velocity = guided(model, prepared_at, sampling.guidance, keep_T, known_BDT)
    return sampler_steps(sampling.sampler, velocity, x_BDT, grid, lambda: noise.draw(dim, num_frames))


def guided(
    model: LoadedModel, prepared_at: PreparedAt, guidance: Guidance, keep_T: Tensor, known_BDT: Tensor
) -> Velocity:
    """Return the velocity function; with guidance both halves go through the DiT as one batch."""
    kept = keep_T.bool()

    @torch.inference_mode()
    def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        if guidance.scale == 1.0:
            v_BDT: Tensor = model.dit(x_BDT, t_B, prepared_at(t_B))
        else:
            both = model.dit(x_BDT.repeat(2, 1, 1), t_B.repeat(2), prepared_at(t_B))
            v_BDT = guide(guidance, x_BDT, t_B, *both.chunk(2))
        if not kept.any():
            return v_BDT
        return torch.where(kept, (x_BDT - known_BDT) / t_B[:, None, None], v_BDT)

    return velocity
