"""Faster arithmetic for a loaded model, chosen once by measuring this machine. Knows no job and no file.

The plain float32 modules are the specification. Here the linear layers of their transformers are replaced, each at
its path, by layers that compute in bfloat16 or in eight bits and keep the same contract: float32 in, float32 out.
Residuals, norms, rotary positions, time and duration features stay float32, and attention on processors; on a GPU it
follows the precision, because only then torch has its fastest kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

PROBE_SHAPE = (256, 1024, 1024)
PROBE_ROUNDS = 3

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
    rows, dim_in, dim_out = PROBE_SHAPE
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


def apply_precision(dit: DiT, same: Same, choice: PrecisionChoice) -> None:
    """Convert loaded modules in place, layer by layer, so that no second copy of the whole ever exists.

    Eight bits are for the DiT alone: a decoder's error is heard as it is, and decoding is the smaller part.
    """
    if choice.precision == "w8a8":
        _convert(dit.transformer.layers, W8A8Linear)
    elif choice.precision == "bf16":
        for layers in _transformers(dit, same):
            _convert(layers, Bf16Linear)
        if choice.device == "cuda":
            attend_in(torch.bfloat16, dit, same)
    if choice.compile:
        for layers in _transformers(dit, same):
            for layer in layers:
                layer.compile(dynamic=True)
    if choice.device != "cpu":
        dit.to(choice.device)
        same.to(choice.device)


def attend_in(dtype: torch.dtype, dit: DiT, same: Same) -> None:
    """Let every attention multiply in ``dtype``; it keeps its contract, float32 in and out."""
    for module in (*dit.modules(), *same.modules()):
        if isinstance(module, SelfAttention | CrossAttention | DifferentialAttention):
            module.attention_dtype = dtype


def take_compilation_off(dit: DiT, same: Same) -> None:
    """Undo ``compile`` of ``apply_precision``, for machines where the compiler does not work."""
    for layers in _transformers(dit, same):
        for layer in layers:
            layer._compiled_call_impl = None


def _transformers(dit: DiT, same: Same) -> Iterator[nn.ModuleList]:
    yield dit.transformer.layers
    for block in same.modules():
        if isinstance(block, ResamplingBlock):
            yield block.transformers


def _convert(root: nn.Module, converter: Callable[[nn.Linear], nn.Module]) -> None:
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, converter(child))


@torch.library.custom_op("sa3_daw::int8_product", mutates_args=())
def int8_product(whole_NK: Tensor, packed: Tensor, scales_M: Tensor, zero_point: int) -> Tensor:
    """Return (whole - zero_point) @ weight^T * scales, float32 [N, M]; one operator, so blocks compile."""
    no_zero_points = torch.zeros(len(scales_M), dtype=torch.long)
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        whole_NK, 1.0, zero_point, packed, scales_M, no_zero_points, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


@int8_product.register_fake
def _(whole_NK: Tensor, packed: Tensor, scales_M: Tensor, zero_point: int) -> Tensor:
    return scales_M.new_empty(whole_NK.shape[0], len(scales_M))


class Bf16Linear(nn.Module):
    """A linear layer that multiplies in bfloat16."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight = nn.Parameter(plain.weight.detach().bfloat16(), requires_grad=False)
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.bfloat16()
        return F.linear(x.bfloat16(), self.weight, bias).float()

    def dense_weight(self) -> Tensor:
        """Return the weight that is multiplied with, float32 [out, in]."""
        return self.weight.float()


class W8A8Linear(nn.Module):
    """A linear layer in eight bits: one scale for each output channel, and for each token as it comes."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        weight = plain.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / largest_weight()
        whole = (weight / scales[:, None]).round().to(torch.int8)
        self.register_buffer("packed", torch.ops.onednn.qlinear_prepack(whole, None), persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        self.packed: Tensor
        self.scales: Tensor
        self.bias = plain.bias

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, self.in_features)
        largest = torch.linalg.vector_norm(flat, float("inf"), dim=-1, keepdim=True).clamp(min=1e-30)
        step = largest / LARGEST_INPUT
        whole = (flat / step + (ZERO_POINT + 0.5)).to(torch.uint8)
        product = int8_product(whole, self.packed, self.scales, ZERO_POINT)
        y = product * step if self.bias is None else torch.addcmul(self.bias, product, step)
        return y.view(*x.shape[:-1], self.out_features)

    def dense_weight(self) -> Tensor:
        """Return the weight that is multiplied with, float32 [out, in]; unit vectors read it out exactly."""
        read = self(torch.eye(self.in_features))
        return (read if self.bias is None else read - self.bias).T.contiguous()


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
