"""The original's padding without flash-attention, to replay what was recorded that way. Knows no fixture.

There, padded frames stay keys: only their values are zero, so they take part of the softmax's mass. Ours masks them
(docs/models.md); nothing but conformance ever runs like this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.dit import DiT


@contextmanager
def values_zeroed(dit: DiT, valid_BT: Tensor) -> Iterator[None]:
    """Zero the self-attention values of padded frames, in every block, while the block lasts."""
    valid_BN1 = F.pad(valid_BT, (dit.spec.num_memory_tokens, 0), value=True)[..., None]

    def zero_values(layer: nn.Module, inputs: tuple[Tensor, ...], qkv: Tensor) -> Tensor:
        width = dit.spec.width
        qkv = qkv.clone()
        qkv[..., 2 * width : 3 * width] *= valid_BN1  # q | k | v [| q' | k']
        return qkv

    hooks = [block.self_attn.to_qkv.register_forward_hook(zero_values) for block in dit.transformer.blocks()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
