"""Trainable low-rank adapters on a model, of every published kind. Knows no data and no loop.

Each adapted weight is parametrised, so that training changes the adapter's own numbers and the state dict's keys are
the published file's. Source: SPEC 7; the arithmetic is that of sa3_daw/models/lora.py, held equal by a test.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from sa3_daw.adapter_files import KEY_INFIX, KINDS, XS_SUFFIX
from sa3_daw.errors import invalid
from sa3_daw.models.lora import NORM_FLOOR, singular_bases
from sa3_training.flow.denoiser import Denoiser

ALL_KINDS = tuple(kind + suffix for suffix in ("", XS_SUFFIX) for kind in KINDS)


@dataclass(frozen=True)
class AdapterRecipe:
    """What is adapted and how; the fields that the published file's ``lora_config`` has.

    ``include`` and ``exclude`` are parts of module paths (``cross_attn``, ``layers.[0-3].``); with none included all
    are, and exclusion wins. ``alpha`` 0 means the rank.
    """

    kind: str = "dora-rows"
    rank: int = 16
    alpha: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InvalidField unless kind and rank can be trained."""
        if self.kind not in ALL_KINDS:
            raise invalid("kind", self.kind, ", ".join(ALL_KINDS))
        if self.rank < 1:
            raise invalid("rank", self.rank, "1 or more")

    def config(self) -> dict[str, object]:
        """Return the file's ``lora_config``."""
        values = asdict(self)
        return {
            "rank": self.rank,
            "alpha": self.alpha or self.rank,
            "adapter_type": values["kind"],
            "dropout": 0.0,
            "include": list(self.include) or None,
            "exclude": list(self.exclude) or None,
        }


class LowRank(nn.Module):
    """The parametrisation of one weight, seen as a matrix [out, in] (convolutions flattened)."""

    def __init__(self, weight: Tensor, recipe: AdapterRecipe, generator: torch.Generator) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1).float()
        rows, columns = matrix.shape
        self.form = recipe.kind.removesuffix(XS_SUFFIX)
        self.is_xs = recipe.kind.endswith(XS_SUFFIX)
        self.scale = (recipe.alpha or recipe.rank) / recipe.rank
        device = matrix.device
        if self.is_xs:
            if recipe.rank > min(rows, columns):
                raise invalid("rank", recipe.rank, f"at most {min(rows, columns)} for {recipe.kind}")
            left, right = singular_bases(matrix, recipe.rank)
            self.register_buffer("left", left.contiguous(), persistent=False)
            self.register_buffer("right", right.contiguous(), persistent=False)
            self.M_xs = nn.Parameter(torch.zeros(recipe.rank, recipe.rank, device=device))
        else:
            bound = 1 / math.sqrt(columns)
            start = torch.empty(recipe.rank, columns).uniform_(-bound, bound, generator=generator)
            self.lora_A = nn.Parameter(start.to(device))
            self.lora_B = nn.Parameter(torch.zeros(rows, recipe.rank, device=device))
        if self.form == "bora":
            self.magnitude_r = nn.Parameter(matrix.norm(dim=1))
            self.magnitude_c = nn.Parameter(matrix.norm(dim=0))
        elif self.form != "lora":
            self.magnitude = nn.Parameter(matrix.norm(dim=1 if self.form == "dora-rows" else 0))
        self.left: Tensor
        self.right: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """Return the effective weight, in the base weight's precision.

        It is computed again for the backward pass: its float32 steps are several times the base model's size.
        """
        return (
            checkpoint(self._effective, weight, use_reentrant=False)
            if torch.is_grad_enabled()
            else self._effective(weight)
        )

    def _effective(self, weight: Tensor) -> Tensor:
        delta = self.left @ self.M_xs @ self.right.T if self.is_xs else self.lora_B @ self.lora_A
        moved = weight.flatten(1).float() + self.scale * delta
        if self.form == "dora-rows":
            moved = _with_lengths(moved, self.magnitude, dim=1)
        elif self.form == "dora-cols":
            moved = _with_lengths(moved, self.magnitude, dim=0)
        elif self.form == "bora":
            moved = _with_lengths(_with_lengths(moved, self.magnitude_r, dim=1), self.magnitude_c, dim=0)
        return moved.view_as(weight).to(weight.dtype)


def _with_lengths(matrix: Tensor, magnitude: Tensor, dim: int) -> Tensor:
    return magnitude.unsqueeze(dim) * matrix / (matrix.norm(dim=dim, keepdim=True) + NORM_FLOOR)


def attach(denoiser: Denoiser, recipe: AdapterRecipe, seed: int) -> list[str]:
    """Freeze the denoiser and put an adapter on every chosen Linear and Conv1d; return their published paths.

    Raises InvalidField when nothing is chosen.
    """
    recipe.check()
    denoiser.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    chosen = {path: module for path, module in adaptable(denoiser).items() if is_chosen(path, recipe)}
    if not chosen:
        raise invalid("include", recipe.include, "parts of module paths such as cross_attn or layers.[0-3].")
    for module in chosen.values():
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, recipe, generator))
    return list(chosen)


def recompute_blocks(denoiser: Denoiser) -> None:
    """Let every block forget its inner tensors and compute them again for the backward pass: slower, far smaller."""
    for block in denoiser.dit.transformer.blocks():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def detach(denoiser: Denoiser) -> None:
    """Take the adapters off; the base weights are as they were."""
    for module in list(denoiser.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def adaptable(denoiser: Denoiser) -> dict[str, nn.Linear | nn.Conv1d]:
    """Return every module that can be adapted by its published path."""
    found: dict[str, nn.Linear | nn.Conv1d] = {}
    for prefix, root in (("model.", denoiser.dit), ("", denoiser.conditioner)):
        for path, module in root.named_modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                found[prefix + path] = module
    return found


def is_chosen(path: str, recipe: AdapterRecipe) -> bool:
    """Say whether the recipe adapts the module at ``path``."""
    if any(pattern in path for pattern in expand(recipe.exclude)):
        return False
    return not recipe.include or any(pattern in path for pattern in expand(recipe.include))


def expand(patterns: Sequence[str]) -> list[str]:
    """Return the patterns with every ``[a-b]`` written out, in all combinations."""
    expanded: list[str] = []
    for pattern in patterns:
        pieces = re.split(r"\[(\d+)-(\d+)\]", pattern)
        choices = []
        for first, last in zip(pieces[1::3], pieces[2::3], strict=True):
            low, high = int(first), int(last)
            step = 1 if low <= high else -1
            choices.append([str(number) for number in range(low, high + step, step)])
        for picked in itertools.product(*choices):
            parts = [pieces[0], *(number + rest for number, rest in zip(picked, pieces[3::3], strict=True))]
            expanded.append("".join(parts))
    return expanded


def adapter_tensors(denoiser: Denoiser) -> dict[str, Tensor]:
    """Return the adapter under its published keys, float16 on the CPU."""
    renamed = {}
    for key, tensor in denoiser.state_dict().items():
        if KEY_INFIX not in key or key.endswith(".original"):
            continue
        path = (
            key.removeprefix("conditioner.") if key.startswith("conditioner.") else "model." + key.removeprefix("dit.")
        )
        renamed[path] = tensor.detach().half().cpu().contiguous()
    return renamed
