"""Streamed encode equals one-shot encode, for every form of SAME, whatever the pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sa3_daw.generation.encode_stream import encode_stream
from tests.tiny import SAME_FORMS, seeded_same

ROUNDING = {"same-l": 1e-4, "same-s-four-frames": 3e-5}
"""Relative to the peak. SAME-L's positions count from the chunk's start; long attention chunks round more (measured
1.3e-5). The other forms: 1e-5."""


@pytest.mark.parametrize("form", SAME_FORMS)
@pytest.mark.parametrize("num_samples", [1, 5, 33, 400, 1000])
@pytest.mark.parametrize("piece_samples", [7, 64, 5000])
def test_streamed_encode_equals_one_shot(form: str, num_samples: int, piece_samples: int) -> None:
    same = seeded_same(SAME_FORMS[form])
    audio = torch.randn(2, num_samples, generator=torch.Generator().manual_seed(num_samples)).numpy()
    with torch.inference_mode():
        whole = same.encode(torch.from_numpy(audio)[None])[0]
    cuts = np.arange(piece_samples, num_samples, piece_samples)
    streamed = torch.cat(list(encode_stream(same, np.split(audio, cuts, axis=1), chunk_frames=4)), dim=-1)
    assert streamed.shape == whole.shape
    tolerance = ROUNDING.get(form, 1e-5) * max(1.0, float(whole.abs().max()))
    torch.testing.assert_close(streamed, whole, rtol=0, atol=tolerance)


def test_a_stream_holds_a_few_chunks_and_no_more() -> None:
    same = seeded_same(SAME_FORMS["same-s"])
    seen: list[int] = []
    inner = same.encode

    def watched(audio_BCS: torch.Tensor) -> torch.Tensor:
        seen.append(audio_BCS.shape[-1])
        return inner(audio_BCS)

    same.encode = watched  # type: ignore[method-assign, assignment]
    for num_pieces in (10, 100):
        pieces = (np.zeros((2, 256), dtype=np.float32) for _ in range(num_pieces))
        assert sum(latents.shape[-1] for latents in encode_stream(same, pieces, chunk_frames=8)) == num_pieces * 8
    assert max(seen) <= (8 + 2 + 2) * same.spec.samples_per_frame + 256
