"""The latents of a whole clip for a batch of takes, and which frames are known. Knows no sampler.

What is kept of a source is encoded into it when a window first looks there; what a window makes is put into it, so
the next window continues it. Shapes: B batch, D latent channels, T latent frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sa3_daw.generation.decode_stream import decoder_context_frames
from sa3_daw.generation.edit_plan import EditPlan, Window
from sa3_daw.generation.encode_stream import context_frames, encode_stream
from sa3_daw.generation.heard import Heard
from sa3_daw.generation.work_source import WorkSource
from sa3_daw.models.same import Same


class Canvas:
    """``latents_BDT`` on the plan's grid; ``known_T`` is True where a frame is kept or made."""

    def __init__(self, plan: EditPlan, same: Same, batch: int, source: WorkSource | None, heard: Heard) -> None:
        self.latents_BDT = torch.zeros(batch, plan.spec.dit.latent_dim, plan.grid.num_frames)
        self.known_T = torch.zeros(plan.grid.num_frames, dtype=torch.bool)
        self._plan, self._same, self._source, self._heard = plan, same, source, heard
        self._to_make_T = torch.zeros_like(self.known_T)
        for window in plan.windows:
            for start, end in window.made:
                self._to_make_T[start:end] = True
        self._unheard = stretches_to_hear(plan, same) if source is not None else {}

    def look_at(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return keep-mask [T] (1 keeps) and latents [B, D, T] of a window, its part of the source encoded."""
        if window in self._unheard:
            self._hear(*self._unheard.pop(window))
        inside = slice(window.start, window.end)
        return self.known_T[inside].float(), self.latents_BDT[..., inside]

    def with_made(self, window: Window, latents_BDT: Tensor) -> Tensor:
        """Return the whole clip's latents as they would be with this window's."""
        whole = self.latents_BDT.clone()
        for start, end in window.made:
            whole[..., start:end] = latents_BDT[..., start - window.start : end - window.start]
        return whole

    def put(self, window: Window, latents_BDT: Tensor) -> None:
        """Take over what a window made."""
        self.latents_BDT = self.with_made(window, latents_BDT)
        for start, end in window.made:
            self.known_T[start:end] = True

    def first_unmade(self) -> int:
        """Return the first frame still to be made, or the number of frames."""
        waiting = torch.nonzero(self._to_make_T & ~self.known_T)
        return int(waiting[0]) if len(waiting) else len(self.known_T)

    def _hear(self, start: int, end: int) -> None:
        source, inside = self._source, slice(start, end)
        assert source is not None
        encoded = self._heard.latents(
            self._plan, self._same, start, end, lambda: encode_frames(self._plan, self._same, source, start, end)
        )
        self.latents_BDT[..., inside] = torch.where(self.known_T[inside], self.latents_BDT[..., inside], encoded)
        self.known_T[inside] |= ~self._to_make_T[inside]


def stretches_to_hear(plan: EditPlan, same: Same) -> dict[Window, tuple[int, int]]:
    """Return the frames of the source that each window needs and none before it needed."""
    left, right = decoder_context_frames(same.spec)
    found: dict[Window, tuple[int, int]] = {}
    heard = 0
    for window in plan.windows:
        start, end = max(heard, window.start - left), min(window.end + right, plan.grid.num_frames)
        if start < end:
            found[window] = start, end
            heard = end
    return found


def encode_frames(plan: EditPlan, same: Same, source: WorkSource, start: int, end: int) -> Tensor:
    """Return the latents [D, end - start] of the source, as if the whole clip were encoded at once."""
    return torch.cat(list(encode_pieces(plan, same, source, start, end)), dim=-1)


def encode_pieces(plan: EditPlan, same: Same, source: WorkSource, start: int, end: int) -> Iterator[Tensor]:
    """Yield the same in consecutive pieces."""
    align = same.spec.frame_alignment
    left, right = context_frames(same.spec.encoder, align)
    first = max(0, (start - left) // align * align)
    last = min(plan.grid.num_frames, -(-(end + right) // align) * align)
    pieces = source.at_model_rate(plan.grid.sample_of(first), plan.grid.sample_of(last))
    for latents_DT in encode_stream(same, pieces):
        yield latents_DT[:, max(0, start - first) : max(0, end - first)]
        first += latents_DT.shape[-1]
