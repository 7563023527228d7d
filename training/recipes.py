"""Recipes: complete, frozen descriptions of what is trained. Knows no loop."""

from __future__ import annotations

from typing import Any

from sa3_daw.generation.beat_grid import BEAT_GRID_DIM
from sa3_training.data import MAX_TOKENS

NANO_FRAME_SAMPLES = 2048
NANO_LATENT_DIM = 192
NANO_WHITENING = 0.5
TEXT_DIM = 384


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
        "transformer_depths": [4],
        "sinusoidal_blocks": [0],
        "conv_mapping": True,
        "polarity_equivariant": True,
    }
    dit = {
        "io_channels": NANO_LATENT_DIM,
        "embed_dim": 256,
        "depth": 8,
        "num_heads": 4,
        "cond_token_dim": TEXT_DIM,
        "global_cond_dim": TEXT_DIM,
        "local_add_cond_dim": 1 + NANO_LATENT_DIM + BEAT_GRID_DIM,
        "global_cond_type": "adaLN",
        "timestep_features_type": "expo",
        "timestep_features_dim": 256,
        "attn_kwargs": {"qk_norm": "rms", "differential": False},
        "norm_type": "rms_norm",
        "norm_kwargs": {"force_fp32": True},
        "ff_kwargs": {"mult": 3.0},
        "num_memory_tokens": 16,
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
