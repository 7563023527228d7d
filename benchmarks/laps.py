"""One clip from noise to audio, lap by lap, in CPU-seconds. Knows no table and no other variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

from benchmarks.sizes import Sizes, load_mapped
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.same import Same
from sa3_daw.sampling.samplers import Velocity, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, t_grid

SAMPLE_RATE = 44100
HEADROOM_SECONDS = 6.0
NUM_STEPS = 8
STEPS = f"{NUM_STEPS} steps"
TOKENS = 257
WARM_UP_FRAMES = 32
PLAIN = "fp32"
RIVAL = "diffusers"


@torch.inference_mode()
def measure_clip(sizes: Sizes, folder: Path, seconds: float, variant: str) -> dict[str, float]:
    """Make one clip and return CPU-seconds by work; "DiT step" is the quickest of the clip's.

    The plain variant leaves its latents in ``folder`` and decodes them at once as well; others state their "SNR dB".
    """
    torch.set_num_threads(1)
    per_frame = sizes.same.samples_per_frame
    num_frames = -(-round((seconds + HEADROOM_SECONDS) * SAMPLE_RATE) // per_frame)
    num_frames += -num_frames % sizes.same.frame_alignment
    asked_frames = -(-round(seconds * SAMPLE_RATE) // per_frame)
    model, same = _model(sizes, folder, variant)
    started = process_time()
    model(_conditioning(sizes, WARM_UP_FRAMES))(torch.ones(1, sizes.dit.latent_dim, WARM_UP_FRAMES), torch.ones(1))
    laps = {"first call": process_time() - started}

    def lap(work: str, call: Callable[[], Tensor]) -> Tensor:
        started = process_time()
        result = call()
        laps[work] = process_time() - started
        return result

    def timed(velocity: Velocity) -> Velocity:
        def step(x_BDT: Tensor, t_B: Tensor) -> Tensor:
            started = process_time()
            made = velocity(x_BDT, t_B)
            laps["DiT step"] = min(process_time() - started, laps.get("DiT step", float("inf")))
            return made

        return step

    def sample() -> Tensor:
        noise, dim = SeededNoise((1,)), sizes.dit.latent_dim
        velocity = timed(model(_conditioning(sizes, num_frames)))
        grid = t_grid(NUM_STEPS, LogSNRShift(), torch.tensor(float(num_frames)))

        def draw() -> Tensor:
            return noise.draw(dim, num_frames)

        *_, last = sampler_steps("pingpong", velocity, draw(), grid, draw)
        return last.x_BDT

    latents = lap(STEPS, sample)
    kept = folder / f"latents-{seconds:g}.pt"
    if variant == PLAIN:
        torch.save(latents, kept)
    else:
        laps["SNR dB"] = snr_db(torch.load(kept, weights_only=True), latents)
    if same is not None:
        same.decode(latents[..., : sizes.same.frame_alignment])
        pieces = decode_stream(same, latents, asked_frames, SAMPLE_RATE)
        first = lap("first chunk", lambda: next(pieces))
        lap("other chunks", lambda: torch.cat([first[..., :0], *pieces], dim=-1))
        if variant == PLAIN:
            lap("decode all", lambda: same.decode(latents))
    return laps


def _model(sizes: Sizes, folder: Path, variant: str) -> tuple[Callable[[Conditioning], Velocity], Same | None]:
    """Return what makes a velocity of conditioning: ours prepares it once a clip, diffusers in every step."""
    if variant == RIVAL:
        from tests.test_against_diffusers import dit_pair

        theirs = dit_pair(sizes.dit)[1]
        return lambda given: lambda x, t: theirs(
            x, timestep=t, encoder_hidden_states=given.context, global_hidden_states=given.global_,
            local_add_cond=given.local,
        ).sample, None  # fmt: skip
    dit, same = load_mapped(sizes, folder, variant)

    def ours(given: Conditioning) -> Velocity:
        prepared = dit.prepare(given)
        return lambda x, t: dit(x, t, prepared)

    return ours, same


def _conditioning(sizes: Sizes, num_frames: int) -> Conditioning:
    draw = torch.Generator().manual_seed(1)
    context = torch.randn(1, TOKENS, sizes.dit.cond_dim, generator=draw)
    global_ = torch.randn(1, sizes.dit.global_dim, generator=draw)
    return Conditioning(context, global_, torch.zeros(1, sizes.dit.local_dim, num_frames))


def snr_db(exact: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (exact - other).square().mean()))
