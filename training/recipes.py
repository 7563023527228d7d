"""Recipes: complete, frozen descriptions of how nano is made. Knows no loop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from sa3_daw.generation.beat_grid import BEAT_GRID_DIM
from sa3_training.corpus.seeds import CHOOSING, JUDGE_TEACHING
from sa3_training.data.corpus_pool import MAX_TOKENS, Lengths
from sa3_training.flow.loss import FlowRecipe
from sa3_training.loop import LoopRecipe
from sa3_training.stages.decoder import DecoderRecipe
from sa3_training.stages.dit import DitRecipe
from sa3_training.stages.guidance import GuidanceRecipe
from sa3_training.stages.post import PostRecipe
from sa3_training.stages.warmup import WarmUpRecipe

NANO_FRAME_SAMPLES = 2048
NANO_LATENT_DIM = 128
NANO_WHITENING = 0.5
NANO_FLOW = FlowRecipe(kept_weight=0.1, high_share=0.5)
"""Generation holds kept frames exactly, so a small model need not spend itself on copying them. Half of the levels are
drawn high, where a note's phases are decided and more than half of the sampler's steps lie."""

TEXT_DIM = 384
HEAD_DIM = 64

NO_END = 10**9
"""Steps of a stage that only its minutes end."""


@dataclass(frozen=True)
class NanoSize:
    """Widths and depths. ``decoder_depth`` 0 is the lapped path alone."""

    dit_width: int
    dit_depth: int
    decoder_depth: int


@dataclass(frozen=True)
class NanoRecipe:
    """Everything that decides nano's weights, besides the sound font. ``corpus/seeds.py`` says which are for what."""

    size: NanoSize
    fit_seeds: range
    clip_seeds: range
    solo_seeds: range
    clip_frames: int
    long_seeds: range
    long_frames: int
    held_out_seeds: range
    lengths: Lengths
    dit: DitRecipe
    dit_loop: LoopRecipe
    guidance: GuidanceRecipe
    guidance_loop: LoopRecipe
    decoder: DecoderRecipe
    decoder_clips: int
    """How many clips of either short pool the decoder learns from."""
    decoder_loop: LoopRecipe
    warm_up: WarmUpRecipe
    warm_up_loop: LoopRecipe
    post: PostRecipe
    post_loop: LoopRecipe
    judge_teaching_seeds: range
    judge_seeds: int
    """Clips per prompt by which the finished candidates are compared."""


def nano() -> NanoRecipe:
    """Return the recipe for two idle cores and about four hours: 25 h of short clips, 13 h of half-minute ones."""
    return NanoRecipe(
        size=NanoSize(dit_width=192, dit_depth=6, decoder_depth=2),
        fit_seeds=range(0, 700),
        clip_seeds=range(0, 6000),
        solo_seeds=range(500_000, 503_000),
        clip_frames=220,
        long_seeds=range(20_000, 21_500),
        long_frames=650,
        held_out_seeds=CHOOSING,
        lengths=Lengths(shortest_frames=48, longest_frames=648, frames_per_batch=1760),
        dit=DitRecipe(flow=NANO_FLOW),
        dit_loop=minutes(120),
        guidance=GuidanceRecipe(),
        guidance_loop=minutes(9),
        decoder=DecoderRecipe(),
        decoder_clips=160,
        decoder_loop=minutes(35),
        warm_up=WarmUpRecipe(guidance_scale=3.0),
        warm_up_loop=minutes(20),
        post=PostRecipe(),
        post_loop=minutes(30),
        judge_teaching_seeds=JUDGE_TEACHING,
        judge_seeds=12,
    )


def nano_on_gpu() -> NanoRecipe:
    """Return the recipe for one GPU and about half an hour besides rendering: a larger DiT, a learned decoder."""
    return NanoRecipe(
        size=NanoSize(dit_width=384, dit_depth=8, decoder_depth=4),
        fit_seeds=range(0, 700),
        clip_seeds=range(0, 12_000),
        solo_seeds=range(500_000, 506_000),
        clip_frames=220,
        long_seeds=range(20_000, 23_000),
        long_frames=650,
        held_out_seeds=CHOOSING,
        lengths=Lengths(shortest_frames=48, longest_frames=648, frames_per_batch=32_768),
        dit=DitRecipe(flow=NANO_FLOW),
        dit_loop=minutes(12),
        guidance=GuidanceRecipe(),
        guidance_loop=minutes(2),
        decoder=DecoderRecipe(batch_size=64),
        decoder_clips=600,
        decoder_loop=minutes(6),
        warm_up=WarmUpRecipe(guidance_scale=3.0),
        warm_up_loop=minutes(3),
        post=PostRecipe(),
        post_loop=minutes(4),
        judge_teaching_seeds=JUDGE_TEACHING,
        judge_seeds=24,
    )


def minutes(count: float) -> LoopRecipe:
    """Return a loop that its time alone ends."""
    return LoopRecipe(num_steps=NO_END, minutes=count)


class Sampled(Enum):
    """Objective, steps and guidance by default: with guidance, with its guidance learned, or by ping-pong."""

    GUIDED = ("rectified_flow", 12, 3.0)
    UNGUIDED = ("rectified_flow", 10, 1.0)
    DISTILLED = ("rf_denoiser", 8, 1.0)


def nano_config(size: NanoSize, sampled: Sampled = Sampled.GUIDED) -> dict[str, Any]:
    """Return nano's ``model_config.json`` in the published format; ``sa3_daw`` holds our own defaults."""
    objective, steps, scale = sampled.value
    stage = {
        "channels": 192,
        "c_mults": [1],
        "strides": [8],
        "latent_dim": NANO_LATENT_DIM,
        "dim_heads": 64,
        "differential": True,
        "variable_stride": True,
        "dyt": True,
        "chunk_size": 16,
        "chunk_midpoint_shift": True,
        "mask_noise": 0.0,
        "lapped": True,
    }
    encoder = {**stage, "in_channels": 512, "transformer_depths": [0], "conv_mapping": False}
    decoder = {
        **stage,
        "out_channels": 512,
        "transformer_depths": [size.decoder_depth],
        "sinusoidal_blocks": [0],
        "conv_mapping": True,
    }
    dit = {
        "io_channels": NANO_LATENT_DIM,
        "embed_dim": size.dit_width,
        "depth": size.dit_depth,
        "num_heads": size.dit_width // HEAD_DIM,
        "cond_token_dim": TEXT_DIM,
        "global_cond_dim": TEXT_DIM,
        "local_add_cond_dim": 1 + NANO_LATENT_DIM + BEAT_GRID_DIM,
        "global_cond_type": "adaLN",
        "timestep_features_type": "expo",
        "timestep_features_dim": 256,
        "attn_kwargs": {"qk_norm": "rms", "differential": False},
        "norm_type": "rms_norm",
        "norm_kwargs": {"force_fp32": True},
        "ff_kwargs": {"mult": 2.0},
        "num_memory_tokens": 4,
    }
    return {
        "model_type": "diffusion_cond_inpaint",
        "sample_rate": 44100,
        "sample_size": 32 * 44100,
        "audio_channels": 2,
        "model": {
            "pretransform": {
                "type": "autoencoder",
                "config": {
                    "encoder": {"type": "taae_v2", "config": encoder},
                    "decoder": {"type": "taae_v2", "config": decoder},
                    "bottleneck": {"type": "softnorm", "config": {"dim": NANO_LATENT_DIM, "auto_scale": True}},
                    "latent_dim": NANO_LATENT_DIM,
                    "downsampling_ratio": NANO_FRAME_SAMPLES,
                    "io_channels": 2,
                    "pretransform": {"type": "patched", "config": {"patch_size": 256, "channels": 2}},
                },
            },
            "conditioning": {
                "cond_dim": TEXT_DIM,
                "configs": [
                    {
                        "id": "prompt",
                        "type": "minilm",
                        "config": {"max_length": MAX_TOKENS, "padding_mode": "learned"},
                    },
                    {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 64}},
                ],
            },
            "diffusion": {
                "type": "dit",
                "diffusion_objective": objective,
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input", "beat_grid"],
                "config": dit,
            },
            "io_channels": NANO_LATENT_DIM,
        },
        "sa3_daw": {"steps": steps, "guidance_scale": scale, "headroom_seconds": 0.0, "lowest_level": 0.05},
    }
