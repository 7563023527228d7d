"""Contrastive critic: which latents, which audio features and which text belong together. Knows no autoencoder.

Three small towers into one space; every pair of towers must find its own among the batch. Source: arXiv 2605.17991
(SAME); the loss: van den Oord et al., arXiv 1807.03748, both ways as in arXiv 2103.00020. Shapes: B batch, E space.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.07


def info_nce(a_BE: Tensor, b_BE: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the symmetric contrastive loss of unit vectors: log B when none can be told apart, 0 when all can."""
    logits = a_BE @ b_BE.T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class Tower(nn.Module):
    """Frames [B, D, T] (or vectors [B, D]) -> one unit vector [B, E]: mean and spread over time, then two layers."""

    def __init__(self, dim: int, space: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * dim, 2 * space), nn.SiLU(), nn.Linear(2 * space, space))

    def forward(self, x: Tensor) -> Tensor:
        frames = x if x.dim() == 3 else x[..., None]
        spread = torch.sqrt(frames.var(-1, unbiased=False) + 1e-6)
        return F.normalize(self.layers(torch.cat((frames.mean(-1), spread), dim=1)), dim=1)


class Critic(nn.Module):
    """The towers of latents, audio features and text states."""

    def __init__(self, latent_dim: int, feature_dim: int, text_dim: int, space: int = 128) -> None:
        super().__init__()
        self.towers = nn.ModuleList((Tower(latent_dim, space), Tower(feature_dim, space), Tower(text_dim, space)))

    def forward(self, latents_BDT: Tensor, features_BFT: Tensor, text_BDL: Tensor) -> Tensor:
        """Return the mean contrastive loss over the three pairs."""
        points = [tower(x) for tower, x in zip(self.towers, (latents_BDT, features_BFT, text_BDL), strict=True)]
        return torch.stack([info_nce(a, b) for a, b in combinations(points, 2)]).mean()
