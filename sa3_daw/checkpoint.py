"""Strict loading of safetensors checkpoints into modules. Knows key names and files, nothing of audio or sampling.

Modules carry the published key names, so a state dict is the checkpoint. Every key must be used and every shape must
fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sa3_daw.adapter_files import AdapterEntry
from sa3_daw.errors import CheckpointMismatch
from sa3_daw.models.lora import Adapter
from sa3_daw.weight_files import open_weights

ROTARY_BUFFER = ".inv_freq"
"""Published files store these; we recompute them in float32, which half precision cannot hold."""

LISTED_KEYS = 20

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Map every tensor of a model folder, after every header was found sound; nothing is copied.

    The tensors are views of the files: pages are read when they are first used, and shared with other processes.
    Raises CheckpointMissing or CheckpointMismatch, naming the file and what is wrong with it.
    """
    tensors: dict[str, Tensor] = {}
    for file in open_weights(directory):
        try:
            tensors |= load_file(file.path)
        except (SafetensorError, OSError) as error:
            raise CheckpointMismatch(f"{file.path} is not a readable safetensors file: {error}") from error
    return tensors


def read_adapter(entry: AdapterEntry) -> Adapter:
    """Read the values of the adapter that ``entry`` describes. Raises CheckpointMismatch, naming the file."""
    try:
        return Adapter.from_tensors(load_file(entry.tensors_path), entry)
    except (SafetensorError, OSError) as error:
        raise CheckpointMismatch(f"{entry.tensors_path} is not a readable safetensors file: {error}") from error


def build(factory: Callable[[], AnyModule]) -> AnyModule:
    """Construct a module without allocating or initialising its weights; ``load_strict`` brings them."""
    with torch.device("meta"), _Unfilled():
        return factory()


class _Unfilled(TorchFunctionMode):
    """Leaves out what draws or fills values: on the meta device torch imports a second of Python to do nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if "out" in kwargs:
            return kwargs["out"]
        if name.endswith("_") and not name.endswith("__"):
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def load_strict(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], source: str) -> None:
    """Load ``tensors`` into the modules, each under its key prefix, as float32; float32 ones are not copied.

    Raises CheckpointMismatch as ``check_keys`` does; nothing is loaded then.
    """
    found = {key: (tuple(tensor.shape), tensor.is_floating_point()) for key, tensor in tensors.items()}
    check_keys(modules, found, source)
    for prefix, module in modules.items():
        state = {key: tensors[prefix + key].float() for key in module.state_dict()}
        module.load_state_dict(state, strict=True, assign=True)
        module.requires_grad_(False).eval()


def check_keys(
    modules: Mapping[str, nn.Module], found: Mapping[str, tuple[tuple[int, ...], bool]], source: str
) -> None:
    """Compare what a file holds, {key: (shape, is it floating)}, with what the modules want, each under its prefix.

    Raises CheckpointMismatch listing every missing, unexpected, misshapen and mistyped key.
    """
    wanted = {prefix + key: tensor for prefix, module in modules.items() for key, tensor in module.state_dict().items()}
    both = sorted(wanted.keys() & found.keys())
    faults = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(key for key in found.keys() - wanted.keys() if not key.endswith(ROTARY_BUFFER)),
        "misshapen": [
            f"{key} is {list(found[key][0])}, wanted {list(wanted[key].shape)}"
            for key in both
            if found[key][0] != tuple(wanted[key].shape)
        ],
        "mistyped": [f"{key} holds whole numbers, wanted floating ones" for key in both if not found[key][1]],
    }
    told = [f"{len(keys)} {what} ({_listed(keys)})" for what, keys in faults.items() if keys]
    if told:
        raise CheckpointMismatch(f"{source} does not fit its config: {'; '.join(told)}", value=source)


def _listed(keys: list[str]) -> str:
    rest = len(keys) - LISTED_KEYS
    return ", ".join(keys[:LISTED_KEYS]) + (f", and {rest} more" if rest > 0 else "")
