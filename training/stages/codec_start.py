"""How nano's autoencoder starts: the closed form frozen, the transformer path beside it silent. Knows no loop.

The closed form alone reconstructs what its few numbers can hold; a transformer path learns what else the corpus makes
likely. docs/experiments.md tells what such paths did so far, and why nano's own recipe leaves it out.
"""

from __future__ import annotations

from torch import nn

from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec
from sa3_training.lapped import LappedTransform


def new_same(spec: SameSpec, transform: LappedTransform) -> Same:
    """Return an autoencoder whose lapped path is the closed form, frozen, and whose transformer path is silent."""
    same = Same(spec)
    same.encoder.lapped.weight.data.copy_(transform.analysis)
    same.decoder.lapped.weight.data.copy_(transform.synthesis)
    for frozen in (same.encoder, same.bottleneck, same.decoder.lapped):
        frozen.requires_grad_(False)
    for key, parameter in same.decoder.named_parameters():
        if key.endswith("new_tokens"):
            nn.init.normal_(parameter, std=0.02)
        elif key.endswith(("to_out.weight", "ff.ff.2.weight", "ff.ff.2.bias")):
            nn.init.zeros_(parameter)
        elif key.endswith("alpha"):
            # The published 4 saturates the norms of a random network; 1 trains from the first step.
            nn.init.constant_(parameter, 1.0)
        elif key.endswith("mapping.weight_g"):
            nn.init.constant_(parameter, 1e-3)
    return same
