"""Classifier-free guidance with adaptive projection (APG): one function of two predictions. Knows no model.

Shapes: B batch, D latent channels, T latent frames. Source: SPEC 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """How strongly the conditional prediction is pushed away from the unconditional one.

    ``scale`` 1 is off. ``apg`` 1 keeps only the part of the push orthogonal to the prediction, 0 all of
    it (plain guidance). ``norm_threshold`` > 0 caps the push's norm, ``rescale`` in [0, 1] pulls the
    velocity's spread back to the conditional one's. Active while ``interval`` contains t.
    """

    scale: float = 1.0
    apg: float = 1.0
    norm_threshold: float = 0.0
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)

    def is_active(self, t: float) -> bool:
        """Say whether the unconditional prediction is needed at noise level ``t``."""
        return self.scale != 1.0 and self.interval[0] <= t <= self.interval[1]


def guide(
    guidance: Guidance,
    x_BDT: Tensor,
    t_B: Tensor,
    v_cond_BDT: Tensor,
    v_uncond_BDT: Tensor,
    valid_BT: Tensor | None = None,
) -> Tensor:
    """Return the guided velocity; ``valid_BT`` keeps padding out of the norms and projections."""
    t = t_B[:, None, None].to(x_BDT.dtype)
    x0_cond = x_BDT - t * v_cond_BDT
    push = x0_cond - (x_BDT - t * v_uncond_BDT)
    valid = 1.0 if valid_BT is None else valid_BT[:, None].to(x_BDT.dtype)
    if guidance.norm_threshold > 0:
        norm = (push * valid).norm(dim=(-2, -1), keepdim=True)
        push = push * (guidance.norm_threshold / norm).clamp(max=1.0)
    if guidance.apg > 0:
        across = (push - _projection(push, x0_cond * valid)) * valid
        push = guidance.apg * across + (1 - guidance.apg) * push
    v = (x_BDT - x0_cond - (guidance.scale - 1) * push) / t
    if guidance.rescale > 0:
        matched = v * v_cond_BDT.std(dim=1, keepdim=True) / v.std(dim=1, keepdim=True)
        v = guidance.rescale * matched + (1 - guidance.rescale) * v
    return v


def _projection(push: Tensor, onto: Tensor) -> Tensor:
    """Project per item over channels and time, in float32."""
    unit = torch.nn.functional.normalize(onto.float().flatten(1), dim=1)
    along = (push.float().flatten(1) * unit).sum(dim=1, keepdim=True) * unit
    return along.view_as(push).to(push.dtype)
