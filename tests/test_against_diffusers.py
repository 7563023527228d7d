"""diffusers as an independent oracle: the same random weights through its blocks and ours, full width, two layers.

What it cannot stand for: SAME-S (it has no chunked attention and no convolution over patches), padding masks, chunked
decoding, guidance, schedules, adapters. docs/models.md keeps the measured agreement and the known deviations.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.same import Same
from sa3_daw.models.specs import DiTSpec, SameSpec, dit_spec, same_spec
from tests.test_published_models import shallow

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:torch.nn.utils.weight_norm")

NUM_FRAMES = 10
SAME_TOLERANCE = 1e-5
"""Largest error over the largest value; measured 4e-7 encoding and 7e-7 decoding."""
DIT_TOLERANCE = 2e-5
"""As above; measured 3e-6 (small), 4e-6 (medium): diffusers' block norms have epsilon 1e-6, published 1e-5."""

SAME_NAMES = (
    (r"encoder\.layers\.0\.", "encoder.blocks.0."), (r"encoder\.layers\.2\.", "encoder.proj."),
    (r"decoder\.layers\.3\.", "decoder.blocks.0."), (r"decoder\.layers\.1\.", "decoder.proj."),
    (r"\.pre_norm\.", ".norm_attn."), (r"\.ff_norm\.", ".norm_ff."), (r"\.self_attn\.", ".attn."),
    (r"\.ff\.ff\.0\.proj\.", ".ff.proj_in."), (r"\.ff\.ff\.2\.", ".ff.proj_out."),
    (r"bottleneck\.scaling_factor", "bottleneck.scale"),
)  # fmt: skip
DIT_NAMES = (
    (r"^transformer\.layers\.", "transformer_blocks."), (r"^transformer\.project_in\.", "proj_in."),
    (r"^transformer\.project_out\.", "proj_out."), (r"^transformer\.", ""),
    (r"\.ff\.ff\.0\.proj\.", ".ff.proj_in."), (r"\.ff\.ff\.2\.", ".ff.proj_out."),
)  # fmt: skip


def randomised(module: nn.Module) -> nn.Module:
    """Give every parameter values of a trained model's size, those that start at zero or one included."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("gamma", "weight_g", "scaling_factor")):
            parameter.data = 1 + 0.1 * noise
        elif parameter.dim() >= 2 and not name.endswith(("new_tokens", "memory_tokens")):
            parameter.data = noise / parameter[0].numel() ** 0.5
        else:
            parameter.data = 0.5 * noise
    return module.requires_grad_(False).eval()


def their_names(state: dict[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def q_k_pairs_first(weight: Tensor) -> Tensor:
    """Rows q | k | v | q' | k' as diffusers orders them: q | q' | k | k' | v."""
    q, k, v, q2, k2 = weight.chunk(5)
    return torch.cat((q, q2, k, k2, v))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def same_pair(spec: SameSpec) -> tuple[Same, Any]:
    from diffusers import AutoencoderSAME

    ours = randomised(Same(spec))
    encoder, decoder = spec.encoder, spec.decoder
    theirs = AutoencoderSAME(
        audio_channels=spec.audio_channels, patch_size=spec.patch_samples, encoder_channels=encoder.width,
        encoder_c_mults=(1,), encoder_strides=(encoder.stride,), encoder_transformer_depths=(encoder.depth,),
        latent_dim=spec.latent_dim, dim_heads=encoder.head_dim, ff_mult=encoder.ff_mult,
        sliding_window=encoder.window_frames[0], decoder_sinusoidal_blocks=(decoder.num_sinusoidal,),
    )  # fmt: skip
    state = their_names(ours.state_dict(), SAME_NAMES)
    del state["bottleneck.noise_scaling_factor"]  # has no element
    for key in [key for key in state if key.endswith("to_qkv.weight")]:
        state[key] = q_k_pairs_first(state[key])
    theirs.load_state_dict(state, strict=True)
    assert isinstance(ours, Same)
    return ours, theirs.eval()


@torch.no_grad()
def test_same_l_encodes_and_decodes_like_diffusers() -> None:
    config = shallow("SAME-L", depth=2)["model"]
    config["decoder"]["config"]["sinusoidal_blocks"] = [2]  # as published, one layer fewer than the number says
    ours, theirs = same_pair(same_spec(config))
    audio = torch.randn(2, 2, NUM_FRAMES * 4096, generator=torch.Generator().manual_seed(1)) * 0.3
    latents = ours.encode(audio)
    assert relative_error(latents, theirs.encode(audio).latents) < SAME_TOLERANCE
    assert relative_error(ours.decode(latents), theirs.decode(latents).sample) < SAME_TOLERANCE


def dit_pair(spec: DiTSpec) -> tuple[DiT, Any]:
    from diffusers.models.transformers.transformer_stable_audio3 import StableAudio3DiTModel

    ours = randomised(DiT(spec))
    theirs = StableAudio3DiTModel(
        io_channels=spec.latent_dim, embed_dim=spec.width, depth=spec.depth, num_heads=spec.num_heads,
        cond_token_dim=spec.cond_dim, global_cond_dim=spec.global_dim, local_add_cond_dim=spec.local_dim,
        timestep_features_dim=spec.timestep_dim, ff_mult=spec.ff_mult, num_memory_tokens=spec.num_memory_tokens,
        use_differential_attention=spec.differential,
    )  # fmt: skip
    state = their_names(ours.state_dict(), DIT_NAMES)
    if spec.differential:
        for key in [key for key in state if key.endswith("self_attn.to_qkv.weight")]:
            state[key] = q_k_pairs_first(state[key])
    state |= {key: theirs.state_dict()[key] for key in ("prompt_padding_embedding", "rotary_pos_emb.inv_freq")}
    theirs.load_state_dict(state, strict=True)
    assert isinstance(ours, DiT)
    return ours, theirs.eval()


@pytest.mark.parametrize("name", ["stable-audio-3-small-music", "stable-audio-3-medium"])
@pytest.mark.parametrize("with_local", [True, False])
@torch.no_grad()
def test_both_forms_of_the_dit_predict_what_diffusers_predicts(name: str, with_local: bool) -> None:
    spec = dit_spec(shallow(name, depth=2)["model"]["diffusion"]["config"])
    ours, theirs = dit_pair(spec)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, spec.latent_dim, NUM_FRAMES, generator=generator)
    context = torch.randn(2, 257, spec.cond_dim, generator=generator)
    global_ = torch.randn(2, spec.global_dim, generator=generator)
    local = torch.randn(2, spec.local_dim, NUM_FRAMES, generator=generator) if with_local else None
    t = torch.tensor([0.83, 0.27])
    velocity = ours(x, t, ours.prepare(Conditioning(context, global_, local)))
    expected = theirs(
        x, timestep=t, encoder_hidden_states=context, global_hidden_states=global_, local_add_cond=local
    ).sample
    assert relative_error(velocity, expected) < DIT_TOLERANCE
