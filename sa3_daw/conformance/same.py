"""Cases of the autoencoder families (same_s_ae, same_l_ae, ...). Knows no sampler.

Shapes: B batch, N tokens, D width, T latent frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sa3_daw.checkpoint import build, load_strict
from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.models.patching import patch, stereo_batch, unpatch
from sa3_daw.models.resampling import Noise, ResamplingBlock
from sa3_daw.models.same import Same
from sa3_daw.models.specs import SameSpec, same_spec

HARD_CUTS = "the original joins chunks by hard cuts; ours equals its one-shot result, which is compared"


def same_cases(fixture: Fixture) -> Iterator[Case]:
    """Compare patching, encode, decode, streaming, the trace of every layer and stride overrides."""
    spec = same_spec(fixture.config["model"])
    same = _load(spec, fixture)
    yield from _patching(fixture, spec)
    for stem in _stems(fixture, "enc.", ".audio"):
        latents = same.encode(fixture[f"{stem}.audio"])
        yield Case.compare(stem, latents, fixture[f"{stem}.latents"])
        if f"{stem}.noisy_latents" in fixture:
            latents = same.encode(fixture[f"{stem}.audio"], _recorded(fixture, f"{stem}.noise"))
            yield Case.compare(f"{stem}.noisy", latents, fixture[f"{stem}.noisy_latents"])
    for stem in _stems(fixture, "dec.", ".latents"):
        yield from _decode_cases(fixture, same, stem)
    for stem in _stems(fixture, "cdec.", ".latents"):
        yield from _streamed_decode_cases(fixture, same, stem)
    for stem in _stems(fixture, "cenc.", ".audio"):
        _ = fixture[f"{stem}.latents"]
        yield Case.compare(stem, same.encode(fixture[f"{stem}.audio"]), fixture[f"{stem}.latents_unchunked"])
        yield Case.noted(f"{stem}.latents", HARD_CUTS)
    if "trace.audio" in fixture:
        yield from _trace_cases(fixture, same)
    if "stride.audio" in fixture:
        yield from _stride_cases(fixture, spec)
    if "prep.batch" in fixture:
        yield from _preparation_cases(fixture, spec)


def _load(spec: SameSpec, fixture: Fixture) -> Same:
    same = build(lambda: Same(spec))
    nested = any(key.startswith("pretransform.model.") for key in fixture.weights)
    load_strict({"pretransform.model." if nested else "": same}, fixture.weights, fixture.name)
    return same


def _stems(fixture: Fixture, prefix: str, suffix: str) -> list[str]:
    return [key.removesuffix(suffix) for key in fixture.keys(prefix, suffix)]


def _recorded(fixture: Fixture, stem: str) -> Noise:
    draws = iter(fixture.numbered(stem))
    return lambda shape: next(draws).reshape(shape)


def _patching(fixture: Fixture, spec: SameSpec) -> Iterator[Case]:
    if "patch.audio" in fixture:
        patches = patch(fixture["patch.audio"], spec.patch_samples)
        yield Case.compare("patch.encoded", patches, fixture["patch.encoded"])
        yield Case.compare("patch.decoded", unpatch(patches, spec.patch_samples), fixture["patch.decoded"])


def _decode_cases(fixture: Fixture, same: Same, stem: str) -> Iterator[Case]:
    latents, expected = fixture[f"{stem}.latents"], fixture[f"{stem}.audio"]
    # The original returns one frame of padding more for an odd count of SAME-S frames; we crop it.
    length = latents.shape[-1] * same.spec.samples_per_frame
    yield Case.compare(stem, same.decode(latents), expected[..., :length])
    if f"{stem}.noisy_audio" in fixture:
        noise = _recorded(fixture, f"{stem}.noise")
        yield Case.compare(f"{stem}.noisy", same.decode(latents, noise), fixture[f"{stem}.noisy_audio"][..., :length])


def _streamed_decode_cases(fixture: Fixture, same: Same, stem: str) -> Iterator[Case]:
    latents = fixture[f"{stem}.latents"]
    length = latents.shape[-1] * same.spec.samples_per_frame
    # A rate that makes the first chunk as short as the alignment allows gives the most joints.
    pieces = decode_stream(same, latents, latents.shape[-1], sample_rate=same.spec.samples_per_frame)
    expected = fixture[f"{stem}.audio_unchunked"][..., :length]
    yield Case.compare(stem, torch.cat(list(pieces), dim=-1), expected)
    _ = fixture[f"{stem}.audio"]
    yield Case.noted(f"{stem}.audio", HARD_CUTS)
    if f"{stem}.noisy_audio" in fixture:
        _ = fixture[f"{stem}.noisy_audio"], fixture.numbered(f"{stem}.noise")
        yield Case.noted(f"{stem}.noisy_audio", HARD_CUTS)


def _trace_cases(fixture: Fixture, same: Same) -> Iterator[Case]:
    seen: dict[str, Tensor] = {}
    audio = fixture["trace.audio"]
    encoder_block, decoder_block = same.encoder.block, same.decoder.block
    hooks = [
        *_record_block(encoder_block, "enc", seen, audio.shape[0]),
        *_record_block(decoder_block, "dec", seen, audio.shape[0]),
        same.encoder.layers[2].register_forward_hook(_recorder(seen, "enc_out", transpose=True)),
        same.decoder.layers[1].register_forward_hook(_recorder(seen, "dec_proj", transpose=True)),
        encoder_block.mapping.register_forward_hook(_recorder(seen, "enc_feat00", transpose=True)),
        decoder_block.mapping.register_forward_hook(_recorder(seen, "dec_block_out", transpose=False)),
    ]
    seen["patched"] = patch(audio, same.spec.patch_samples)
    latents = same.encode(audio)
    seen["latents"] = latents
    seen["bottleneck_dec"] = same.bottleneck.decode(latents, None)
    seen["audio_out"] = same.decode(latents)
    for hook in hooks:
        hook.remove()
    stride = same.spec.encoder.stride
    last = f"enc_feat{same.spec.encoder.depth:02}"
    seen["enc_block_out"] = seen[last][:, stride :: stride + 1].transpose(1, 2)
    seen["dec_feat00"] = seen["dec_proj"].transpose(1, 2)
    for key in fixture.keys("trace."):
        name = key.removeprefix("trace.")
        if name in seen:
            yield Case.compare(key, seen[name], fixture[key])


Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def _recorder(seen: dict[str, Tensor], name: str, transpose: bool) -> Hook:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = output.transpose(1, 2) if transpose else output

    return hook


def _record_block(block: ResamplingBlock, side: str, seen: dict[str, Tensor], batch: int) -> list[RemovableHandle]:
    """Record every layer's tokens as [B, N, D], the repeated ends of the shifted layers removed."""
    spec = block.spec
    chunk = spec.chunk_patches + spec.chunk_patches // spec.stride
    shifted_from = spec.depth // 2 if spec.midpoint_shift else spec.depth

    def hook_for(index: int) -> Hook:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            tokens = output.reshape(batch, -1, output.shape[-1])
            if spec.chunk_patches and index >= shifted_from:
                tokens = tokens[:, chunk // 2 : -(chunk // 2)]
            seen[f"{side}_feat{index + 1:02}"] = tokens

        return hook

    return [layer.register_forward_hook(hook_for(index)) for index, layer in enumerate(block.transformers)]


def _stride_cases(fixture: Fixture, spec: SameSpec) -> Iterator[Case]:
    """The same weights at another stride: the query token is shared by all positions."""
    stride = int(fixture["stride.value"].flatten()[0])
    spec = replace(spec, encoder=replace(spec.encoder, stride=stride), decoder=replace(spec.decoder, stride=stride))
    same = _load(spec, fixture)
    encoded = same.encoder(fixture["stride.audio"])
    yield Case.compare("stride.enc_out", encoded, fixture["stride.enc_out"])
    patches = patch(same.decoder(encoded), spec.patch_samples)
    yield Case.compare("stride.dec_out", patches, fixture["stride.dec_out"])


def _preparation_cases(fixture: Fixture, spec: SameSpec) -> Iterator[Case]:
    clips = [fixture[key] for key in fixture.keys("prep.a")]
    yield Case.compare("prep.batch", stereo_batch(clips, spec.samples_per_frame), fixture["prep.batch"])
