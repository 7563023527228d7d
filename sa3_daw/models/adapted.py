"""Adapters on a model's layers: put on, switched by noise level, taken off. Knows no files and no sampler.

While adapters are on, each layer they change is replaced in its parent by a wrapper that calls it: base weights are
never touched, whatever their precision, and taking off puts the same modules back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod

import torch
from torch import Tensor, nn

from sa3_daw.models.lora import Adapter, BaseWeight, Form, Use

LISTED_LAYERS = 20


def dense_weight(module: nn.Module) -> Tensor:
    """Return a layer's weight as [out, in] float32; layers in other precisions say how by ``dense_weight``."""
    own = getattr(module, "dense_weight", None)
    weight: Tensor = own() if own else module.get_parameter("weight")
    return weight.detach().flatten(1).float()


class AdaptedLayer(nn.Module):
    """A Linear or pointwise Conv1d with adapters beside it: y = rows * W(columns * x) + up(down(x)) + bias."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        bias = getattr(base, "bias", None)
        self.bias = bias if isinstance(bias, Tensor) else None
        self.is_conv = isinstance(base, nn.Conv1d)
        self.set_form(Form())

    def set_form(self, form: Form) -> None:
        """Take another effective weight."""
        self.rows, self.columns = (self._over_channels(vector) for vector in (form.rows, form.columns))
        self.up: Tensor | None = form.up() if form.terms else None
        self.down: Tensor | None = form.down() if form.terms else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x if self.columns is None else x * self.columns.to(x.dtype))
        if self.rows is not None:
            bias = self._over_channels(self.bias)
            y = y * self.rows.to(y.dtype) if bias is None else (y - bias) * self.rows.to(y.dtype) + bias
        if self.up is None or self.down is None:
            return y
        if self.is_conv:
            return y + (self.up @ (self.down @ x.float())).to(y.dtype)
        return y + (x.float() @ self.down.T @ self.up.T).to(y.dtype)

    def _over_channels(self, vector: Tensor | None) -> Tensor | None:
        return vector[:, None] if vector is not None and self.is_conv else vector


@dataclass(frozen=True)
class _Place:
    """Where a layer sits: its parent and its name there."""

    parent: nn.Module
    name: str
    layer: nn.Module


class AdaptableLayers:
    """The layers that adapters may change, by published path, and what is known about their weights."""

    def __init__(self, roots: Mapping[str, nn.Module]) -> None:
        """``roots`` maps a path prefix (``model.``, or empty for the conditioner) to its module."""
        self._roots = dict(roots)
        self._places: dict[str, _Place] = {}
        self._bases: dict[str, BaseWeight] = {}

    def place(self, path: str) -> _Place | None:
        """Return where the layer of that path sits; None when the model has none."""
        if path not in self._places:
            for prefix, root in self._roots.items():
                found = _find(root, path.removeprefix(prefix)) if path.startswith(prefix) else None
                if found:
                    self._places[path] = found
                    break
        return self._places.get(path)

    def base(self, path: str) -> BaseWeight:
        """Return the facts about a layer's weight; they are kept as long as the model."""
        if path not in self._bases:
            layer = self._places[path].layer
            self._bases[path] = BaseWeight(lambda: dense_weight(layer))
        return self._bases[path]

    def faults(self, adapter: Adapter) -> list[str]:
        """Return what does not fit this model, one sentence a layer."""
        found = []
        for path, layer in sorted(adapter.layers.items()):
            place = self.place(path)
            if place is None:
                found.append(f"{path} is not in this model")
                continue
            rows, columns = _matrix_shape(place.layer)
            wanted = {
                "lora_A": (adapter.rank, columns), "lora_B": (rows, adapter.rank), "M_xs": (adapter.rank, adapter.rank),
                "magnitude_r": (rows,), "magnitude_c": (columns,),
                "magnitude": (columns,) if adapter.kind.startswith("dora-cols") else (rows,),
            }  # fmt: skip
            needed = adapter.parameter_names()
            shapes = {name: tuple(tensor.shape) for name, tensor in layer.items()}
            if shapes.keys() != needed:
                found.append(f"{path} has {', '.join(sorted(shapes))}, wanted {', '.join(sorted(needed))}")
            found += [
                f"{path}.{name} is {list(shapes[name])}, wanted {list(wanted[name])}"
                for name in sorted(needed & shapes.keys())
                if shapes[name] != wanted[name]
            ]
        return found

    def beside(self, adapter: Adapter) -> Adapter:
        """Return an adapter without faults, its parameters on the devices that its layers are on by now."""
        layers = {}
        for path, parameters in adapter.layers.items():
            place = self.place(path)
            assert place is not None, path
            layers[path] = {name: value.to(_device(place.layer)) for name, value in parameters.items()}
        return replace(adapter, layers=layers)

    def bases(self, paths: Sequence[str], rank: int) -> dict[str, Tensor]:
        """Return the singular bases of layers, by path and side, on the CPU."""
        found: dict[str, Tensor] = {}
        for path in paths:
            left, down = self.base(path).bases(rank)
            found |= {f"{path}.left": left.cpu(), f"{path}.down": down.cpu()}
        return found

    def know_bases(self, paths: Sequence[str], found: Mapping[str, Tensor]) -> None:
        """Take what ``bases`` returned for these layers before."""
        for path in paths:
            device = _device(self._places[path].layer)
            self.base(path).know_bases(found[f"{path}.left"].to(device), found[f"{path}.down"].to(device))

    def forget_adapters(self) -> None:
        """Drop what was computed together with adapters; facts about the weights alone stay."""
        for base in self._bases.values():
            base.forget_adapters()


def _find(root: nn.Module, path: str) -> _Place | None:
    parent, _, name = path.rpartition(".")
    try:
        holder = root.get_submodule(parent)
        layer = holder.get_submodule(name)
    except AttributeError:
        return None
    is_pointwise = isinstance(layer, nn.Conv1d) and layer.kernel_size == (1,)
    is_matrix = isinstance(layer, nn.Linear) or hasattr(layer, "dense_weight")
    return _Place(holder, name, layer) if is_pointwise or is_matrix else None


def _device(layer: nn.Module) -> torch.device:
    return next(chain(layer.parameters(), layer.buffers())).device


def _matrix_shape(layer: nn.Module) -> tuple[int, int]:
    if isinstance(layer, nn.Conv1d):
        return layer.out_channels, layer.in_channels * prod(layer.kernel_size)
    return int(layer.out_features), int(layer.in_features)  # type: ignore[arg-type]


class AdapterStack:
    """Adapters on one model, applied in order, each acting on the previous one's result."""

    def __init__(self, layers: AdaptableLayers, uses: Sequence[Use]) -> None:
        """Every adapter must be without ``AdaptableLayers.faults``."""
        self.uses = tuple(uses)
        self._layers = layers
        paths = sorted({path for use in self.uses for path in use.adapter.layers if use.acts_on(path)})
        self._wrappers = {path: AdaptedLayer(self._place(path).layer) for path in paths}
        self._forms: dict[tuple[bool, ...], dict[str, Form]] = {}
        self._current: tuple[bool, ...] | None = None

    @property
    def depends_on_t(self) -> bool:
        """Whether any adapter acts at some noise levels only."""
        return any(use.interval[0] > 0 or use.interval[1] < 1 for use in self.uses)

    def put_on(self) -> None:
        """Put the wrappers in the layers' places."""
        for path, wrapper in self._wrappers.items():
            place = self._place(path)
            setattr(place.parent, place.name, wrapper)

    def take_off(self) -> None:
        """Put the model's own layers back."""
        for path in self._wrappers:
            place = self._place(path)
            setattr(place.parent, place.name, place.layer)

    def switch_to(self, t: float) -> tuple[bool, ...]:
        """Make the adapters of noise level ``t`` act; returns which of them do. The conditioner ignores intervals."""
        active = tuple(use.is_active(t) for use in self.uses)
        if active != self._current:
            for path, form in self._forms_of(active).items():
                self._wrappers[path].set_form(form)
            self._current = active
        return active

    def weight(self, path: str) -> Tensor:
        """Return a layer's effective weight, [out, in], under what was last switched to."""
        assert self._current is not None
        form = self._forms_of(self._current).get(path, Form())
        return form.weight(self._layers.base(path).dense())

    def _forms_of(self, active: tuple[bool, ...]) -> dict[str, Form]:
        if active not in self._forms:
            self._forms[active] = {path: self._form(path, active) for path in self._wrappers}
        return self._forms[active]

    def _form(self, path: str, active: tuple[bool, ...]) -> Form:
        form, base = Form(), self._layers.base(path)
        for use, is_active in zip(self.uses, active, strict=True):
            layer = use.adapter.layers.get(path)
            if layer is not None and use.acts_on(path) and (is_active or not path.startswith("model.")):
                form = form.with_use(base, use, layer)
        return form

    def _place(self, path: str) -> _Place:
        place = self._layers.place(path)
        assert place is not None, f"{path}: adapters are checked for faults before they are stacked"
        return place
