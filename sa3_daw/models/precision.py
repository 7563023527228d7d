"""Faster arithmetic for a loaded model, chosen once by measuring this machine. Knows no job and no file.

The plain float32 modules are the specification. Here the linear layers of their transformers are replaced, each at
its path, by layers that compute in bfloat16 or in eight bits and keep the same contract: float32 in, float32 out.
Residuals, norms, rotary positions, time and duration features stay float32, and attention on processors; on a GPU it
follows the precision, because only then torch has its fastest kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.errors import Unsupported
from sa3_daw.models.dit import CrossAttention, DiT, SelfAttention
from sa3_daw.models.resampling import DifferentialAttention, ResamplingBlock
from sa3_daw.models.same import Same

PRECISIONS = ("fp32", "bf16", "w8a8")

WORTHWHILE = 1.3
"""bf16 is chosen by itself only where its matmul measured this many times as fast as float32's."""

PROBE_SHAPES = {"cpu": (256, 1024, 1024), "cuda": (4096, 4096, 4096)}
"""Rows, inputs, outputs. A smaller product ends before a GPU's host has told it of the next."""
PROBE_ROUNDS = 3

DIT_LAYERS = "dit.transformer.layers"

ZERO_POINT = 128
LARGEST_INPUT = 127
"""Inputs are symmetric around ZERO_POINT in unsigned bytes."""


@dataclass(frozen=True)
class PrecisionChoice:
    """What a model is to compute in, and why. ``precision`` is one of PRECISIONS, ``device`` cpu or cuda."""

    precision: str
    device: str
    compile: bool
    reason: str


PLAIN = PrecisionChoice("fp32", "cpu", compile=False, reason="the reference")


def choose_precision(asked: str, device: str = "auto", compile_blocks: bool = False) -> PrecisionChoice:
    """Resolve what the configuration asks for; ``auto`` measures matmuls for some 50 ms.

    Raises Unsupported for a GPU that is not there, and for eight bits on a GPU.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise Unsupported("device is 'cuda', but torch sees no GPU", field="device", value=device, allowed="auto, cpu")
    device = "cuda" if has_gpu and device != "cpu" else "cpu"
    if asked == "w8a8" and device == "cuda":
        raise Unsupported("w8a8 is built for processors", field="precision", value=asked, allowed="auto, fp32, bf16")
    if asked != "auto":
        return PrecisionChoice(asked, device, compile_blocks, "as configured")
    ratio = bf16_speed_up(device)
    chosen = "bf16" if ratio >= WORTHWHILE else "fp32"
    return PrecisionChoice(chosen, device, compile_blocks, f"bf16 matmuls run {ratio:.1f} times as fast as fp32 here")


@torch.inference_mode()
def bf16_speed_up(device: str) -> float:
    """Measure how many times as fast as a float32 matmul one in bfloat16 is; processor flags do not tell."""
    rows, dim_in, dim_out = PROBE_SHAPES[device]
    x, weight = torch.ones(rows, dim_in, device=device), torch.ones(dim_out, dim_in, device=device)
    x_half, weight_half = x.bfloat16(), weight.bfloat16()
    plain = _best_seconds(lambda: F.linear(x, weight), device)
    return plain / _best_seconds(lambda: F.linear(x_half, weight_half), device)


def _best_seconds(call: Callable[[], Tensor], device: str) -> float:
    best = float("inf")
    for _ in range(PROBE_ROUNDS + 1):  # the first builds the kernel
        started = perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, perf_counter() - started)
    return best


def apply_precision(
    dit: DiT, same: Same, choice: PrecisionChoice, converted: Mapping[str, Tensor] | None = None
) -> None:
    """Convert loaded modules in place; ``converted`` is what ``converted_weights`` returned for these weights.

    Without it they are converted now, layer by layer, so that no second copy of the whole ever exists.
    """
    for place in _convertible(dit, same, choice.precision):
        converter = CONVERTERS[choice.precision]
        own = {key: converted[f"{place.path}.{key}"] for key in converter.PARTS} if converted else None
        setattr(place.parent, place.name, converter(place.linear, own))
    if choice.precision == "bf16" and choice.device == "cuda":
        attend_in(torch.bfloat16, dit, same)
    if choice.compile:
        for layers in _transformers(dit, same).values():
            for layer in layers:
                layer.compile(dynamic=True)
    if choice.device != "cpu":
        dit.to(choice.device)
        same.to(choice.device)


def converted_form(precision: str) -> str:
    """Return what converted weights depend on besides the plain ones, in letters and digits."""
    return f"w8a8x{largest_weight()}" if precision == "w8a8" else precision


def converted_weights(dit: DiT, same: Same, precision: str) -> dict[str, Tensor]:
    """Return what the layers of a precision hold instead of their plain weights, by path."""
    converter = CONVERTERS[precision]
    return {
        f"{place.path}.{key}": tensor
        for place in _convertible(dit, same, precision)
        for key, tensor in converter.convert(place.linear.weight.detach()).items()
    }


def attend_in(dtype: torch.dtype, dit: DiT, same: Same) -> None:
    """Let every attention multiply in ``dtype``; it keeps its contract, float32 in and out."""
    for module in (*dit.modules(), *same.modules()):
        if isinstance(module, SelfAttention | CrossAttention | DifferentialAttention):
            module.attention_dtype = dtype


def call_before_layers(dit: DiT, same: Same, call: Callable[[], None]) -> None:
    """Call it before each transformer layer of plain models; it is not for layers that are compiled or captured."""

    def before(layer: nn.Module, inputs: object) -> None:
        call()

    for layers in _transformers(dit, same).values():
        for layer in layers:
            layer.register_forward_pre_hook(before)


def take_compilation_off(dit: DiT, same: Same) -> None:
    """Undo ``compile`` of ``apply_precision``, for machines where the compiler does not work."""
    for layers in _transformers(dit, same).values():
        for layer in layers:
            layer._compiled_call_impl = None


@dataclass(frozen=True)
class _Place:
    """Where a linear layer sits: its path over both models, its parent and its name there."""

    path: str
    parent: nn.Module
    name: str
    linear: nn.Linear


def _convertible(dit: DiT, same: Same, precision: str) -> list[_Place]:
    """Eight bits are for the DiT alone: a decoder's error is heard as it is, and decoding is the smaller part."""
    transformers = _transformers(dit, same)
    if precision == "fp32":
        return []
    if precision == "w8a8":
        transformers = {DIT_LAYERS: transformers[DIT_LAYERS]}
    return [
        _Place(f"{path}.{name}", parent, name, child)
        for prefix, layers in transformers.items()
        for path, parent in layers.named_modules(prefix=prefix)
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]


def _transformers(dit: DiT, same: Same) -> dict[str, nn.ModuleList]:
    blocks = {name: block for name, block in same.named_modules() if isinstance(block, ResamplingBlock)}
    return {DIT_LAYERS: dit.transformer.layers} | {
        f"same.{name}.transformers": block.transformers for name, block in blocks.items()
    }


def _int8_product(whole_NK: Tensor, packed: Tensor, scales_M: Tensor, zero_point: int) -> Tensor:
    no_zero_points = torch.zeros(len(scales_M), dtype=torch.long)
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        whole_NK, 1.0, zero_point, packed, scales_M, no_zero_points, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


def _int8_product_shape(whole_NK: Tensor, packed: Tensor, scales_M: Tensor, zero_point: int) -> Tensor:
    return scales_M.new_empty(whole_NK.shape[0], len(scales_M))


# One operator, so that blocks compile. torch's decorator for this imports its compiler at the first call: 1.7 s.
OPERATORS = torch.library.Library("sa3_daw", "FRAGMENT")  # type: ignore[no-untyped-call]
OPERATORS.define("int8_product(Tensor whole_NK, Tensor packed, Tensor scales_M, int zero_point) -> Tensor")  # type: ignore[no-untyped-call]
OPERATORS.impl("int8_product", _int8_product, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
OPERATORS.impl("int8_product", _int8_product_shape, "Meta")  # type: ignore[no-untyped-call]


def int8_product(whole_NK: Tensor, packed: Tensor, scales_M: Tensor, zero_point: int) -> Tensor:
    """Return (whole - zero_point) @ weight^T * scales, float32 [N, M]."""
    product: Tensor = torch.ops.sa3_daw.int8_product(whole_NK, packed, scales_M, zero_point)
    return product


class Bf16Linear(nn.Module):
    """A linear layer that multiplies in bfloat16."""

    PARTS = ("weight",)

    def __init__(self, plain: nn.Linear, converted: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        converted = converted or self.convert(plain.weight.detach())
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight = nn.Parameter(converted["weight"], requires_grad=False)
        self.bias = plain.bias

    @staticmethod
    def convert(weight: Tensor) -> dict[str, Tensor]:
        """Return what a layer of this weight holds."""
        return {"weight": weight.bfloat16()}

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.bfloat16()
        return F.linear(x.bfloat16(), self.weight, bias).float()

    def dense_weight(self) -> Tensor:
        """Return the weight that is multiplied with, float32 [out, in]."""
        return self.weight.float()


class W8A8Linear(nn.Module):
    """A linear layer in eight bits: one scale for each output channel, and for each token as it comes."""

    PARTS = ("whole", "scales")

    def __init__(self, plain: nn.Linear, converted: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        converted = converted or self.convert(plain.weight.detach())
        self.in_features, self.out_features = plain.in_features, plain.out_features
        packed = torch.ops.onednn.qlinear_prepack(converted["whole"], None)
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("scales", converted["scales"].clone(), persistent=False)  # lets go of the file they lie in
        self.packed: Tensor
        self.scales: Tensor
        self.bias = plain.bias

    @staticmethod
    def convert(weight: Tensor) -> dict[str, Tensor]:
        """Return what a layer of this weight is made of: whole numbers and a scale for each output channel."""
        weight = weight.float()
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / largest_weight()
        return {"whole": (weight / scales[:, None]).round().to(torch.int8), "scales": scales}

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features)
        # Not vector_norm or aminmax: torch's kernels for them took 17 times as long, a tenth of a whole step.
        largest = torch.maximum(flat.amax(dim=-1, keepdim=True), -flat.amin(dim=-1, keepdim=True))
        step = largest.clamp(min=1e-30) / LARGEST_INPUT
        whole = (flat / step).add_(ZERO_POINT + 0.5).to(torch.uint8)
        product = int8_product(whole, self.packed, self.scales, ZERO_POINT)
        y = product * step if self.bias is None else torch.addcmul(self.bias, product, step)
        return y.view(*x.shape[:-1], self.out_features)

    def dense_weight(self) -> Tensor:
        """Return the weight that is multiplied with, float32 [out, in]; unit vectors read it out exactly."""
        read = self(torch.eye(self.in_features))
        return (read if self.bias is None else read - self.bias).T.contiguous()


CONVERTERS: dict[str, type[Bf16Linear] | type[W8A8Linear]] = {"bf16": Bf16Linear, "w8a8": W8A8Linear}


def largest_weight() -> int:
    """Return the largest whole number a weight may be: 127, or 63 where sums of two products stick at 16 bits.

    Processors without VNNI add two products in 16 bits; with 7-bit weights none of these sums can be too large.
    """
    return 63 if _sticks_at_16_bits() else 127


def _sticks_at_16_bits() -> bool:
    whole = torch.full((16, 64), 255, dtype=torch.uint8)
    packed = torch.ops.onednn.qlinear_prepack(torch.full((16, 64), 127, dtype=torch.int8), None)
    product = int8_product(whole, packed, torch.ones(16), 0)
    return bool((product != 255 * 127 * 64).any())
