"""A SAME decoder whose latents come piece by piece: the audio of the one-shot decode, with nothing computed twice.

Knows no plan of pieces, no sample rate and no noise. Shapes: B batch, D latent channels, T frames, C audio channels,
S samples.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sa3_daw.models.patching import patch, unpatch
from sa3_daw.models.same import Decoder, Same
from sa3_daw.models.shaping import REACH_PATCHES, shape
from sa3_daw.models.stages import Sliding, Stage


class TransformerPath:
    """The decoder's resampling block, stage by stage."""

    def __init__(self, decoder: Decoder) -> None:
        block, stage = decoder.block, decoder.spec.decoder
        reach = stage.mapping_kernel // 2
        self._decoder, self._segment = decoder, stage.stride + 1
        self._stages = block.stages()
        self._mapping = Sliding(block.mapping, reach, reach, axis=-1)
        self._kept = block.new_tokens[:, :0]

    def push(self, latents_BDT: Tensor, is_last: bool) -> Tensor:
        decoder = self._decoder
        tokens = decoder.block.tokens_of(decoder.project(latents_BDT), None)
        for stage in self._stages:
            tokens = stage.push(tokens, is_last)
        tokens = torch.cat((self._kept.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        whole = tokens.shape[1] // self._segment * self._segment
        self._kept = tokens[:, whole:].clone()
        patches = decoder.block.patches_of(tokens[:, :whole])
        return self._mapping.push(patches, is_last)


class DecodeStream:
    """Takes the frames of one clip in consecutive pieces of whole alignments and returns the audio they settle."""

    def __init__(self, same: Same) -> None:
        self._same, decoder, spec = same, same.decoder, same.decoder.spec
        self._paths: list[Stage] = []
        self._to_audio: Stage = Sliding(
            partial(unpatch, patch_samples=spec.patch_samples), 0, 0, -1, spec.patch_samples
        )
        if spec.decoder.lapped:
            self._paths.append(Sliding(self._lapped_patches, 1, 1, axis=-1, rate=spec.decoder.stride))
        if spec.decoder.depth:
            self._paths.append(TransformerPath(decoder))
        if len(self._paths) > 1:
            self._to_audio = Sliding(self._shape, REACH_PATCHES, REACH_PATCHES, axis=-1, rate=spec.patch_samples)
        self._held: list[Tensor] = []

    def push(self, latents_BDT: Tensor, is_last: bool) -> Tensor:
        """Return the next samples [B, C, S]; after the last piece perhaps padding's as well."""
        moved_BDT = self._same.bottleneck.decode(latents_BDT.to(self._same.bottleneck.bias.device), None)
        made = [path.push(moved_BDT, is_last) for path in self._paths]
        if self._held:
            made = [torch.cat(parts, dim=-1) for parts in zip(self._held, made, strict=True)]
        ready = min(part.shape[-1] for part in made)
        self._held = [part[..., ready:].clone() for part in made]
        settled = torch.cat([part[..., :ready] for part in made], dim=1)
        return self._to_audio.push(settled, is_last).to(latents_BDT.device)

    def _lapped_patches(self, latents_BDT: Tensor) -> Tensor:
        return patch(self._same.decoder.lapped(latents_BDT), self._same.spec.patch_samples)

    def _shape(self, patches_BQL: Tensor) -> Tensor:
        carrier, log_gains = patches_BQL.chunk(2, dim=1)
        patch_samples = self._same.spec.patch_samples
        return shape(unpatch(carrier, patch_samples), log_gains, patch_samples)
