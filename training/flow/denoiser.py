"""DiT and conditioner together, and the batch they are trained on. Knows no loss and no data source.

Shapes: B batch, D latent channels, T frames, L text tokens, G beat-grid channels. Source: SPEC 2.3, 3.1;
the beat grid is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.specs import ConditioningSpec, DiTSpec

ZEROED = (
    "attn.to_out.weight", "ff.ff.2.weight", "ff.ff.2.bias", "to_scale_shift_gate", "project_out.weight",
    "preprocess_conv.weight", "postprocess_conv.weight", "global_cond_embedder.2.weight", "global_cond_embedder.2.bias",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """What one training part sees.

    ``valid_B`` counts the real frames of each item, the rest is padding; ``source_frames_B`` is the length of the
    whole piece the item was cut from; ``seconds_B`` is the duration the model is told.
    """

    latents_BDT: Tensor
    grid_BGT: Tensor
    states_BLD: Tensor
    mask_BL: Tensor
    seconds_B: Tensor
    valid_B: Tensor
    source_frames_B: Tensor


class Denoiser(nn.Module):
    """DiT and conditioner: what is trained."""

    def __init__(self, dit: DiT, conditioner: Conditioner) -> None:
        super().__init__()
        self.dit = dit
        self.conditioner = conditioner

    @classmethod
    def new(cls, dit: DiTSpec, conditioning: ConditioningSpec) -> Denoiser:
        """Return an untrained one, which predicts no velocity."""
        denoiser = cls(DiT(dit), Conditioner(conditioning))
        initialise(denoiser.dit)
        return denoiser

    def forward(
        self,
        x_BDT: Tensor,
        t_B: Tensor,
        batch: Batch,
        keep_BT: Tensor,
        dropped_B: Tensor,
        valid_BT: Tensor | None = None,
    ) -> Tensor:
        """Return the velocity. ``keep_BT`` 1 keeps a frame as context, ``dropped_B`` True hides the text (SPEC 8.6)."""
        dtype = self.dit.transformer.memory_tokens.dtype
        context, global_ = self.conditioner(batch.states_BLD, batch.mask_BL, batch.seconds_B)
        context = torch.where(dropped_B[:, None, None], torch.zeros_like(context), context)
        keep = keep_BT[:, None]
        local = torch.cat((keep, batch.latents_BDT * keep, batch.grid_BGT), dim=1)
        conditioning = Conditioning(context.to(dtype), global_.to(dtype), local.to(dtype))
        velocity: Tensor = self.dit(x_BDT.to(dtype), t_B, self.dit.prepare(conditioning), valid_BT)
        return velocity.float()


def initialise(dit: DiT) -> None:
    """Zero what ends a residual branch or the network, so that training starts from v = 0."""
    nn.init.normal_(dit.transformer.memory_tokens, std=0.02)
    for key, parameter in dit.named_parameters():
        if key.endswith(ZEROED):
            nn.init.zeros_(parameter)
