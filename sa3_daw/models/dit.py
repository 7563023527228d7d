"""The diffusion transformer: noisy latents, a noise level and conditioning -> velocity. Knows no sampler.

Shapes: B batch, D latent channels, T latent frames, W width, H heads, E head channels, N tokens = memory
tokens + T, L context tokens. Attribute names are the published checkpoint's key names. Source: SPEC 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.conditioner import Conditioning, features_at, fourier_frequencies
from sa3_daw.models.layers import (
    FeedForward,
    RMSNorm,
    apply_rope,
    merge_heads,
    mlp,
    rope_at,
    rope_inv_freq,
    split_heads,
)
from sa3_daw.models.specs import DiTSpec

BLOCK_NORM_EPS = 1e-5
QK_NORM_EPS = 1e-6
MIN_ROPE_DIM = 32


@dataclass(frozen=True)
class BlockInputs:
    """What one block needs besides the tokens and does not change between steps."""

    keys_values: tuple[Tensor, Tensor] | None
    local_BNW: Tensor | None


@dataclass(frozen=True)
class Prepared:
    """The step-invariant part of the conditioning, computed once per job by ``DiT.prepare``."""

    global_BW: Tensor
    blocks: tuple[BlockInputs, ...]
    time_frequencies: Tensor
    rope_inv_freq: Tensor


class SelfAttention(nn.Module):
    """Attention with QK-norm and partial RoPE; the differential form subtracts a second softmax branch."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.branches = 2 if spec.differential else 1
        self.to_qkv = nn.Linear(spec.width, (2 * self.branches + 1) * spec.width, bias=False)
        self.to_out = nn.Linear(spec.width, spec.width, bias=False)
        self.q_norm = RMSNorm(spec.head_dim, QK_NORM_EPS)
        self.k_norm = RMSNorm(spec.head_dim, QK_NORM_EPS)
        self.head_dim = spec.head_dim
        self.attention_dtype = torch.float32

    def forward(self, x_BNW: Tensor, rope: tuple[Tensor, Tensor], valid_BN: Tensor | None) -> Tensor:
        parts = [split_heads(p, self.head_dim) for p in self.to_qkv(x_BNW).split(x_BNW.shape[-1], dim=-1)]
        q = torch.cat(parts[0::3], dim=1)  # q | k | v [| q' | k']
        k = torch.cat(parts[1::3], dim=1)
        q = apply_rope(self.q_norm(q), rope)
        k = apply_rope(self.k_norm(k), rope)
        mask = None if valid_BN is None else valid_BN[:, None, None, :]
        result: Tensor = self.to_out(_attend(q, k, parts[2], self.branches, mask, self.attention_dtype))
        return result


class CrossAttention(nn.Module):
    """Attention on the context, which is never masked. Differential order: q | q', k | k' | v."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.branches = 2 if spec.differential else 1
        self.to_q = nn.Linear(spec.width, self.branches * spec.width, bias=False)
        self.to_kv = nn.Linear(spec.width, (self.branches + 1) * spec.width, bias=False)
        self.to_out = nn.Linear(spec.width, spec.width, bias=False)
        self.q_norm = RMSNorm(spec.head_dim, QK_NORM_EPS)
        self.k_norm = RMSNorm(spec.head_dim, QK_NORM_EPS)
        self.head_dim = spec.head_dim
        self.attention_dtype = torch.float32

    def keys_values(self, context_BLW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the step-invariant keys and values, [B, branches*H, L, E] and [B, H, L, E]."""
        *keys, values = self.to_kv(context_BLW).split(context_BLW.shape[-1], dim=-1)
        k = torch.cat([split_heads(key, self.head_dim) for key in keys], dim=1)
        return self.k_norm(k), split_heads(values, self.head_dim)

    def forward(self, x_BNW: Tensor, keys_values: tuple[Tensor, Tensor]) -> Tensor:
        queries = self.to_q(x_BNW).split(x_BNW.shape[-1], dim=-1)
        q = self.q_norm(torch.cat([split_heads(query, self.head_dim) for query in queries], dim=1))
        result: Tensor = self.to_out(_attend(q, *keys_values, self.branches, None, self.attention_dtype))
        return result


def _attend(q: Tensor, k: Tensor, v: Tensor, branches: int, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Attend in ``dtype``; the branches of the differential form are subtracted in the input's."""
    values = v if branches == 1 else torch.cat((v, v), dim=1)
    made = F.scaled_dot_product_attention(q.to(dtype), k.to(dtype), values.to(dtype), attn_mask=mask).to(q.dtype)
    if branches == 1:
        return merge_heads(made)
    plus, minus = made.chunk(2, dim=1)
    return merge_heads(plus - minus)


class Block(nn.Module):
    """One DiT block: modulated self-attention, cross-attention, local addition, modulated feed-forward."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.pre_norm = RMSNorm(spec.width, BLOCK_NORM_EPS)
        self.self_attn = SelfAttention(spec)
        self.cross_attend_norm = RMSNorm(spec.width, BLOCK_NORM_EPS)
        self.cross_attn = CrossAttention(spec)
        self.to_local_embed = mlp(spec.local_dim, spec.width, spec.width, bias=True)
        self.ff_norm = RMSNorm(spec.width, BLOCK_NORM_EPS)
        self.ff = FeedForward(spec.width, int(spec.ff_mult * spec.width))
        self.to_scale_shift_gate = nn.Parameter(torch.randn(6 * spec.width).div_(spec.width**0.5))

    def forward(
        self,
        x_BNW: Tensor,
        modulation_BM: Tensor,
        inputs: BlockInputs,
        rope: tuple[Tensor, Tensor],
        valid_BN: Tensor | None,
    ) -> Tensor:
        modulation = (self.to_scale_shift_gate + modulation_BM)[:, None]
        scale_a, shift_a, gate_a, scale_f, shift_f, gate_f = modulation.chunk(6, dim=-1)
        attended = self.self_attn(self.pre_norm(x_BNW) * (1 + scale_a) + shift_a, rope, valid_BN)
        x_BNW = x_BNW + torch.sigmoid(1 - gate_a) * _only_valid(attended, valid_BN)
        if inputs.keys_values is not None:
            x_BNW = x_BNW + self.cross_attn(self.cross_attend_norm(x_BNW), inputs.keys_values)
        if inputs.local_BNW is not None:
            x_BNW = x_BNW + inputs.local_BNW
        fed = self.ff(self.ff_norm(x_BNW) * (1 + scale_f) + shift_f)
        return x_BNW + torch.sigmoid(1 - gate_f) * _only_valid(fed, valid_BN)


def _only_valid(x_BNW: Tensor, valid_BN: Tensor | None) -> Tensor:
    return x_BNW if valid_BN is None else x_BNW * valid_BN[..., None].to(x_BNW.dtype)


class Transformer(nn.Module):
    """The stack of blocks with its memory tokens and the shared AdaLN-single embedder."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.project_in = nn.Linear(spec.latent_dim, spec.width, bias=False)
        self.project_out = nn.Linear(spec.width, spec.latent_dim, bias=False)
        self.memory_tokens = nn.Parameter(torch.randn(spec.num_memory_tokens, spec.width))
        self.global_cond_embedder = mlp(spec.width, spec.width, 6 * spec.width, bias=True)
        self.layers = nn.ModuleList(Block(spec) for _ in range(spec.depth))

    def blocks(self) -> Iterator[Block]:
        """Iterate over the blocks with their type, which ModuleList loses."""
        for block in self.layers:
            assert isinstance(block, Block)
            yield block


class DiT(nn.Module):
    """Predicts velocity v = noise - data at noise level t (1 noise, 0 data)."""

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.spec = spec
        self.to_timestep_embed = mlp(spec.timestep_dim, spec.width, spec.width, bias=True)
        self.to_cond_embed = mlp(spec.cond_dim, spec.width, spec.width, bias=False)
        self.to_global_embed = mlp(spec.global_dim, spec.width, spec.width, bias=False)
        self.preprocess_conv = nn.Conv1d(spec.latent_dim, spec.latent_dim, 1, bias=False)
        self.postprocess_conv = nn.Conv1d(spec.latent_dim, spec.latent_dim, 1, bias=False)
        self.transformer = Transformer(spec)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.memory_tokens.device

    def prepare(self, conditioning: Conditioning) -> Prepared:
        """Compute everything that no step changes: context keys and values, local and global embeddings."""
        device = self.device
        context = conditioning.context
        context = None if context is None else self.to_cond_embed(context.to(device))
        blocks = []
        for block in self.transformer.blocks():
            keys_values = None if context is None else block.cross_attn.keys_values(context)
            local = conditioning.local
            if local is not None:
                local = block.to_local_embed(local.to(device).transpose(1, 2))
                local = F.pad(local, (0, 0, self.spec.num_memory_tokens, 0))
            blocks.append(BlockInputs(keys_values, local))
        return Prepared(
            global_BW=self.to_global_embed(conditioning.global_.to(device)),
            blocks=tuple(blocks),
            time_frequencies=fourier_frequencies(self.spec.timestep_dim).to(device),
            rope_inv_freq=rope_inv_freq(max(self.spec.head_dim // 2, MIN_ROPE_DIM)).to(device),
        )

    def forward(self, x_BDT: Tensor, t_B: Tensor, prepared: Prepared, valid_BT: Tensor | None = None) -> Tensor:
        """Return the velocity, [B, D, T]. ``t_B`` stays float32 up to its Fourier features.

        ``valid_BT`` False marks padding: it is no key for anyone, so valid frames never depend on it.
        The answer lies where ``x_BDT`` does, whatever device the weights are on.
        """
        spec, stack = self.spec, self.transformer
        asked_from, device = x_BDT.device, self.device
        x_BDT, t_B = x_BDT.to(device), t_B.to(device)
        features = features_at(t_B, prepared.time_frequencies).to(x_BDT.dtype)
        modulation = stack.global_cond_embedder(prepared.global_BW + self.to_timestep_embed(features))
        x_BDT = x_BDT + self.preprocess_conv(x_BDT)
        tokens = stack.project_in(x_BDT.transpose(1, 2))
        memory = stack.memory_tokens.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat((memory, tokens), dim=1)
        valid_BN = None if valid_BT is None else F.pad(valid_BT.to(device), (spec.num_memory_tokens, 0), value=True)
        rope = rope_at(tokens.shape[1], prepared.rope_inv_freq)
        for block, inputs in zip(stack.blocks(), prepared.blocks, strict=True):
            tokens = block(tokens, modulation, inputs, rope, valid_BN)
        v_BDT: Tensor = stack.project_out(tokens[:, spec.num_memory_tokens :]).transpose(1, 2)
        return (v_BDT + self.postprocess_conv(v_BDT)).to(asked_from)
