"""Recipes: complete, frozen descriptions of what is trained. Knows no loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sa3_daw.generation.beat_grid import BEAT_GRID_DIM
from sa3_training.data import MAX_TOKENS
from sa3_training.loop import LoopRecipe
from sa3_training.train_dit import Lengths
from sa3_training.train_same import CropRecipe

NANO_FRAME_SAMPLES = 2048
NANO_LATENT_DIM = 128
NANO_WHITENING = 0.5
NANO_DECODER_DEPTH = 0
"""Transformer layers of the decoder. 0: the lapped path alone (docs/experiments.md tells why)."""

TEXT_DIM = 384


@dataclass(frozen=True)
class NanoRecipe:
    """Everything that decides nano's weights, besides the sound font. Seeds are corpus seeds, disjoint by use."""

    fit_seeds: range
    clip_seeds: range
    clip_frames: int
    long_seeds: range
    long_frames: int
    decoder_seeds: range
    decoder_clip_seconds: float
    crop: CropRecipe
    decoder: LoopRecipe
    lengths: Lengths
    dit: LoopRecipe


def nano() -> NanoRecipe:
    """Return the recipe for two cores and about an hour: 23 h of short clips, 13 h of half-minute ones."""
    return NanoRecipe(
        fit_seeds=range(0, 700),
        clip_seeds=range(0, 8000),
        clip_frames=220,
        long_seeds=range(20_000, 21_500),
        long_frames=650,
        decoder_seeds=range(30_000, 30_300),
        decoder_clip_seconds=9.0,
        crop=CropRecipe(),
        decoder=LoopRecipe(minutes=18, muon_lr=2e-2, adam_lr=2e-3, ema=0.998, seed=0),
        lengths=((96, 16), (96, 16), (160, 10), (160, 10), (216, 8), (648, 3)),
        dit=LoopRecipe(minutes=45, muon_lr=2e-2, adam_lr=2e-3, ema=0.998, seed=0),
    )


def nano_config() -> dict[str, Any]:
    """Return nano's ``model_config.json`` in the published format; ``sa3_daw`` holds our own defaults."""
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
        "transformer_depths": [NANO_DECODER_DEPTH],
        "sinusoidal_blocks": [0],
        "conv_mapping": True,
    }
    dit = {
        "io_channels": NANO_LATENT_DIM,
        "embed_dim": 192,
        "depth": 6,
        "num_heads": 3,
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
        "sample_size": 48 * 44100,
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
                "diffusion_objective": "rectified_flow",
                "cross_attention_cond_ids": ["prompt", "seconds_total"],
                "global_cond_ids": ["seconds_total"],
                "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input", "beat_grid"],
                "config": dit,
            },
            "io_channels": NANO_LATENT_DIM,
        },
        "sa3_daw": {"steps": 12, "guidance_scale": 3.0, "headroom_seconds": 0.0},
    }
