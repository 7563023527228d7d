"""Cases of the generate families: the published generation path from prompts to audio. Knows no daemon and no job.

The recorded random draws are used in their order: initial noise, encoder, sampler, decoder. Shapes: B batch,
C channels, S samples, D latent channels, T latent frames, L text tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sa3_daw.checkpoint import build, load_strict
from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.conformance.fallback import values_zeroed
from sa3_daw.models.conditioner import Conditioner, Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.patching import stereo_batch
from sa3_daw.models.resampling import Noise
from sa3_daw.models.same import Same
from sa3_daw.models.specs import ModelSpec
from sa3_daw.sampling.guidance import Guidance, guide
from sa3_daw.sampling.samplers import Velocity, sampler_steps
from sa3_daw.sampling.schedule import LogSNRShift, published_t_grid

PROMPTS = ("warm pad", "dry kick", "", "harsh noise")
HEADROOM_SECONDS = 6.0
HARD_CUT_FRAMES = 128
ASSUMED_CHUNK_PATCHES = 32
HARD_CUTS = "the original decodes this length in chunks joined by hard cuts, with noise of their own"
RESAMPLED = "the original resamples the source with a short sinc kernel, ours is longer; what follows begins here"
TWICE = "recorded without true masking of padding as well; its true-mask twin is compared"


@dataclass(frozen=True)
class _Model:
    spec: ModelSpec
    dit: DiT
    conditioner: Conditioner
    same: Same


@dataclass(frozen=True)
class _Request:
    """One case's arguments, one entry per item where the original takes lists."""

    prompts: list[str]
    durations: list[float]
    steps: int
    guidance: Guidance
    negative: str | None
    sampler: str
    start_t: float
    init: bool
    regions: list[tuple[float, float]] | None


def generate_cases(fixture: Fixture) -> Iterator[Case]:
    """Replay every recorded call of the original's ``generate``."""
    model = _load(fixture)
    for name, arguments in fixture.metadata.items():
        yield from _case(fixture, model, name, arguments)
    for stem in ("src", "mono_sr2", *fixture.keys("prompt")):
        _ = fixture[stem]


def _load(fixture: Fixture) -> _Model:
    spec = ModelSpec.from_config(fixture.config, fixture.name)
    model = _Model(
        spec,
        build(lambda: DiT(spec.dit)),
        build(lambda: Conditioner(spec.conditioning)),
        build(lambda: Same(spec.same)),
    )
    prefixes = {"model.model.": model.dit, "conditioner.": model.conditioner, "pretransform.model.": model.same}
    load_strict(prefixes, fixture.weights, fixture.name)
    return model


def _request(arguments: dict[str, Any], spec: ModelSpec) -> _Request:
    size = arguments.get("batch_size", 1)
    prompt, duration = arguments["prompt"], arguments["duration"]
    starts, ends = (arguments.get(f"inpaint_mask_{edge}_seconds") for edge in ("start", "end"))
    regions = None
    if starts is not None:
        as_lists = (edge if isinstance(edge, list) else [edge] for edge in (starts, ends))
        regions = list(zip(*as_lists, strict=True))
    return _Request(
        prompts=prompt if isinstance(prompt, list) else [prompt] * size,
        durations=duration if isinstance(duration, list) else [duration] * size,
        steps=arguments["steps"],
        guidance=Guidance(scale=arguments.get("cfg_scale", 1.0), apg=arguments.get("apg_scale", 1.0)),
        negative=arguments.get("negative_prompt"),
        sampler=arguments.get("sampler_type", spec.sampler),
        start_t=arguments.get("init_noise_level", 1.0),
        init="init_audio" in arguments,
        regions=regions,
    )


def _case(fixture: Fixture, model: _Model, name: str, arguments: dict[str, Any]) -> Iterator[Case]:
    spec, same = model.spec, model.same.spec
    request = _request(arguments, spec)
    frame, rate = spec.samples_per_frame, spec.sample_rate
    # The original assumes attention chunks of 32 patches where a model has none.
    unit = (same.encoder.chunk_patches or ASSUMED_CHUNK_PATCHES) // same.encoder.stride * frame
    num_samples = -(-int((max(request.durations) + HEADROOM_SECONDS) * rate) // unit) * unit
    num_frames = min(num_samples, spec.max_num_samples) // frame
    keys = fixture.keys(f"{name}.")
    draws = iter([fixture[key] for key in keys if key.startswith(f"{name}.rand")])
    noise_BDT = next(draws)
    encoder_noise: Noise | None = None
    if same.encoder.token_noise > 0:
        encoder_noise = lambda shape: next(draws).reshape(shape)  # noqa: E731
    source = stereo_batch([fixture["src"]], frame)[..., : num_frames * frame]
    source = torch.nn.functional.pad(source, (0, num_frames * frame - source.shape[-1]))
    x_BDT = noise_BDT
    resampled = arguments.get("init_audio", ["src"])[0] != "src"
    if resampled:
        yield Case.noted(f"{name}.first_x", RESAMPLED)
        x_BDT = fixture[f"{name}.first_x"]
        if encoder_noise is not None:
            next(draws)
    elif request.init:
        x_BDT = torch.lerp(model.same.encode(source, encoder_noise), noise_BDT, request.start_t)
    keep_BT = torch.zeros(1, num_frames)
    kept_BDT = torch.zeros(1, spec.dit.latent_dim, num_frames)
    if request.regions is not None:
        keep_BT = _keep_mask(request, num_frames, frame, rate)
        kept_BDT = model.same.encode(source, encoder_noise) * keep_BT[:, None]
    size = len(request.prompts)
    local = torch.cat((keep_BT[:, None], kept_BDT), dim=1).expand(size, -1, -1)
    frames_B = torch.tensor([math.ceil(int(seconds * rate) / frame) for seconds in request.durations])
    valid_B = (frames_B + int(HEADROOM_SECONDS * rate / frame)).clamp(max=num_frames)
    valid_BT = torch.arange(num_frames) < valid_B[:, None]
    grid = published_t_grid(request.steps, LogSNRShift(), frames_B[:, None].float(), request.start_t)

    context, global_ = model.conditioner(*_text(fixture, request.prompts), torch.tensor(request.durations))
    has_twin = f"{name}.truemask.latents" in fixture
    # What has no twin with true masking is replayed as it was recorded, so that the rest of its path is compared.
    masked_BT = valid_BT if has_twin else None
    velocity = _velocity(fixture, model, request, (context, global_, local), valid_BT, masked_BT)
    with nullcontext() if has_twin else values_zeroed(model.dit, valid_BT):
        *_, last = sampler_steps(request.sampler, velocity, x_BDT, grid, draws.__next__)
    twin = f"{name}.truemask." if has_twin else f"{name}."
    recorded = {
        f"{name}.cross_attn_cond": context,
        f"{name}.global_cond": global_,
        f"{name}.local_add_cond": local,
        f"{name}.padding_mask": valid_BT,
        f"{name}.first_x": x_BDT,
        f"{name}.ts": grid[..., :-1].T.expand(-1, size),
        f"{twin}local_add_cond": local,
        f"{twin}first_x": x_BDT,
        f"{twin}ts": grid[..., :-1].T.expand(-1, size),
    }
    for key, tensor in recorded.items():
        if resampled and key.endswith(".first_x"):
            continue
        yield Case.compare(key, tensor, fixture[key])
    # Padded frames of the original carry the residue of its kernels; only the valid ones are the result.
    inside = valid_BT[:, None]
    yield Case.compare(f"{twin}latents", last.x_BDT * inside, fixture[f"{twin}latents"] * inside)
    if num_frames >= HARD_CUT_FRAMES:
        yield Case.noted(f"{twin}audio", HARD_CUTS)
    else:
        audio = model.same.decode(last.x_BDT, lambda shape: next(draws).reshape(shape))
        audio = (audio * valid_BT.repeat_interleave(frame, dim=-1)[:, None]).clamp(-1, 1)
        expected = fixture[f"{twin}audio"]
        yield Case.compare(f"{twin}audio", audio[..., : expected.shape[-1]], expected)
    for key in (f"{twin}audio", f"{name}.latents", f"{name}.audio"):
        _ = fixture[key]
    if has_twin:
        yield Case.noted(f"{name}.latents", TWICE)


def _keep_mask(request: _Request, num_frames: int, frame: int, rate: int) -> Tensor:
    """1 keeps. Regions and everything after the longest duration are generated; a frame takes its first sample."""
    assert request.regions is not None
    samples = torch.ones(num_frames * frame)
    for start, end in request.regions:
        samples[int(start * rate) : int(end * rate)] = 0
    samples[int(max(request.durations) * rate) :] = 0
    return samples[::frame][None]


def _text(fixture: Fixture, prompts: list[str]) -> tuple[Tensor, Tensor]:
    indices = [PROMPTS.index(prompt) for prompt in prompts]
    states = torch.stack([fixture[f"prompt{index}.embeds"] for index in indices])
    return states, torch.stack([fixture[f"prompt{index}.mask"] for index in indices])


def _velocity(
    fixture: Fixture,
    model: _Model,
    request: _Request,
    conditioning: tuple[Tensor, Tensor, Tensor],
    valid_BT: Tensor,
    masked_BT: Tensor | None,
) -> Velocity:
    context, global_, local = conditioning
    prepared = model.dit.prepare(Conditioning(context, global_, local))
    if request.guidance.scale == 1.0:
        return lambda x, t: model.dit(x, t, prepared, masked_BT)
    if request.negative is None:
        against = torch.zeros_like(context)
    else:
        states, mask = _text(fixture, [request.negative] * len(request.prompts))
        against = model.conditioner.negative_context(states, mask, torch.tensor(request.durations))
    other = model.dit.prepare(Conditioning(against, global_, local))

    def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
        plain, pushed = (model.dit(x_BDT, t_B, inputs, masked_BT) for inputs in (prepared, other))
        return guide(request.guidance, x_BDT, t_B, plain, pushed, valid_BT)

    return velocity
