"""Probes of DiT and decoder together: do its predictions decode well, and are its mistakes worse than chance?

Knows no files and no page. Shapes: B batch, C channels, S samples, D latent channels, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn

from sa3_daw.adapter_files import describe_adapter
from sa3_daw.checkpoint import read_adapter
from sa3_daw.generation.beat_grid import beat_grid
from sa3_daw.generation.model import LoadedModel
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.lora import BaseWeight, Form, Use
from sa3_daw.music.timeline import TempoMap
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import euler
from sa3_daw.sampling.schedule import LogSNRShift, t_grid
from sa3_training.evaluation.reconstruction import mel_error
from sa3_training.spectra import magnitudes

LEVELS = (0.2, 0.5, 0.8)
SEAM_WINDOW = 512
SEAM_REACH_SECONDS = 0.03


@dataclass(frozen=True)
class Predicted:
    """What one level of noise shows: mel errors against the decode of the true latents."""

    level: float
    predicted_mel: float
    random_mel: float
    """The same with a random error of the same size as the DiT's; lower than ``predicted_mel`` means that the DiT
    errs in directions the decoder minds."""


@contextmanager
def adapted(model: LoadedModel, path: Path | None) -> Iterator[None]:
    """Put a style pack's effective weights in place of the model's for a while."""
    if path is None:
        yield
        return
    adapter = read_adapter(describe_adapter(path))
    before: list[tuple[nn.Parameter, Tensor]] = []
    for layer_path, layer in adapter.layers.items():
        root: nn.Module = model.dit if layer_path.startswith("model.") else model.conditioner
        weight = root.get_parameter(layer_path.removeprefix("model.") + ".weight")
        matrix = weight.detach().flatten(1)
        form = Form().with_use(BaseWeight(lambda matrix=matrix: matrix), Use(adapter), layer)  # type: ignore[misc]
        before.append((weight, weight.data))
        weight.data = form.weight(matrix).view_as(weight)
    try:
        yield
    finally:
        for changed, data in before:
            changed.data = data


def conditioning(model: LoadedModel, prompt: str, keep_T: Tensor, latents_BDT: Tensor, bpm: float) -> Conditioning:
    """Return the conditioning of one prompt with some frames kept; batch of two, the second without the text."""
    spec = model.spec
    num_frames = latents_BDT.shape[-1]
    seconds = num_frames * spec.samples_per_frame / spec.sample_rate
    states, mask = model.text_encoder.encode([prompt], spec.conditioning.max_tokens)
    context, global_ = model.conditioner(states, mask, torch.tensor([seconds]))
    local = torch.zeros(1, spec.dit.local_dim, num_frames)
    local[0, 0] = keep_T
    local[0, 1 : 1 + spec.dit.latent_dim] = latents_BDT[0] * keep_T
    if spec.conditioning.beat_grid_dim:
        frame_seconds = spec.samples_per_frame / spec.sample_rate
        grid = beat_grid(TempoMap.constant(bpm, 4, 4), 0.0, num_frames, frame_seconds)
        local[0, -spec.conditioning.beat_grid_dim :] = torch.from_numpy(grid)
    return Conditioning(torch.cat((context, torch.zeros_like(context))), global_.expand(2, -1), local.expand(2, -1, -1))


@torch.inference_mode()
def predicted_decodes(model: LoadedModel, audio_CS: Tensor, prompt: str, bpm: float) -> list[Predicted]:
    """Noise the audio's latents, let the DiT predict them back in one step, and decode what it says."""
    latents = model.same.encode(audio_CS[None])
    target = model.same.decode(latents)
    generator = torch.Generator().manual_seed(0)
    prepared = model.dit.prepare(conditioning(model, prompt, torch.zeros(latents.shape[-1]), latents, bpm))
    found = []
    for level in LEVELS:
        x = torch.lerp(latents, torch.randn(latents.shape, generator=generator), level)
        velocity = model.dit(x.expand(2, -1, -1), torch.full((2,), level), prepared)[:1]
        residual = x - level * velocity - latents
        chance = torch.randn(latents.shape, generator=generator)
        chance = chance * residual.norm() / chance.norm()
        errors = [mel_error(model.same.decode(latents + error), target) for error in (residual, chance)]
        found.append(Predicted(level, *errors))
    return found


@torch.inference_mode()
def repaint(model: LoadedModel, audio_CS: Tensor, prompt: str, bpm: float, seed: int) -> tuple[Tensor, tuple[int, int]]:
    """Make the middle third of some audio anew, the rest kept as context; return audio and the seams' samples."""
    spec = model.spec
    latents = model.same.encode(audio_CS[None])
    num_frames = latents.shape[-1]
    keep = torch.ones(num_frames)
    first, last = num_frames // 3, 2 * num_frames // 3
    keep[first:last] = 0
    prepared = model.dit.prepare(conditioning(model, prompt, keep, latents, bpm))
    guidance = Guidance(scale=spec.default_guidance_scale)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        both = model.dit(x.expand(2, -1, -1), t.expand(2), prepared)
        return guide(guidance, x, t, both[:1], both[1:])

    x = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    for step in euler(velocity, x, t_grid(spec.default_steps, LogSNRShift(), torch.tensor(float(num_frames)))):
        x = step.x_BDT
    frame = spec.samples_per_frame
    return model.same.decode(torch.where(keep.bool(), latents, x))[0], (first * frame, last * frame)


def seam_jump(audio_CS: Tensor, seams: Sequence[int], sample_rate: int) -> float:
    """Return the spectral change at the seams over the strongest 5 % of changes elsewhere; below 1 it hides."""
    spectrum = torch.log10(magnitudes(audio_CS.mean(0)[None, None], SEAM_WINDOW)[0] + 1e-3)
    change = spectrum.diff(dim=1).abs().mean(0)
    hop = SEAM_WINDOW // 4
    reach = max(1, round(SEAM_REACH_SECONDS * sample_rate / hop))
    near = torch.zeros(len(change), dtype=torch.bool)
    for seam in seams:
        near[max(0, seam // hop - reach) : seam // hop + reach] = True
    usual = float(np.quantile(change[~near].numpy(), 0.95))
    return float(change[near].max()) / max(usual, 1e-9)


def mean_by_level(found: Sequence[Sequence[Predicted]]) -> list[Predicted]:
    """Average several clips' probes level by level."""
    return [
        Predicted(level, fmean(p[i].predicted_mel for p in found), fmean(p[i].random_mel for p in found))
        for i, level in enumerate(LEVELS)
    ]
