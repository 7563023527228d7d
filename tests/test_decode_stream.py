"""Streamed decode equals one-shot decode, for every form of SAME, from any aligned start, at any length."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from sa3_daw.generation.decode_stream import (
    LARGEST_CHUNK_SECONDS,
    chunk_plan,
    decode_stream,
    decoder_context_frames,
)
from sa3_daw.models.decoding import DecodeStream
from tests.tiny import SAME_FORMS, seeded_same

ROUNDING = 2e-6
"""Float32 rounding between differently shaped matmuls, relative to the peak; measured below 7e-7."""


@pytest.mark.parametrize("form", SAME_FORMS)
@pytest.mark.parametrize("num_frames", [1, 2, 3, 13, 40])
def test_streamed_decode_equals_one_shot(form: str, num_frames: int) -> None:
    same = seeded_same(SAME_FORMS[form])
    latents = torch.randn(1, 12, num_frames, generator=torch.Generator().manual_seed(num_frames))
    whole = same.decode(latents)
    # One frame per second makes the plan's chunks as short as they get.
    streamed = torch.cat(list(decode_stream(same, latents, num_frames, same.spec.samples_per_frame)), dim=-1)
    assert streamed.shape == whole.shape == (1, 2, num_frames * same.spec.samples_per_frame)
    torch.testing.assert_close(streamed, whole, rtol=0, atol=ROUNDING * float(whole.abs().max()))


@pytest.mark.parametrize("form", SAME_FORMS)
def test_any_aligned_range_equals_its_slice_of_the_whole(form: str) -> None:
    same = seeded_same(SAME_FORMS[form])
    frame, align = same.spec.samples_per_frame, same.spec.frame_alignment
    latents = torch.randn(1, 12, 37, generator=torch.Generator().manual_seed(1))
    whole = same.decode(latents)
    for start in range(0, 37, align):
        for end in (start + 1, start + align, 37):
            if start < end <= 37:
                rate = 3 * same.spec.samples_per_frame
                part = torch.cat(list(decode_stream(same, latents, end, rate, start)), dim=-1)
                expected = whole[..., start * frame : end * frame]
                torch.testing.assert_close(part, expected, rtol=0, atol=ROUNDING * float(whole.abs().max()))


@pytest.mark.parametrize("form", ["same-s", "same-l", "nano"])
def test_without_context_the_result_differs(form: str) -> None:
    same = seeded_same(SAME_FORMS[form])
    assert decoder_context_frames(same.spec)[0] > 0
    frame, start = same.spec.samples_per_frame, 20
    latents = torch.randn(1, 12, 40, generator=torch.Generator().manual_seed(2))
    short = same.decode(latents[..., start:])
    whole = same.decode(latents)[..., start * frame :]
    assert (short - whole).abs().max() > 1e-4


def test_chunks_tile_the_clip_grow_and_stay_bounded() -> None:
    plan = list(chunk_plan(0, 1001, 2, 10.77, 12.0))
    assert plan[0][0] == 0 and plan[-1][1] == 1001
    assert all(a[1] == b[0] for a, b in pairwise(plan))
    assert all(start % 2 == 0 for start, _ in plan)
    lengths = [stop - start for start, stop in plan[:-1]]
    assert lengths == sorted(lengths) and lengths[0] <= 6 and lengths[-1] <= 132


def test_an_unaligned_start_is_refused() -> None:
    same = seeded_same(SAME_FORMS["same-s"])
    with pytest.raises(ValueError, match="multiples of 2"):
        next(decode_stream(same, torch.zeros(1, 12, 8), 8, 44100, start_frame=3))


def test_a_long_decode_takes_every_frame_once_and_holds_one_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    same = seeded_same(SAME_FORMS["same-s"])
    seen: list[int] = []
    inner = DecodeStream.push

    def watched(stream: DecodeStream, latents_BDT: torch.Tensor, is_last: bool) -> torch.Tensor:
        seen.append(latents_BDT.shape[-1])
        return inner(stream, latents_BDT, is_last)

    monkeypatch.setattr(DecodeStream, "push", watched)
    frames_per_second = 4
    rate = frames_per_second * same.spec.samples_per_frame
    for seconds in (30, 380):
        seen.clear()
        latents = torch.zeros(1, 12, frames_per_second * seconds)
        pieces = decode_stream(same, latents, latents.shape[-1], rate)
        assert sum(piece.shape[-1] for piece in pieces) == latents.shape[-1] * same.spec.samples_per_frame
        assert sum(seen) == latents.shape[-1]
        assert max(seen) <= LARGEST_CHUNK_SECONDS["cpu"] * frames_per_second + same.spec.frame_alignment
