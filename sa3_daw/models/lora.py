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
            flat = tensor.float().flatten() if "magnitude" in name else tensor.float().flatten(1)
            layers.setdefault(path, {})[name] = flat
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

    def to(self, device: torch.device) -> Adapter:
        """Return the adapter with its parameters on a device."""
        layers = {
            path: {name: value.to(device) for name, value in layer.items()} for path, layer in self.layers.items()
        }
        return replace(self, layers=layers)


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

        An -xs layer needs the weight's singular bases, by far the most expensive fact.
        """
        if not kind.endswith(XS_SUFFIX):
            return layer["lora_B"], layer["lora_A"]
        middle = layer["M_xs"]

        def decompose() -> tuple[Tensor, ...]:
            left, right = singular_bases(self.dense(), rank)
            return left, right.T.contiguous()

        left, down = _kept(self._own, ("bases", rank), decompose)
        up, _ = _kept(self._with_adapters, ("up", id(middle)), lambda: (left @ middle, middle))
        return up, down

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
    """scale * up @ down; ``up`` [out, r], ``down`` [r, in]."""

    scale: float
    up: Tensor
    down: Tensor


@dataclass(frozen=True)
class Form:
    """The effective weight rows * W * columns + the sum of the terms; a missing vector is all ones."""

    rows: Tensor | None = None
    columns: Tensor | None = None
    terms: tuple[Term, ...] = ()

    def weight(self, base: Tensor) -> Tensor:
        """Return the effective weight as one matrix."""
        weight = base if self.rows is None else self.rows[:, None] * base
        weight = weight if self.columns is None else weight * self.columns
        for term in self.terms:
            weight = weight + term.scale * (term.up @ term.down)
        return weight

    def with_use(self, base: BaseWeight, use: Use, layer: Parameters) -> Form:
        """Return the form after one more adapter, which acts on what those before it made."""
        adapter = use.adapter
        if use.strength == 0:
            return self
        up, down = base.factors(layer, adapter.kind, adapter.rank)
        moved = replace(self, terms=(*self.terms, Term(adapter.alpha / adapter.rank * use.strength, up, down)))
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
        """Give every row its learned length."""
        if self.columns is None:
            squares = base.squares(1)
            crosses = [base.times_down(term.down) for term in self.terms]
        else:
            dense = base.dense() * self.columns
            squares, crosses = dense.square().sum(1), [dense @ term.down.T for term in self.terms]
        squares = squares if self.rows is None else squares * self.rows.square()
        for term, cross in zip(self.terms, crosses, strict=True):
            along = (cross * term.up).sum(1) * (2 * term.scale)
            squares = squares + (along if self.rows is None else along * self.rows)
        for one in self.terms:
            for other in self.terms:
                gram = one.up @ (one.down @ other.down.T)
                squares = squares + one.scale * other.scale * (gram * other.up).sum(1)
        factor = magnitude / (squares.clamp(min=0).sqrt() + NORM_FLOOR)
        terms = tuple(replace(term, up=term.up * factor[:, None]) for term in self.terms)
        return Form(factor if self.rows is None else factor * self.rows, self.columns, terms)

    def with_column_norms(self, base: BaseWeight, magnitude: Tensor) -> Form:
        """Give every column its learned length."""
        if self.rows is None:
            squares = base.squares(0)
            crosses = [base.times_up(term.up) for term in self.terms]
        else:
            dense = base.dense() * self.rows[:, None]
            squares, crosses = dense.square().sum(0), [term.up.T @ dense for term in self.terms]
        squares = squares if self.columns is None else squares * self.columns.square()
        for term, cross in zip(self.terms, crosses, strict=True):
            along = (cross * term.down).sum(0) * (2 * term.scale)
            squares = squares + (along if self.columns is None else along * self.columns)
        for one in self.terms:
            for other in self.terms:
                gram = (other.up.T @ one.up) @ one.down
                squares = squares + one.scale * other.scale * (gram * other.down).sum(0)
        factor = magnitude / (squares.clamp(min=0).sqrt() + NORM_FLOOR)
        terms = tuple(replace(term, down=term.down * factor) for term in self.terms)
        return Form(self.rows, factor if self.columns is None else factor * self.columns, terms)
