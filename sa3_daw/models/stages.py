"""Work along time that comes in pieces: each stage gives what is settled and computes nothing twice but its edges.

Pieces that go in follow one another; what comes out, put together, is what the whole at once would give. Knows no
layer, no tokens and no audio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Call = Callable[[Tensor], Tensor]


class Stage(Protocol):
    """One step of a stream; ``is_last`` says that nothing follows this piece, which is not empty."""

    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        """Take the next piece and return what is settled by it, perhaps nothing yet."""
        ...


class Sliding:
    """A call whose every output needs at most ``left`` inputs before it and ``right`` after it, along ``axis``.

    It must take any length and make ``rate`` outputs of each input.
    """

    def __init__(self, call: Call, left: int, right: int, axis: int, rate: int = 1) -> None:
        self._call, self._left, self._right, self._axis, self._rate = call, left, right, axis, rate
        self._kept: Tensor | None = None
        self._behind = 0  # inputs at the start of ``_kept`` whose outputs were given already

    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        axis, rate = self._axis, self._rate
        inputs = piece if self._kept is None else torch.cat((self._kept, piece), dim=axis)
        count = inputs.shape[axis]
        ready = count if is_last else max(self._behind, count - self._right)
        made = self._call(inputs).narrow(axis, self._behind * rate, (ready - self._behind) * rate)
        first = max(0, ready - self._left)
        self._kept = inputs.narrow(axis, first, count - first).clone()  # lets go of the rest
        self._behind = ready - first
        return made


class Chunked:
    """A call on whole chunks of tokens, [chunks, tokens, width]; they lie ``shift`` tokens before those of a piece.

    Shifted chunks reach over both ends; what lies there is the first and the last half, repeated (SPEC 1.4).
    """

    def __init__(self, call: Call, chunk: int, shift: int) -> None:
        self._call, self._chunk, self._shift = call, chunk, shift
        self._kept: Tensor | None = None

    def push(self, piece: Tensor, is_last: bool) -> Tensor:
        shift, is_first = self._shift, self._kept is None
        before = piece[:, :shift] if self._kept is None else self._kept
        after = piece[:, piece.shape[1] - shift :] if is_last else piece[:, :0]
        tokens = torch.cat((before, piece, after), dim=1)
        whole = tokens.shape[1] // self._chunk * self._chunk
        self._kept = tokens[:, whole:].clone()
        batch, width = tokens.shape[0], tokens.shape[2]
        made = self._call(tokens[:, :whole].reshape(-1, self._chunk, width)).reshape(batch, whole, width)
        return made[:, shift if is_first else 0 : whole - (shift if is_last else 0)]
