"""Low-rank adapters of every published kind, as arithmetic on one weight matrix. Knows no files and no modules.

Whatever adapters do to a weight W, the result has one form, rows * W * columns + up @ down, so W itself is never
changed and a new strength costs no pass over it. Weights are [out, in], convolutions flattened. Source: SPEC 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sa3_daw.adapter_files import XS_SUFFIX, AdapterEntry, split_key

NORM_FLOOR = 1e-12
BLOCK_ROWS = 256
"""Rows of a weight looked at together: 1 MB at the published width, which a processor's cache holds."""

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter: ``layers`` maps a module path (``model.…`` or ``conditioners.…``) to its float32 parameters.

    ``kind`` is one of ``adapter_files.KINDS``, with XS_SUFFIX when only an r x r matrix is learned between
    singular bases.
    """

    kind: str
    rank: int
    alpha: float
    layers: Mapping[str, Parameters] = field(repr=False)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], entry: AdapterEntry) -> Adapter:
        """Sort the tensors of the file that ``entry`` describes. Raises CheckpointMismatch on a foreign key."""
        layers: dict[str, Parameters] = {}
        for key, tensor in tensors.items():
            path, name = split_key(key, str(entry.path))
            value = tensor.to(torch.float32, copy=True)  # an adapter's file may be replaced while it is in use
            layers.setdefault(path, {})[name] = value.flatten() if "magnitude" in name else value.flatten(1)
        return cls(entry.kind, entry.rank, entry.alpha, layers)

    def parameter_names(self) -> set[str]:
        """Return the parameters that every layer of this kind has."""
        factors = {"M_xs"} if self.kind.endswith(XS_SUFFIX) else {"lora_A", "lora_B"}
        match self.kind.removesuffix(XS_SUFFIX):
            case "lora":
                return factors
            case "bora":
                return factors | {"magnitude_r", "magnitude_c"}
            case _:
                return factors | {"magnitude"}


@dataclass(frozen=True)
class Use:
    """How one adapter is used: ``strength``, active while ``interval`` contains t, and where.

    ``layer_filter`` holds comma-separated words. It acts in modules whose path contains one of them; a word with a
    minus before it takes the modules that contain it away. The published filter is the latter kind alone.
    """

    adapter: Adapter
    strength: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    layer_filter: str = ""

    def is_active(self, t: float) -> bool:
        """Say whether the adapter acts at noise level ``t``."""
        return self.interval[0] <= t <= self.interval[1]

    def acts_on(self, path: str) -> bool:
        """Say whether the adapter acts on a module; the DiT's paths are matched without their ``model.``."""
        words = [word.strip().lower() for word in self.layer_filter.split(",") if word.strip()]
        inside = path.removeprefix("model.").lower()
        wanted = [word for word in words if not word.startswith("-")]
        unwanted = [word[1:] for word in words if word.startswith("-")]
        return (not wanted or any(word in inside for word in wanted)) and not any(word in inside for word in unwanted)


def singular_bases(original: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return U [out, r] and V [in, r] of the original weight; the largest entry of each U column is positive."""
    left, _, right = torch.linalg.svd(original.float(), full_matrices=False)
    left, right = left[:, :rank], right[:rank].T
    largest = left.abs().argmax(dim=0)
    sign = torch.where(left[largest, torch.arange(left.shape[1], device=left.device)] < 0, -1.0, 1.0)
    return left * sign, right * sign


class BaseWeight:
    """One unchanged weight and what was computed about it, kept for the next strength and the next job."""

    def __init__(self, dense: Callable[[], Tensor]) -> None:
        """``dense`` returns the weight, [out, in] float32; it is called only when a norm or a basis needs it."""
        self.dense = dense
        self._own: dict[tuple[str, int], tuple[Tensor, ...]] = {}
        self._with_adapters: dict[tuple[str, int], tuple[Tensor, ...]] = {}

    def squares(self, dim: int) -> Tensor:
        """Return the squared norm of every row (dim 1) or column (dim 0)."""
        return _kept(self._own, ("squares", dim), lambda: (self.dense().square().sum(dim),))[0]

    def factors(self, layer: Parameters, kind: str, rank: int) -> tuple[Tensor, Tensor]:
        """Return ``up`` [out, r] and ``down`` [r, in] of an adapter's layer: the same tensors every time.

        An -xs layer needs the weight's singular bases.
        """
        if not kind.endswith(XS_SUFFIX):
            return layer["lora_B"], layer["lora_A"]
        middle = layer["M_xs"]
        left, down = self.bases(rank)
        up, _ = _kept(self._with_adapters, ("up", id(middle)), lambda: (left @ middle, middle))
        return up, down

    def bases(self, rank: int) -> tuple[Tensor, Tensor]:
        """Return the weight's singular bases, U [out, r] and V^T [r, in], by far the most expensive fact."""

        def decompose() -> tuple[Tensor, ...]:
            weight = self.dense()
            left, right = singular_bases(weight.cpu(), rank)  # the same on every device
            return left.contiguous().to(weight.device), right.T.contiguous().to(weight.device)

        left, down = _kept(self._own, ("bases", rank), decompose)
        return left, down

    def know_bases(self, left: Tensor, down: Tensor) -> None:
        """Take bases that were computed before."""
        self._own["bases", len(down)] = left, down

    def times_down(self, down: Tensor) -> Tensor:
        """Return W @ down^T, [out, r]."""
        return _kept(self._with_adapters, ("W down", id(down)), lambda: (self.dense() @ down.T, down))[0]

    def times_up(self, up: Tensor) -> Tensor:
        """Return up^T @ W, [r, in]."""
        return _kept(self._with_adapters, ("up W", id(up)), lambda: (up.T @ self.dense(), up))[0]

    def forget_adapters(self) -> None:
        """Drop what was computed together with adapters."""
        self._with_adapters.clear()


def _kept(
    facts: dict[tuple[str, int], tuple[Tensor, ...]], key: tuple[str, int], compute: Callable[[], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Look a fact up or compute it. One keyed by a tensor's id holds that tensor too: no other can get the id."""
    if key not in facts:
        facts[key] = compute()
    return facts[key]


@dataclass(frozen=True)
class Term:
    """rows * up @ down * columns; ``up`` [out, r] and ``down`` [r, in] are the adapter's own, scaled when used."""

    up: Tensor
    down: Tensor
    rows: float | Tensor
    columns: Tensor | None = None

    def scaled_up(self) -> Tensor:
        """Return rows * up."""
        return self.up * (self.rows[:, None] if isinstance(self.rows, Tensor) else self.rows)

    def scaled_down(self) -> Tensor:
        """Return down * columns."""
        return self.down if self.columns is None else self.down * self.columns


@dataclass(frozen=True)
class Form:
    """The effective weight rows * W * columns + the sum of the terms; a missing vector is all ones."""

    rows: Tensor | None = None
    columns: Tensor | None = None
    terms: tuple[Term, ...] = ()

    def up(self) -> Tensor:
        """Return what all terms do after the bottleneck, [out, R]."""
        return _joined([term.scaled_up() for term in self.terms], dim=1)

    def down(self) -> Tensor:
        """Return what all terms do before it, [R, in]."""
        return _joined([term.scaled_down() for term in self.terms], dim=0)

    def weight(self, base: Tensor) -> Tensor:
        """Return the effective weight as one matrix."""
        weight = base if self.rows is None else self.rows[:, None] * base
        weight = weight if self.columns is None else weight * self.columns
        return weight + self.up() @ self.down() if self.terms else weight

    def with_use(self, base: BaseWeight, use: Use, layer: Parameters) -> Form:
        """Return the form after one more adapter, which acts on what those before it made."""
        adapter = use.adapter
        if use.strength == 0:
            return self
        up, down = base.factors(layer, adapter.kind, adapter.rank)
        moved = replace(self, terms=(*self.terms, Term(up, down, adapter.alpha / adapter.rank * use.strength)))
        match adapter.kind.removesuffix(XS_SUFFIX):
            case "lora":
                return moved
            case "dora-rows":
                return moved.with_row_norms(base, layer["magnitude"])
            case "dora-cols":
                return moved.with_column_norms(base, layer["magnitude"])
            case _:
                return moved.with_row_norms(base, layer["magnitude_r"]).with_column_norms(base, layer["magnitude_c"])

    def with_row_norms(self, base: BaseWeight, magnitude: Tensor) -> Form:
        """Give every row its learned length.

        A row's square is that of W's row, twice its product with the low-rank row, and the low-rank row's square.
        """
        up, down = self.up(), self.down()
        if self.columns is None:
            squares, cross = base.squares(1), _joined([base.times_down(term.down) for term in self.terms], dim=1)
        else:
            squares, cross = column_scaled_products(base.dense(), self.columns, down)
        if self.rows is not None:
            squares, cross = squares * self.rows.square(), cross * self.rows[:, None]
        squares = squares + (torch.addmm(cross, up, down @ down.T, beta=2) * up).sum(1)
        factor = magnitude / (squares.clamp(min=0).sqrt() + NORM_FLOOR)
        rows = factor if self.rows is None else factor * self.rows
        return Form(rows, self.columns, tuple(replace(term, rows=term.rows * factor) for term in self.terms))

    def with_column_norms(self, base: BaseWeight, magnitude: Tensor) -> Form:
        """Give every column its learned length, as ``with_row_norms`` gives the rows theirs."""
        up, down = self.up(), self.down()
        if self.rows is None:
            scales = [float(term.rows) for term in self.terms]
            crosses = [scale * base.times_up(term.up) for scale, term in zip(scales, self.terms, strict=True)]
            squares, cross = base.squares(0), _joined(crosses, dim=0)
        else:
            squares, cross = row_scaled_products(base.dense(), self.rows, up)
        if self.columns is not None:
            squares, cross = squares * self.columns.square(), cross * self.columns
        squares = squares + (torch.addmm(cross, up.T @ up, down, beta=2) * down).sum(0)
        factor = magnitude / (squares.clamp(min=0).sqrt() + NORM_FLOOR)
        columns = factor if self.columns is None else factor * self.columns
        scaled = (factor if term.columns is None else term.columns * factor for term in self.terms)
        terms = tuple(replace(term, columns=vector) for term, vector in zip(self.terms, scaled, strict=True))
        return Form(self.rows, columns, terms)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def row_scaled_products(weight: Tensor, rows: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns' squared norms [in] of rows * W, and up^T @ (rows * W) [R, in]; W is read once, in blocks."""
    squares, cross = weight.new_zeros(weight.shape[1]), weight.new_zeros(up.shape[1], weight.shape[1])
    for start in range(0, len(weight), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        scaled = weight[block] * rows[block, None]
        cross.addmm_(up[block].T, scaled)
        squares += scaled.square_().sum(0)
    return squares, cross


def column_scaled_products(weight: Tensor, columns: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows' squared norms [out] of W * columns, and (W * columns) @ down^T [out, R], W read once."""
    squares, cross = [], []
    for start in range(0, len(weight), BLOCK_ROWS):
        scaled = weight[start : start + BLOCK_ROWS] * columns
        cross.append(scaled @ down.T)
        squares.append(scaled.square_().sum(1))
    return torch.cat(squares), torch.cat(cross)
