"""Minibatch optimal transport: which noise goes with which clip. Knows no model. Source: SPEC 8.3.

Pairing near noise with near data straightens the paths the model has to learn: Tong et al., arXiv 2302.00482; the plan:
Cuturi, arXiv 1306.0895. B batch, D channels, T frames.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SINKHORN_ROUNDS = 20


def couple(data_BDT: Tensor, noise_BDT: Tensor) -> Tensor:
    """Return the noise, its items reordered so that each lies near its clip; one clip alone keeps its own."""
    if len(data_BDT) < 2:
        return noise_BDT
    return noise_BDT[assignment(squared_distances(data_BDT, noise_BDT))]


def squared_distances(data_BDT: Tensor, noise_BDT: Tensor) -> Tensor:
    """Return the squared distance of every clip (rows) to every noise (columns)."""
    data, noise = data_BDT.flatten(1), noise_BDT.flatten(1)
    return data.square().sum(1)[:, None] + noise.square().sum(1)[None] - 2 * data @ noise.T


def sinkhorn(cost_BB: Tensor, rounds: int = SINKHORN_ROUNDS) -> Tensor:
    """Return the log of a transport plan: rows and columns normalised in turn."""
    log_plan = -cost_BB / cost_BB.mean().clamp(min=1e-12)
    for _ in range(rounds):
        log_plan = log_plan - torch.logsumexp(log_plan, dim=1, keepdim=True)
        log_plan = log_plan - torch.logsumexp(log_plan, dim=0, keepdim=True)
    return log_plan


def assignment(cost_BB: Tensor) -> Tensor:
    """Return for every row its column: the likeliest of the plan that no earlier row has taken.

    The rows are gone through on the CPU: a GPU would be asked hundreds of times in a row for one number.
    """
    plan = sinkhorn(cost_BB.double()).cpu().numpy()
    chosen = []
    for row in plan:
        column = int(row.argmax())
        chosen.append(column)
        plan[:, column] = -np.inf
    return torch.tensor(chosen, device=cost_BB.device)
