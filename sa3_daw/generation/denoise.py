"""One window from noise to latents: velocity, guidance, sampler, schedule. Knows no audio and no clip.

Shapes: B batch, D latent channels, T latent frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_daw.generation.noise import SeededNoise
from sa3_daw.job import Job
from sa3_daw.models.gpu import paced, sent
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
    lowest_level: float = 0.0

    @classmethod
    def of(cls, job: Job, spec: ModelSpec) -> Sampling:
        scale = job.guidance_scale or spec.default_guidance_scale
        guidance = Guidance(scale) if job.apg_scale is None else Guidance(scale, job.apg_scale)
        return cls(
            job.sampler or spec.sampler, job.steps or spec.default_steps, guidance, job.noise_level, spec.lowest_level
        )


def denoise(
    velocity: Velocity,
    device: torch.device,
    sampling: Sampling,
    noise: SeededNoise,
    keep_T: Tensor,
    known_BDT: Tensor,
) -> Iterator[Step]:
    """Yield the sampler's steps, all on ``device``, the DiT's; the last one's ``x`` is the result.

    Below noise level 1 the frames to make start from ``known_BDT``. In kept frames the velocity is the exact one,
    towards the known latents, so every sampler carries them at their true noise level and ends on them. No value
    is read back from a GPU: noise is drawn on the CPU and follows by itself.
    """
    _, dim, num_frames = known_BDT.shape

    def draw() -> Tensor:
        return sent(noise.draw(dim, num_frames), device)

    has_kept = bool(keep_T.any())
    keep_T, known_BDT, fresh = keep_T.to(device), known_BDT.to(device), draw()
    start = known_BDT if sampling.start_t < 1 else known_BDT * keep_T
    x_BDT = torch.lerp(start, fresh, sampling.start_t)
    grid = t_grid(sampling.num_steps, LogSNRShift(), torch.tensor(float(num_frames)), sampling.start_t)
    if sampling.lowest_level:
        velocity = not_below(velocity, sampling.lowest_level)
    if sampling.guidance.scale != 1.0:
        velocity = guided(velocity, sampling.guidance)
    if has_kept:
        velocity = towards_known(velocity, keep_T.bool(), known_BDT)
    return paced(sampler_steps(sampling.sampler, velocity, x_BDT, grid, draw), device)


def not_below(velocity: Velocity, lowest_level: float) -> Velocity:
    """Return a velocity that tells the model no lower noise level than that: further down it is anything."""
    return lambda x_BDT, t_B: velocity(x_BDT, t_B.clamp(min=lowest_level))


def guided(velocity: Velocity, guidance: Guidance) -> Velocity:
    """Return the guided velocity; both halves go through the DiT as one batch, the conditional one first."""

    def pushed(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        both = velocity(x_BDT.repeat(2, 1, 1), t_B.repeat(2))
        return guide(guidance, x_BDT, t_B, *both.chunk(2))

    return pushed


def towards_known(velocity: Velocity, kept: Tensor, known_BDT: Tensor) -> Velocity:
    """Return a velocity that is exact in the kept frames; at a noise level that float32 holds as 0 it is 0 there."""

    def exact_there(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        above_zero_B = t_B.clamp(min=torch.finfo(t_B.dtype).tiny)
        return torch.where(kept, (x_BDT - known_BDT) / above_zero_B[:, None, None], velocity(x_BDT, t_B))

    return exact_there
