"""Low-rank adapters of every published kind: effective weights, stacking, per-noise-level switching. Knows no files.

Base weights are never changed: a stack keeps them and puts baked copies in their place. Weights are treated
as [out, in] matrices, convolutions flattened. Source: SPEC 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sa3_daw.errors import CheckpointMismatch

KINDS = ("lora", "dora-rows", "dora-cols", "bora")
XS_SUFFIX = "-xs"
KEY_INFIX = ".parametrizations.weight."
NORM_FLOOR = 1e-12

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Adapter:
    """One adapter: ``layers`` maps a module path (``model.…`` or ``conditioners.…``) to its float32 parameters.

    ``kind`` is one of KINDS, with XS_SUFFIX when only an r x r matrix is learned between singular bases.
    """

    kind: str
    rank: int
    alpha: float
    layers: Mapping[str, Parameters] = field(repr=False)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: Mapping[str, object], source: str) -> Adapter:
        """Read the published layout. Raises CheckpointMismatch when it is empty or of an unknown kind."""
        layers: dict[str, Parameters] = {}
        for key, tensor in tensors.items():
            path, found, rest = key.partition(KEY_INFIX)
            if not found:
                raise CheckpointMismatch(f"{source} is no adapter: unexpected key {key}", value=source)
            name = rest.split(".", 1)[1]
            layers.setdefault(path, {})[name] = tensor.float().squeeze() if "magnitude" in name else tensor.float()
        if not layers:
            raise CheckpointMismatch(f"{source} adapts no layer", value=source)
        kind = str(config.get("adapter_type") or "lora")
        if kind == "dora":
            kind = _legacy_kind(tensors)
        if kind.removesuffix(XS_SUFFIX) not in KINDS:
            raise CheckpointMismatch(f"{source} has adapter_type {kind!r}; known: {KINDS}, with or without -xs")
        some = next(iter(layers.values()))
        rank = int(str(config.get("rank") or next(iter(some.values())).shape[0]))
        return cls(kind, rank, float(str(config.get("alpha") or rank)), layers)


def _legacy_kind(tensors: Mapping[str, Tensor]) -> str:
    """Tell what an old "dora" file means from the orientation of a two-dimensional magnitude."""
    flat = (tensor for key, tensor in tensors.items() if key.endswith("magnitude") and tensor.dim() == 2)
    return "dora-cols" if any(tensor.shape[0] == 1 for tensor in flat) else "dora-rows"


@dataclass(frozen=True)
class Use:
    """How one adapter is used: ``strength``, active while ``interval`` contains t, off in modules whose path
    relative to the DiT contains one of the comma-separated words of ``layer_filter``."""

    adapter: Adapter
    strength: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    layer_filter: str = ""

    def acts_on(self, path: str, t: float) -> bool:
        """Say whether this adapter changes the module at noise level ``t``; intervals leave the conditioner alone."""
        if not path.startswith("model."):
            return True
        words = [word.strip().lower() for word in self.layer_filter.split(",") if word.strip()]
        inside = path.removeprefix("model.")
        return self.interval[0] <= t <= self.interval[1] and not any(word in inside for word in words)


def singular_bases(original: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return U [out, r] and V [in, r] of the original weight; the largest entry of each U column is positive."""
    left, _, right = torch.linalg.svd(original.float(), full_matrices=False)
    left, right = left[:, :rank], right[:rank].T
    largest = left.abs().argmax(dim=0)
    sign = torch.where(left[largest, torch.arange(left.shape[1])] < 0, -1.0, 1.0)
    return left * sign, right * sign


def effective_weight(weight: Tensor, original: Tensor, adapter: Adapter, layer: Parameters, strength: float) -> Tensor:
    """Return ``weight`` [out, in] as this adapter changes it; ``original`` is the base weight of any stack."""
    if strength == 0:
        return weight
    if adapter.kind.endswith(XS_SUFFIX):
        left, right = singular_bases(original, adapter.rank)
        delta = left @ layer["M_xs"] @ right.T
    else:
        delta = layer["lora_B"] @ layer["lora_A"]
    moved = weight + adapter.alpha / adapter.rank * strength * delta
    match adapter.kind.removesuffix(XS_SUFFIX):
        case "lora":
            return moved
        case "dora-rows":
            return _renormed(moved, layer["magnitude"], dim=1)
        case "dora-cols":
            return _renormed(moved, layer["magnitude"], dim=0)
        case _:
            return _renormed(_renormed(moved, layer["magnitude_r"], dim=1), layer["magnitude_c"], dim=0)


def _renormed(matrix: Tensor, magnitude: Tensor, dim: int) -> Tensor:
    """Give every row (dim 1) or column (dim 0) its learned length."""
    return magnitude.unsqueeze(dim) * matrix / (matrix.norm(dim=dim, keepdim=True) + NORM_FLOOR)


class AdapterStack:
    """Adapters on one model, applied in order, each acting on the previous one's result."""

    def __init__(self, roots: Mapping[str, nn.Module], uses: Sequence[Use]) -> None:
        """``roots`` maps a path prefix (``model.``, or empty for the conditioner) to its module.

        Raises CheckpointMismatch listing every layer that the model lacks or that has another shape.
        """
        self._uses = tuple(uses)
        paths = {path for use in uses for path in use.adapter.layers}
        found = {path: _weight_of(roots, path) for path in sorted(paths)}
        self._weights = {path: weight for path, weight in found.items() if weight is not None}
        self._base = {path: weight.data for path, weight in self._weights.items()}
        self._baked: dict[tuple[bool, ...], dict[str, Tensor]] = {}
        wrong = sorted({path for use in uses for path in use.adapter.layers if not self._fits(use.adapter, path)})
        if wrong:
            raise CheckpointMismatch(f"{len(wrong)} adapted layers do not fit this model: {', '.join(wrong[:20])}")

    def switch_to(self, t: float) -> None:
        """Put the weights for noise level ``t`` in place; baked once per set of active adapters, then swapped."""
        key = tuple(use.interval[0] <= t <= use.interval[1] for use in self._uses)
        if key not in self._baked:
            self._baked[key] = {path: self._bake(path, t) for path in self._base}
        self._put(self._baked[key])

    def remove(self) -> None:
        """Put the base weights back, bit for bit."""
        self._put(self._base)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for path, weight in weights.items():
            self._weights[path].data = weight

    def _bake(self, path: str, t: float) -> Tensor:
        base = self._base[path]
        original = base.flatten(1).float()
        weight = original
        for use in self._uses:
            layer = use.adapter.layers.get(path)
            if layer is not None and use.acts_on(path, t):
                weight = effective_weight(weight, original, use.adapter, layer, use.strength)
        return weight.view_as(base).to(base.dtype)

    def _fits(self, adapter: Adapter, path: str) -> bool:
        if path not in self._base:
            return False
        rows, columns = self._base[path].flatten(1).shape
        wanted = {
            "lora_A": (adapter.rank, columns), "lora_B": (rows, adapter.rank), "M_xs": (adapter.rank, adapter.rank),
            "magnitude_r": (rows,), "magnitude_c": (columns,),
            "magnitude": (columns,) if adapter.kind.startswith("dora-cols") else (rows,),
        }  # fmt: skip
        return all(tuple(tensor.shape) == wanted.get(name) for name, tensor in adapter.layers[path].items())


def _weight_of(roots: Mapping[str, nn.Module], path: str) -> nn.Parameter | None:
    for prefix, root in roots.items():
        if path.startswith(prefix):
            try:
                weight = root.get_submodule(path.removeprefix(prefix)).weight
            except AttributeError:
                continue
            return weight if isinstance(weight, nn.Parameter) else None
    return None
