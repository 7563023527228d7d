"""One clip's steps and its decoding, in CPU-seconds. Knows no table and no other variant."""

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
from sa3_daw.sampling.samplers import Velocity, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, t_grid

SAMPLE_RATE = 44100
HEADROOM_SECONDS = 6.0
NUM_STEPS = 8
TOKENS = 257
WARM_UP_FRAMES = 32
PLAIN = "fp32"
RIVAL = "diffusers"


@torch.inference_mode()
def measure_steps(sizes: Sizes, folder: Path, seconds: float, variant: str, num_steps: int) -> dict[str, float]:
    """Sample one clip's latents and return CPU-seconds by work: "DiT step" is the quickest, "sampling" all "steps".

    The plain variant leaves its latents in ``folder``; others state their "SNR dB".
    """
    torch.set_num_threads(1)
    num_frames = clip_frames(sizes, seconds)[1]
    model = _model(sizes, folder, variant)
    started = process_time()
    model(_conditioning(sizes, WARM_UP_FRAMES))(torch.ones(1, sizes.dit.latent_dim, WARM_UP_FRAMES), torch.ones(1))
    laps = {"first call": process_time() - started}

    def timed(velocity: Velocity) -> Velocity:
        def step(x_BDT: Tensor, t_B: Tensor) -> Tensor:
            started = process_time()
            made = velocity(x_BDT, t_B)
            laps["DiT step"] = min(process_time() - started, laps.get("DiT step", float("inf")))
            return made

        return step

    started = process_time()
    noise, dim = SeededNoise((1,)), sizes.dit.latent_dim
    velocity = timed(model(_conditioning(sizes, num_frames)))
    grid = t_grid(num_steps, LogSNRShift(), torch.tensor(float(num_frames)))

    def draw() -> Tensor:
        return noise.draw(dim, num_frames)

    *_, last = sampler_steps("pingpong", velocity, draw(), grid, draw)
    laps |= {"sampling": process_time() - started, "steps": num_steps}
    kept = folder / f"latents-{seconds:g}.pt"
    if variant == PLAIN:
        torch.save(last.x_BDT, kept)
    else:
        laps["SNR dB"] = snr_db(torch.load(kept, weights_only=True), last.x_BDT)
    return laps


@torch.inference_mode()
def measure_decode(sizes: Sizes, folder: Path, seconds: float, way: str) -> dict[str, float]:
    """Decode the latents that the plain variant left: "all at once" with their headroom, or in pieces.

    All at once leaves what was asked for in ``folder``; the other ways state their "SNR dB" to it.
    """
    torch.set_num_threads(1)
    variant, _, manner = way.rpartition(", ")
    same = load_mapped(sizes, folder, variant)[1]
    latents = torch.load(folder / f"latents-{seconds:g}.pt", weights_only=True)
    asked_frames, kept = clip_frames(sizes, seconds)[0], folder / f"audio-{seconds:g}.pt"
    for _ in range(2):  # the first call in pieces compiles, or learns that lengths differ
        for piece in decode_stream(same, latents[..., :WARM_UP_FRAMES], WARM_UP_FRAMES // 2, SAMPLE_RATE):
            del piece
    started = process_time()
    if manner == "all at once":
        whole = same.decode(latents)
        taken = process_time() - started
        torch.save(whole[..., : asked_frames * sizes.same.samples_per_frame].clone(), kept)
        return {"first audio": taken, "decode": taken}
    pieces = decode_stream(same, latents, asked_frames, SAMPLE_RATE)
    made = [next(pieces)]
    first = process_time() - started
    made += pieces
    laps = {"first audio": first, "decode": process_time() - started}
    return laps | {"SNR dB": snr_db(torch.load(kept, weights_only=True), torch.cat(made, dim=-1))}


def clip_frames(sizes: Sizes, seconds: float) -> tuple[int, int]:
    """Return the frames that a clip's audio asks for, and with headroom those that are sampled."""
    per_frame = sizes.same.samples_per_frame
    sampled = -(-round((seconds + HEADROOM_SECONDS) * SAMPLE_RATE) // per_frame)
    return -(-round(seconds * SAMPLE_RATE) // per_frame), sampled + -sampled % sizes.same.frame_alignment


def _model(sizes: Sizes, folder: Path, variant: str) -> Callable[[Conditioning], Velocity]:
    """Return what makes a velocity of conditioning: ours prepares it once a clip, diffusers in every step."""
    if variant == RIVAL:
        from tests.test_against_diffusers import dit_pair

        theirs = dit_pair(sizes.dit)[1]
        return lambda given: lambda x, t: theirs(
            x, timestep=t, encoder_hidden_states=given.context, global_hidden_states=given.global_,
            local_add_cond=given.local,
        ).sample  # fmt: skip
    dit = load_mapped(sizes, folder, variant)[0]

    def ours(given: Conditioning) -> Velocity:
        prepared = dit.prepare(given)
        return lambda x, t: dit(x, t, prepared)

    return ours


def _conditioning(sizes: Sizes, num_frames: int) -> Conditioning:
    draw = torch.Generator().manual_seed(1)
    context = torch.randn(1, TOKENS, sizes.dit.cond_dim, generator=draw)
    global_ = torch.randn(1, sizes.dit.global_dim, generator=draw)
    return Conditioning(context, global_, torch.zeros(1, sizes.dit.local_dim, num_frames))


def snr_db(exact: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (exact - other).square().mean()))
