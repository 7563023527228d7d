"""Muon for matrices beside AdamW for the rest, and an exponential moving average. Knows no model and no data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sa3_training.sharding import spread_like, whole

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that pushes all singular values near 1 (Jordan et al., Muon, 2024)."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return ``matrix`` with its singular values moved near 1."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, whole matrices at a time; for the weights inside a network."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalise(whole(parameter.grad.lerp(buffer, group["momentum"])))
                shape_scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.add_(spread_like(update, parameter), alpha=-group["lr"] * shape_scale)


def optimisers(module: nn.Module, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Split a module's trainable parameters: Linear matrices inside to Muon, everything else to AdamW."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = {
        id(child.weight) for child in module.modules() if isinstance(child, nn.Linear) and child.weight.requires_grad
    }
    return [
        Muon([p for p in trainable if id(p) in matrices], lr=muon_lr),
        torch.optim.AdamW(
            [p for p in trainable if id(p) not in matrices], lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0
        ),
    ]


def set_share(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Scale the learning rate of every group to ``share`` of the one it started with."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = share * group["initial_lr"]


def trapezoid(progress: float, warm_up: float = 0.02, decay: float = 0.4) -> float:
    """Learning-rate share at ``progress`` in [0, 1]: linear warm-up, flat, linear decay to 2 %."""
    return max(0.02, min(1.0, progress / warm_up, (1 - progress) / decay))


class Ema:
    """Exponential moving average of a module's state, with the usual warm-up of its horizon."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.state = {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present state."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        for key, tensor in module.state_dict().items():
            self.state[key].lerp_(tensor, 1 - decay)
