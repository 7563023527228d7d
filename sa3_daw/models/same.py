"""SAME, the autoencoder: stereo audio <-> latent frames. Knows no files, no sample rate and no streaming.

Shapes: B batch, C audio channels, S samples, D latent channels, T latent frames, R samples in a frame.
Attribute names are the published checkpoint's key names. Source: SPEC 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.patching import patch, unpatch
from sa3_daw.models.resampling import Noise, ResamplingBlock
from sa3_daw.models.shaping import shape
from sa3_daw.models.specs import SameSpec

BOTTLENECK_NOISE = 1e-3
"""Published standard deviation of the bottleneck's decode noise in eval mode (SPEC 1.6)."""


class SoftNorm(nn.Module):
    """Soft-norm bottleneck: an affine map and one running standard deviation. Source: SPEC 1.6."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scaling_factor = nn.Parameter(torch.ones(1, dim, 1))
        self.bias = nn.Parameter(torch.zeros(1, dim, 1))
        self.noise_scaling_factor = nn.Parameter(torch.zeros(1, 0, 1))
        self.register_buffer("running_std", torch.ones(1))
        self.running_std: Tensor

    def encode(self, x_BDT: Tensor) -> Tensor:
        return (x_BDT * self.scaling_factor + self.bias) / self.running_std

    def decode(self, latents_BDT: Tensor, noise: Noise | None) -> Tensor:
        if noise is not None:
            latents_BDT = latents_BDT + BOTTLENECK_NOISE * noise(tuple(latents_BDT.shape))
        return latents_BDT * self.running_std


class Encoder(nn.Module):
    """Audio -> un-normed latents: patch, TRB, Linear; nano has the lapped linear path beside or instead."""

    def __init__(self, spec: SameSpec) -> None:
        super().__init__()
        stage = spec.encoder
        self.spec = spec
        if stage.depth:
            block = ResamplingBlock(stage, spec.patch_dim, stage.width, is_decoder=False)
            self.layers = nn.ModuleList((block, nn.Identity(), nn.Linear(stage.width, spec.latent_dim)))
        if stage.lapped:
            frame = spec.samples_per_frame
            self.lapped = nn.Conv1d(spec.audio_channels, spec.latent_dim, 2 * frame, frame, frame // 2, bias=False)

    @property
    def block(self) -> ResamplingBlock:
        """The TRB; only where the spec has one."""
        block = self.layers[0]
        assert isinstance(block, ResamplingBlock)
        return block

    def forward(self, audio_BCS: Tensor, noise: Noise | None = None) -> Tensor:
        spec = self.spec
        audio_BCS = F.pad(audio_BCS, (0, -audio_BCS.shape[-1] % (spec.samples_per_frame * spec.frame_alignment)))
        paths = []
        if spec.encoder.depth:
            x_BDT = self.block.down(patch(audio_BCS, spec.patch_samples), noise)
            paths.append(self.layers[2](x_BDT.transpose(1, 2)).transpose(1, 2))
        if spec.encoder.lapped:
            paths.append(self.lapped(audio_BCS))
        return sum(paths[1:], start=paths[0])


class Decoder(nn.Module):
    """De-normed latents -> audio: Linear, TRB, unpatch. Where nano has a lapped linear path, the TRB's patches are no
    samples but the log gains of that path's spectra."""

    def __init__(self, spec: SameSpec) -> None:
        super().__init__()
        stage = spec.decoder
        self.spec = spec
        if stage.depth:
            block = ResamplingBlock(stage, stage.width, spec.patch_dim, is_decoder=True)
            project = nn.Linear(spec.latent_dim, stage.width)
            self.layers = nn.ModuleList((nn.Identity(), project, nn.Identity(), block))
        if stage.lapped:
            frame = spec.samples_per_frame
            self.lapped = nn.ConvTranspose1d(
                spec.latent_dim, spec.audio_channels, 2 * frame, frame, frame // 2, bias=False
            )

    @property
    def block(self) -> ResamplingBlock:
        """The TRB; only where the spec has one."""
        block = self.layers[3]
        assert isinstance(block, ResamplingBlock)
        return block

    def forward(self, x_BDT: Tensor, noise: Noise | None = None) -> Tensor:
        spec = self.spec
        if not spec.decoder.depth:
            linear: Tensor = self.lapped(x_BDT)
            return linear
        patches_BQL = self.block.up(self.project(x_BDT), noise)
        if not spec.decoder.lapped:
            return unpatch(patches_BQL, spec.patch_samples)
        return shape(self.lapped(x_BDT), patches_BQL, spec.patch_samples)

    def project(self, x_BDT: Tensor) -> Tensor:
        """[B, D, T] -> [B, width, T], what the TRB takes."""
        projected: Tensor = self.layers[1](x_BDT.transpose(1, 2)).transpose(1, 2)
        return projected


class Same(nn.Module):
    """The whole autoencoder. Deterministic unless a noise source is given.

    Answers lie where the input does, whatever device the weights are on.
    """

    def __init__(self, spec: SameSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.bottleneck = SoftNorm(spec.latent_dim)
        self.decoder = Decoder(spec)

    def encode(self, audio_BCS: Tensor, noise: Noise | None = None) -> Tensor:
        """[B, 2, S] -> [B, D, T], T = ceil(S / R) rounded up to the spec's frame alignment."""
        latents: Tensor = self.bottleneck.encode(self.encoder(audio_BCS.to(self.bottleneck.bias.device), noise))
        return latents.to(audio_BCS.device)

    def decode(self, latents_BDT: Tensor, noise: Noise | None = None) -> Tensor:
        """[B, D, T] -> [B, 2, T*R]; noise is drawn for the bottleneck first, then for the query tokens."""
        moved_BDT = latents_BDT.to(self.bottleneck.bias.device)
        audio: Tensor = self.decoder(self.bottleneck.decode(moved_BDT, noise), noise)
        return audio.to(latents_BDT.device)
