"""Cases of the DiT families (dit_small, dit_medium, ...) and of the duration conditioner. Knows no audio."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from sa3_daw.checkpoint import build, load_strict
from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.conformance.fallback import values_zeroed
from sa3_daw.models.conditioner import Conditioning, NumberConditioner, fourier_features
from sa3_daw.models.dit import MIN_ROPE_DIM, DiT, Prepared
from sa3_daw.models.layers import rope_inv_freq
from sa3_daw.models.specs import dit_spec
from sa3_daw.sampling.guidance import Guidance, guide

HALF_FEATURES = "the original casts seconds before their Fourier features; ours stay float32"
UNUSED_FLAG = "timestep_features_logsnr is off in every published model and not built"
GUIDED = re.compile(
    r"v\.cfg(?P<scale>[\d.]+)(?P<negative>_neg)?(_apg(?P<apg>[\d.]+))?(_phi(?P<rescale>[\d.]+))?"
    r"(_normthr(?P<threshold>[\d.]+))?(?P<off>_interval_off)?(_padmask_(?P<padding>true|vzero))?"
)


@dataclass(frozen=True)
class _Inputs:
    x: Tensor
    t: Tensor
    context: Tensor
    global_: Tensor
    local: Tensor
    valid: Tensor


def dit_cases(fixture: Fixture) -> Iterator[Case]:
    """Compare plain, masked and guided velocities, projections and the trace of every block."""
    dit = build(lambda: DiT(dit_spec(fixture.config)))
    load_strict({"model.": dit}, fixture.weights, fixture.name)
    inputs = _Inputs(
        fixture["x"],
        fixture["t"],
        fixture["cross_attn_cond"],
        fixture["global_cond"],
        fixture["local_add_cond"],
        fixture["padding_mask"].bool(),
    )
    prepared = dit.prepare(Conditioning(inputs.context, inputs.global_, inputs.local))
    yield from _plain_cases(fixture, dit, inputs, prepared)
    yield from _guided_cases(fixture, dit, inputs, prepared)
    yield from _projection_cases(fixture, inputs)
    yield from _trace_cases(fixture, dit, inputs, prepared)


def _plain_cases(fixture: Fixture, dit: DiT, inputs: _Inputs, prepared: Prepared) -> Iterator[Case]:
    no_local = dit.prepare(Conditioning(inputs.context, inputs.global_, None))
    no_cross = dit.prepare(Conditioning(None, inputs.global_, inputs.local))
    one_frame = dit.prepare(Conditioning(inputs.context, inputs.global_, inputs.local[..., :1]))
    results = {
        "v.plain": dit(inputs.x, inputs.t, prepared),
        "v.no_local": dit(inputs.x, inputs.t, no_local),
        "v.no_cross": dit(inputs.x, inputs.t, no_cross),
        "v.T1": dit(inputs.x[..., :1], inputs.t, one_frame),
        "v.padmask_true": dit(inputs.x, inputs.t, prepared, inputs.valid),
    }
    with values_zeroed(dit, inputs.valid):
        results["v.padmask_vzero"] = dit(inputs.x, inputs.t, prepared)
    for key, velocity in results.items():
        yield Case.compare(key, velocity, fixture[key])


def _guided_cases(fixture: Fixture, dit: DiT, inputs: _Inputs, prepared: Prepared) -> Iterator[Case]:
    nothing = torch.zeros_like(inputs.context)
    negative = fixture["neg_cross_attn_cond"] * fixture["neg_cross_attn_mask"][..., None]
    unconditional, against = (
        dit.prepare(Conditioning(context, inputs.global_, inputs.local)) for context in (nothing, negative)
    )
    for key in fixture.keys("v.cfg"):
        match = GUIDED.fullmatch(key)
        if not match:
            continue
        # Cases that test another option were recorded with plain guidance.
        other_option = match["rescale"] or match["threshold"]
        guidance = Guidance(
            scale=float(match["scale"]),
            apg=float(match["apg"] or (0.0 if other_option else 1.0)),
            norm_threshold=float(match["threshold"] or 0.0),
            rescale=float(match["rescale"] or 0.0),
            interval=(0.0, 0.5) if match["off"] else (0.0, 1.0),
        )
        masked = inputs.valid if match["padding"] == "true" else None
        padding = values_zeroed(dit, inputs.valid) if match["padding"] == "vzero" else nullcontext()
        with padding:
            velocity = dit(inputs.x, inputs.t, prepared, masked)
            if guidance.is_active(float(inputs.t[0])):
                other = dit(inputs.x, inputs.t, against if match["negative"] else unconditional, masked)
                valid = inputs.valid if match["padding"] else None
                velocity = guide(guidance, inputs.x, inputs.t, velocity, other, valid)
        yield Case.compare(key, velocity, fixture[key])


def _projection_cases(fixture: Fixture, inputs: _Inputs) -> Iterator[Case]:
    """v0 = v0 along v1 + v0 across v1; seen through guidance with t 1, where x0 = x - v."""
    v0, v1 = fixture["apg.v0"], fixture["apg.v1"]
    one = torch.ones(len(v0))
    for suffix, valid in (("", None), ("_masked", inputs.valid)):
        # scale 2, x = v1 + v0: conditional x0 is v1, the push is v0, so x0 guided = v1 + across.
        guided = guide(Guidance(scale=2.0), v1, one, torch.zeros_like(v1), v0, valid)
        across = -guided
        yield Case.compare(f"apg.orthogonal{suffix}", across, fixture[f"apg.orthogonal{suffix}"])
        weight = 1.0 if valid is None else valid[:, None].to(v0.dtype)
        yield Case.compare(f"apg.parallel{suffix}", (v0 - across) * weight, fixture[f"apg.parallel{suffix}"] * weight)


def _trace_cases(fixture: Fixture, dit: DiT, inputs: _Inputs, prepared: Prepared) -> Iterator[Case]:
    seen: dict[str, Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda module, args, output, name=f"hidden{index}": seen.update({name: output}))
        for index, block in enumerate(dit.transformer.layers)
    ]
    dit(inputs.x, inputs.t, prepared)
    for hook in hooks:
        hook.remove()
    features = fourier_features(inputs.t, dit.spec.timestep_dim)
    embedded = dit.to_timestep_embed(features)
    num_positions = fixture["trace.rope_freqs"].shape[0]
    inv_freq = rope_inv_freq(max(dit.spec.head_dim // 2, MIN_ROPE_DIM))
    angles = torch.arange(num_positions, device="cpu")[:, None] * inv_freq
    seen |= {
        "timestep_features": features,
        "timestep_embed": embedded,
        "global_embed": prepared.global_BW + embedded,
        "adaln": dit.transformer.global_cond_embedder(prepared.global_BW + embedded),
        "cond_embed": dit.to_cond_embed(inputs.context),
        "rope_freqs": torch.cat((angles, angles), dim=-1),
    }
    for key in fixture.keys("trace."):
        name = key.removeprefix("trace.")
        if name in seen:
            yield Case.compare(key, seen[name], fixture[key])
        elif name.startswith("logsnr"):
            _ = fixture[key]
            yield Case.noted(key, UNUSED_FLAG)


def number_conditioner_cases(fixture: Fixture) -> Iterator[Case]:
    """Compare the duration token in float32."""
    config = fixture.config["config"]
    conditioner = build(lambda: NumberConditioner(config["min_val"], config["max_val"], config["output_dim"]))
    load_strict({"": conditioner}, fixture.weights, fixture.name)
    seconds = fixture["seconds"]
    limited = seconds.clamp(config["min_val"], config["max_val"]) / config["max_val"]
    yield Case.compare("norm", limited, fixture["norm"].reshape(limited.shape))
    yield Case.compare("fourier", fourier_features(limited, fixture["fourier"].shape[-1]), fixture["fourier"])
    yield Case.compare("float32.embeds", conditioner(seconds)[:, None], fixture["float32.embeds"])
    for key in fixture.keys(suffix=".embeds"):
        if not key.startswith("float32"):
            _ = fixture[key]
            yield Case.noted(key, HALF_FEATURES)
    for key in fixture.keys(suffix=".mask"):
        yield Case.compare(key, torch.ones_like(fixture[key]), fixture[key])
