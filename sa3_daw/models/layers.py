"""The blocks that SAME and the DiT share: norms, rotary positions, attention, gated feed-forward.

Knows no audio, no latents and no checkpoint. Attribute names are the published checkpoint's key names.
Shapes: B batch, N tokens, D width, H heads, E channels of one head.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_BASE = 10000.0


class DyT(nn.Module):
    """Dynamic tanh, SAME's norm: gamma * tanh(alpha * x) + beta. Source: SPEC 1.3."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), 4.0))
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, self.gamma, torch.tanh(self.alpha * x))


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, computed in float32. Source: SPEC 3.2."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.gamma.float(), self.eps).to(x.dtype)


def rope_table(num_positions: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin, each [num_positions, dim] float32, for half-split rotary embedding (SPEC 1.5)."""
    return rope_at(num_positions, rope_inv_freq(dim).to(device))


def rope_at(num_positions: int, inv_freq: Tensor) -> tuple[Tensor, Tensor]:
    """Return the table of these frequencies on their device.

    Always float32: in half precision the phase at position 4096 is off by 0.65 rad.
    """
    angles = torch.arange(num_positions, device=inv_freq.device, dtype=torch.float32)[:, None] * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rope_inv_freq(dim: int) -> Tensor:
    """Return the dim / 2 rotary frequencies, made on the CPU for every device; published checkpoints store them."""
    return 1.0 / ROPE_BASE ** (torch.arange(0, dim, 2, device="cpu", dtype=torch.float32) / dim)


def apply_rope(x_BHNE: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the first channels of each head (as many as the table is wide); the rest pass unchanged."""
    cos, sin = table
    dim = cos.shape[-1]
    turned, rest = x_BHNE[..., :dim].float(), x_BHNE[..., dim:]
    low, high = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-high, low), dim=-1) * sin
    return torch.cat((turned.to(rest.dtype), rest), dim=-1)


def split_heads(x_BND: Tensor, head_dim: int) -> Tensor:
    """[B, N, H*E] -> [B, H, N, E], head-major."""
    return rearrange(x_BND, "b n (h e) -> b h n e", e=head_dim)


def merge_heads(x_BHNE: Tensor) -> Tensor:
    """[B, H, N, E] -> [B, N, H*E]."""
    return rearrange(x_BHNE, "b h n e -> b n (h e)")


def windowed_attention(q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor, left: int, right: int) -> Tensor:
    """Attend to keys at most ``left`` before and ``right`` after each query, in linear memory.

    Queries go in blocks, each against only the keys it can reach; no N x N mask exists. Source: SPEC 1.4.
    """
    num_tokens = q_BHNE.shape[-2]
    block = 4 * (left + right + 1)
    outputs = []
    for start in range(0, num_tokens, block):
        stop = min(start + block, num_tokens)
        first, last = max(0, start - left), min(num_tokens, stop + right)
        distance = torch.arange(first, last, device=q_BHNE.device)[None, :]
        distance = distance - torch.arange(start, stop, device=q_BHNE.device)[:, None]
        mask = (distance >= -left) & (distance <= right)
        outputs.append(
            F.scaled_dot_product_attention(
                q_BHNE[..., start:stop, :],
                k_BHNE[..., first:last, :],
                v_BHNE[..., first:last, :],
                attn_mask=mask,
            )
        )
    return torch.cat(outputs, dim=-2)


class GatedInput(nn.Module):
    """Linear to twice the inner width; the second half gates the first with SiLU or, if asked, sin(pi x)."""

    def __init__(self, dim: int, inner: int, sinusoidal: bool) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)
        self.sinusoidal = sinusoidal

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        result: Tensor = value * (torch.sin(torch.pi * gate) if self.sinusoidal else F.silu(gate))
        return result


class FeedForward(nn.Module):
    """Gated feed-forward: D -> inner -> D, with biases. Source: SPEC 1.3, 3.2."""

    def __init__(self, dim: int, inner: int, sinusoidal: bool = False) -> None:
        super().__init__()
        self.ff = nn.Sequential(GatedInput(dim, inner, sinusoidal), nn.Identity(), nn.Linear(inner, dim))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.ff(x)
        return result


def mlp(dim_in: int, dim: int, dim_out: int, bias: bool) -> nn.Sequential:
    """Linear, SiLU, Linear: the embedders of the DiT."""
    return nn.Sequential(nn.Linear(dim_in, dim, bias=bias), nn.SiLU(), nn.Linear(dim, dim_out, bias=bias))
