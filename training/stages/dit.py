"""Flow-matching training of a DiT and its conditioner. Knows no audio, no files and no arguments.

Source: SPEC 8.1 to 8.6; optimisers, average and rates are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from sa3_training.data.crops import on_device
from sa3_training.flow.denoiser import Batch, Denoiser
from sa3_training.flow.loss import FlowRecipe, flow_loss
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.optim import Ema, optimisers
from sa3_training.world import World

Batches = Callable[[Draw], Batch]


@dataclass(frozen=True)
class DitRecipe:
    """Learning rates of Muon (matrices) and AdamW (the rest), the average's decay, and how noise is drawn."""

    muon_rate: float = 2e-2
    adam_rate: float = 2e-3
    ema: float = 0.998
    flow: FlowRecipe = field(default_factory=FlowRecipe)


def dit_stage(
    denoiser: Denoiser, batches: Batches, frames_per_second: float, recipe: DitRecipe, loop: LoopRecipe, world: World
) -> Stage:
    """Return the stage of the learner ``dit``."""

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        return flow_loss(
            denoiser, on_device(batches(draw), world.device), recipe.flow, frames_per_second, draw.generator()
        )

    learner = Learner(denoiser, optimisers(denoiser, recipe.muon_rate, recipe.adam_rate), Ema(denoiser, recipe.ema))
    return plain_stage(learner, loss, loop, world, "dit")
