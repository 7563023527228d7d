"""From noise to audio, lap by lap, in CPU-seconds. Knows no table and no file."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import torch
from torch import Tensor

from benchmarks.sizes import Models, Sizes
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.sampling.samplers import Velocity, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, t_grid

SAMPLE_RATE = 44100
HEADROOM_SECONDS = 6.0
NUM_STEPS = 8
TOKENS = 257
RIVAL = "diffusers"

Laps = dict[tuple[str, str], float]
"""(work, variant) -> CPU-seconds, the best of all rounds."""


class Course:
    """One length of audio and what every variant is given for it."""

    def __init__(self, sizes: Sizes, models: Models, seconds: float) -> None:
        per_frame = sizes.same.samples_per_frame
        self.num_frames = -(-round((seconds + HEADROOM_SECONDS) * SAMPLE_RATE) // per_frame)
        self.num_frames += -self.num_frames % sizes.same.frame_alignment
        self.asked_frames = -(-round(seconds * SAMPLE_RATE) // per_frame)
        self.models, self.dim = models, sizes.dit.latent_dim
        draw = torch.Generator().manual_seed(1)
        context = torch.randn(1, TOKENS, sizes.dit.cond_dim, generator=draw)
        local = torch.zeros(1, sizes.dit.local_dim, self.num_frames)
        self.given = Conditioning(context, torch.randn(1, sizes.dit.global_dim, generator=draw), local)
        self.noise = torch.randn(1, self.dim, self.num_frames, generator=draw)
        self.laps: Laps = {}
        self.latents: dict[str, Tensor] = {}

    def velocity(self, variant: str) -> Velocity:
        """Return the model as samplers call it; ours prepares the conditioning here, diffusers in every step."""
        given = self.given
        if variant != RIVAL:
            dit = self.models.ours[variant][0]
            prepared = dit.prepare(given)
            return lambda x, t: dit(x, t, prepared)

        def theirs(x: Tensor, t: Tensor) -> Tensor:
            predicted: Tensor = self.models.theirs(
                x, timestep=t, encoder_hidden_states=given.context, global_hidden_states=given.global_,
                local_add_cond=given.local,
            ).sample  # fmt: skip
            return predicted

        return theirs

    @torch.inference_mode()
    def warm_up(self, variant: str) -> None:
        """Build what the first call builds."""
        velocity = self.velocity(variant)(self.noise, torch.tensor([0.5]))
        if variant != RIVAL:
            self.models.ours[variant][1].decode(velocity[..., :4])

    @torch.inference_mode()
    def run(self, variant: str) -> None:
        """Time one step alone, then a whole generation in laps."""
        step = self.velocity(variant)
        self._lap("DiT step", variant, lambda: step(self.noise, torch.tensor([0.5])))
        latents = self._lap(f"{NUM_STEPS} steps", variant, lambda: self._sample(variant))
        self.latents[variant] = latents
        if variant == RIVAL:
            return
        same = self.models.ours[variant][1]
        pieces = decode_stream(same, latents, self.asked_frames, SAMPLE_RATE)
        first = self._lap("first chunk", variant, lambda: next(pieces))
        self._lap("other chunks", variant, lambda: torch.cat([first[..., :0], *pieces], dim=-1))
        if variant == "fp32":
            self._lap("decode all", variant, lambda: same.decode(latents))

    def _sample(self, variant: str) -> Tensor:
        noise = SeededNoise((1,))
        grid = t_grid(NUM_STEPS, LogSNRShift(), torch.tensor(float(self.num_frames)))
        velocity = self.velocity(variant)
        steps = sampler_steps("pingpong", velocity, self.noise, grid, lambda: noise.draw(self.dim, self.num_frames))
        *_, last = steps
        return last.x_BDT

    def _lap(self, work: str, variant: str, call: Callable[[], Tensor]) -> Tensor:
        started = process_time()
        result = call()
        seconds = process_time() - started
        self.laps[work, variant] = min(seconds, self.laps.get((work, variant), seconds))
        return result
