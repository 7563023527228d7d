"""The transformer resampling block (TRB): patches <-> latent frames through learned query tokens.

Knows no audio and no bottleneck. Shapes: B batch, D width, L patches, T latent frames, N tokens, s stride;
one segment is one latent frame, s patch tokens and one latent token. Source: SPEC 1.2 to 1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.layers import (
    DyT,
    FeedForward,
    apply_rope,
    merge_heads,
    rope_table,
    split_heads,
    windowed_attention,
)
from sa3_daw.models.specs import SameStageSpec
from sa3_daw.models.stages import Call, Chunked, Sliding, Stage

Noise = Callable[[tuple[int, ...]], Tensor]
"""Draws unit normal noise of a shape. ``None`` where one is expected means: no noise."""

Rope = tuple[Tensor, Tensor]


class WeightNormConv1d(nn.Module):
    """Conv1d with "same" zero padding whose weight is g * v / |v| per output channel."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int) -> None:
        super().__init__()
        weight = nn.Conv1d(dim_in, dim_out, kernel).weight.detach().clone()
        norms = torch.empty(dim_out, 1, 1)
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True, out=norms))
        self.weight_v = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(dim_out))

    def forward(self, x_BDL: Tensor) -> Tensor:
        norm = self.weight_v.flatten(1).norm(dim=1)[:, None, None]
        weight = self.weight_v * (self.weight_g / norm)
        return F.conv1d(x_BDL, weight, self.bias, padding=weight.shape[-1] // 2)


class DifferentialAttention(nn.Module):
    """softmax(q k) v - softmax(q' k') v, both branches in one attention call. Source: SPEC 1.4."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(dim, 5 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        self.q_norm = DyT(head_dim)
        self.k_norm = DyT(head_dim)
        self.head_dim = head_dim
        self.attention_dtype = torch.float32

    def forward(self, x_BND: Tensor, rope: Rope, window: tuple[int, int] | None) -> Tensor:
        """``window`` bounds the reach in tokens (left, right); None attends to the whole sequence."""
        q, k, v, q2, k2 = (split_heads(part, self.head_dim) for part in self.to_qkv(x_BND).chunk(5, dim=-1))
        q = apply_rope(self.q_norm(torch.cat((q, q2), dim=1)), rope)
        k = apply_rope(self.k_norm(torch.cat((k, k2), dim=1)), rope)
        q, k, values = (part.to(self.attention_dtype) for part in (q, k, torch.cat((v, v), dim=1)))
        both = windowed_attention(q, k, values, *window) if window else F.scaled_dot_product_attention(q, k, values)
        plus, minus = both.to(v.dtype).chunk(2, dim=1)
        result: Tensor = self.to_out(merge_heads(plus - minus))
        return result


class ResamplingLayer(nn.Module):
    """Pre-norm transformer layer of SAME."""

    def __init__(self, spec: SameStageSpec, sinusoidal: bool) -> None:
        super().__init__()
        self.pre_norm = DyT(spec.width)
        self.self_attn = DifferentialAttention(spec.width, spec.head_dim)
        self.ff_norm = DyT(spec.width)
        self.ff = FeedForward(spec.width, spec.ff_mult * spec.width, sinusoidal)

    def forward(self, x_BND: Tensor, rope: Rope, window: tuple[int, int] | None) -> Tensor:
        x_BND = x_BND + self.self_attn(self.pre_norm(x_BND), rope, window)
        return x_BND + self.ff(self.ff_norm(x_BND))


class ResamplingBlock(nn.Module):
    """One TRB. ``down`` turns patches into latent frames, ``up`` the reverse; a block is built for one of them."""

    def __init__(self, spec: SameStageSpec, dim_in: int, dim_out: int, is_decoder: bool) -> None:
        super().__init__()
        self.spec = spec
        self.new_tokens = nn.Parameter(torch.randn(1, 1, spec.width).mul_(1e-5))
        self.mapping = WeightNormConv1d(dim_in, dim_out, spec.mapping_kernel)
        first_sinusoidal = spec.depth - spec.num_sinusoidal + 1 if is_decoder else spec.depth
        self.transformers = nn.ModuleList(
            ResamplingLayer(spec, sinusoidal=index >= first_sinusoidal) for index in range(spec.depth)
        )

    def down(self, patches_BQL: Tensor, noise: Noise | None) -> Tensor:
        """[B, patch_dim, L] -> [B, D, T]; L is whole chunks (SAME-S) or whole frames (SAME-L)."""
        stride = self.spec.stride
        x_BDL = self.mapping(patches_BQL)
        segments = rearrange(x_BDL, "b d (t s) -> (b t) s d", s=stride)
        segments = torch.cat((segments, self._queries(segments.shape[0], 1, noise)), dim=1)
        tokens = self._transform(rearrange(segments, "(b t) u d -> b (t u) d", b=patches_BQL.shape[0]))
        return rearrange(tokens, "b (t u) d -> b d t u", u=stride + 1)[..., -1]

    def up(self, x_BDT: Tensor, noise: Noise | None) -> Tensor:
        """[B, D, T] -> [B, patch_dim, T*s]; T is padded to whole chunks inside and cropped again."""
        mapped: Tensor = self.mapping(self.patches_of(self._transform(self.tokens_of(x_BDT, noise))))
        return mapped[..., : x_BDT.shape[-1] * self.spec.stride]

    def tokens_of(self, x_BDT: Tensor, noise: Noise | None) -> Tensor:
        """[B, D, T] -> [B, N, D]: each frame, padded to whole chunks of them, before the queries of its patches."""
        stride = self.spec.stride
        x_BDT = F.pad(x_BDT, (0, -x_BDT.shape[-1] % max(1, self.spec.chunk_patches // stride)))
        latents = rearrange(x_BDT, "b d t -> (b t) 1 d")
        segments = torch.cat((latents, self._queries(latents.shape[0], stride, noise)), dim=1)
        return rearrange(segments, "(b t) u d -> b (t u) d", b=x_BDT.shape[0])

    def patches_of(self, tokens_BND: Tensor) -> Tensor:
        """[B, N, D] of whole segments -> [B, D, L]: what became of the queries of ``tokens_of``."""
        patches = rearrange(tokens_BND, "b (t u) d -> b d t u", u=self.spec.stride + 1)[..., 1:]
        return rearrange(patches, "b d t s -> b d (t s)")

    def stages(self) -> list[Stage]:
        """Return the transformer as fresh stages for tokens [B, N, D] that come in pieces of whole chunks."""
        spec = self.spec

        @cache
        def rope(num_tokens: int) -> Rope:
            return rope_table(num_tokens, spec.head_dim // 2, self.new_tokens.device)

        def applied(layers: nn.ModuleList, window: tuple[int, int] | None) -> Call:
            def call(tokens_BND: Tensor) -> Tensor:
                for layer in layers:
                    tokens_BND = layer(tokens_BND, rope(tokens_BND.shape[1]), window)
                return tokens_BND

            return call

        if not spec.chunk_patches:
            left, right = (frames * (spec.stride + 1) for frames in spec.window_frames)
            single = [self.transformers[index : index + 1] for index in range(spec.depth)]
            return [Sliding(applied(layers, (left, right)), left, right, axis=1) for layers in single]
        chunk = spec.chunk_patches + spec.chunk_patches // spec.stride
        unshifted = spec.depth // 2 if spec.midpoint_shift else spec.depth
        halves = self.transformers[:unshifted], self.transformers[unshifted:]
        shifts = (0, chunk // 2) if spec.midpoint_shift else (0,)
        return [Chunked(applied(half, None), chunk, shift) for half, shift in zip(halves, shifts, strict=False)]

    def _queries(self, num_segments: int, count: int, noise: Noise | None) -> Tensor:
        queries = self.new_tokens.expand(num_segments, count, -1)
        if noise is not None and self.spec.token_noise > 0:
            queries = queries + self.spec.token_noise * noise((num_segments, count, self.spec.width))
        return queries

    def _transform(self, tokens_BND: Tensor) -> Tensor:
        for stage in self.stages():
            tokens_BND = stage.push(tokens_BND, is_last=True)
        return tokens_BND
