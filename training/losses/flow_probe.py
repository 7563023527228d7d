"""Flow-alignment probe: a small flow model that must be able to predict the latents. Knows no audio.

Latents that a small model denoises easily are latents a DiT learns quickly. At first the probe only follows
(``detach``); later its error reaches the encoder. Source: arXiv 2605.17991 (SAME).
Shapes: B batch, D latent channels, T frames, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sa3_daw.models.conditioner import fourier_features
from sa3_daw.models.layers import FeedForward, RMSNorm, apply_rope, merge_heads, rope_table, split_heads
from sa3_training.flow.noise import gaussian

LEVEL_FEATURES = 128
HEAD_DIM = 64
NORM_EPS = 1e-5


class ProbeLayer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.ff_norm = RMSNorm(width, NORM_EPS), RMSNorm(width, NORM_EPS)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.ff = FeedForward(width, 2 * width)
        self.head_dim = min(HEAD_DIM, width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.head_dim) for part in self.to_qkv(self.norm(x_BTW)).chunk(3, dim=-1))
        rope = rope_table(x_BTW.shape[1], self.head_dim // 2, x_BTW.device)
        attended = nn.functional.scaled_dot_product_attention(apply_rope(q, rope), apply_rope(k, rope), v)
        x_BTW = x_BTW + self.to_out(merge_heads(attended))
        return x_BTW + self.ff(self.ff_norm(x_BTW))


class FlowProbe(nn.Module):
    """Predicts v = noise - latents from noised latents; its last layer starts at zero, so v starts at 0."""

    def __init__(self, latent_dim: int, width: int = 768, depth: int = 4) -> None:
        super().__init__()
        self.project_in = nn.Linear(latent_dim, width)
        self.level = nn.Linear(LEVEL_FEATURES, width)
        self.layers = nn.ModuleList(ProbeLayer(width) for _ in range(depth))
        self.project_out = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.project_out.weight)
        nn.init.zeros_(self.project_out.bias)

    def forward(self, x_BDT: Tensor, t_B: Tensor) -> Tensor:
        x_BTW = self.project_in(x_BDT.transpose(1, 2)) + self.level(fourier_features(t_B, LEVEL_FEATURES))[:, None]
        for layer in self.layers:
            x_BTW = layer(x_BTW)
        return self.project_out(x_BTW).transpose(1, 2)


def probe_loss(probe: FlowProbe, latents_BDT: Tensor, *, detach: bool, generator: torch.Generator) -> Tensor:
    """Return the probe's squared velocity error; with ``detach`` the encoder gets no gradient from it."""
    data = latents_BDT.detach() if detach else latents_BDT
    noise = gaussian(data.shape, generator, data.device)
    t = torch.rand(len(data), generator=generator).to(data.device)
    velocity = probe(torch.lerp(data, noise, t[:, None, None]), t)
    return (velocity - (noise - data)).square().mean()
