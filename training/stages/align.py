"""Training of a pair of embedders on the run's own clips and captions: a small CLAP, for where none can be had.

Knows no generator, no files and no arguments. Captions that stand twice in a batch count as strangers to each other,
so the loss of a folder with few captions ends above zero. Source: CLAP, Wu et al., arXiv 2211.06687, in small.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sa3_training.data.crops import on_device
from sa3_training.loop import Draw, Learner, LoopRecipe, Numbers, Stage, plain_stage
from sa3_training.losses.alignment import Alignment, LatentListener, TextReader
from sa3_training.losses.contrastive import info_nce
from sa3_training.stages.dit import Batches
from sa3_training.world import World


@dataclass(frozen=True)
class AlignRecipe:
    """Sizes and learning rate of the pair."""

    width: int = 128
    space: int = 64
    learning_rate: float = 1e-3


class Embedders(nn.Module):
    """What listens and what reads."""

    def __init__(self, latent_dim: int, text_dim: int, recipe: AlignRecipe) -> None:
        super().__init__()
        self.clips = LatentListener(latent_dim, recipe.width, recipe.space)
        self.texts = TextReader(text_dim, recipe.space)

    def frozen(self, weight: float) -> Alignment:
        """Return the pair as a term of another training."""
        self.requires_grad_(False).eval()
        return Alignment(self.clips, self.texts, weight)


def align_stage(pair: Embedders, batches: Batches, recipe: AlignRecipe, loop: LoopRecipe, world: World) -> Stage:
    """Return the stage of the learner ``pair``: every clip must find its caption among the batch, and back."""

    def loss(draw: Draw) -> tuple[Tensor, Numbers]:
        batch = on_device(batches(draw), world.device)
        return info_nce(pair.clips(batch.latents_BDT), pair.texts(batch.states_BLD, batch.mask_BL)), {}

    optimiser = torch.optim.AdamW(pair.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    return plain_stage(Learner(pair, [optimiser]), loss, loop, world, "pair")
