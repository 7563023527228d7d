"""The fast paths against the plain one: how near, how chosen, and that adapters and the rest need not know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sa3_daw.errors import Unsupported
from sa3_daw.models.adapted import dense_weight
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import DiT
from sa3_daw.models.precision import (
    Bf16Linear,
    PrecisionChoice,
    W8A8Linear,
    apply_precision,
    attend_in,
    choose_precision,
    take_compilation_off,
)
from sa3_daw.models.same import Same
from sa3_daw.models.specs import DiTSpec
from tests.test_against_diffusers import randomised
from tests.tiny import SAME_FORMS

SPEC = DiTSpec(
    latent_dim=32, width=128, depth=3, num_heads=2, cond_dim=48, global_dim=48, local_dim=33, timestep_dim=32,
    ff_mult=4.0, num_memory_tokens=8, differential=False,
)  # fmt: skip
NUM_FRAMES = 40


def seeded_models(*, differential: bool = False) -> tuple[DiT, Same]:
    dit, same = randomised(DiT(replace(SPEC, differential=differential))), randomised(Same(SAME_FORMS["same-s"]))
    assert isinstance(dit, DiT) and isinstance(same, Same)
    return dit, same


@torch.inference_mode()
def outputs(dit: DiT, same: Same) -> tuple[Tensor, Tensor]:
    """Return one velocity and one decoded clip of seeded inputs."""
    draw = torch.Generator().manual_seed(3)
    context, global_ = torch.randn(1, 9, 48, generator=draw), torch.randn(1, 48, generator=draw)
    local, x = torch.randn(1, 33, NUM_FRAMES, generator=draw), torch.randn(1, 32, NUM_FRAMES, generator=draw)
    prepared = dit.prepare(Conditioning(context, global_, local))
    velocity = dit(x, torch.tensor([0.5]), prepared)
    return velocity, same.decode(torch.randn(1, 12, NUM_FRAMES, generator=draw))


def snr_db(exact: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(exact.square().mean() / (exact - other).square().mean()))


def choice(precision: str, *, compile_blocks: bool = False, device: str = "cpu") -> PrecisionChoice:
    return PrecisionChoice(precision, device, compile_blocks, "a test")


@pytest.mark.parametrize("differential", [False, True])
@pytest.mark.parametrize(("precision", "dit_db", "same_db"), [("bf16", 40.0, 35.0), ("w8a8", 25.0, 120.0)])
def test_fast_paths_stay_near_the_plain_one(precision: str, dit_db: float, same_db: float, differential: bool) -> None:
    exact = outputs(*seeded_models(differential=differential))
    dit, same = seeded_models(differential=differential)
    apply_precision(dit, same, choice(precision))
    velocity, audio = outputs(dit, same)
    assert velocity.dtype == audio.dtype == torch.float32
    assert dit_db < snr_db(exact[0], velocity) < 80
    assert snr_db(exact[1], audio) > same_db


@pytest.mark.parametrize("differential", [False, True])
def test_attention_in_bf16_as_on_a_gpu_stays_near_the_plain_one(differential: bool) -> None:
    exact = outputs(*seeded_models(differential=differential))
    dit, same = seeded_models(differential=differential)
    attend_in(torch.bfloat16, dit, same)
    made = outputs(dit, same)
    assert all(35 < snr_db(a, b) < 80 and b.dtype == torch.float32 for a, b in zip(exact, made, strict=True))


def test_fp32_is_left_as_it_is() -> None:
    exact = outputs(*seeded_models())
    dit, same = seeded_models()
    apply_precision(dit, same, choice("fp32"))
    assert all(torch.equal(a, b) for a, b in zip(exact, outputs(dit, same), strict=True))


@pytest.mark.parametrize(("converter", "bytes_share"), [(Bf16Linear, 0.51), (W8A8Linear, 0.27)])
def test_a_converted_layer_keeps_the_contract_of_a_linear(
    converter: type[Bf16Linear] | type[W8A8Linear], bytes_share: float
) -> None:
    plain = nn.Linear(256, 384).requires_grad_(False)
    fast = converter(plain)
    x = torch.randn(2, 5, 256)
    weight = dense_weight(fast)
    assert weight.shape == (384, 256) and weight.dtype == torch.float32
    assert snr_db(plain.weight, weight) > 33
    assert fast.bias is plain.bias and fast(x).shape == (2, 5, 384)
    assert snr_db(plain(x) - plain.bias, fast(x) - plain.bias) > 30
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*fast.parameters(), *fast.buffers()))
    assert held < bytes_share * 4 * 384 * 256 + 4 * 384


def test_eight_bits_never_saturate() -> None:
    plain = nn.Linear(512, 16, bias=False).requires_grad_(False)
    plain.weight.fill_(0.5)
    x = torch.full((3, 512), 2.0)
    torch.testing.assert_close(W8A8Linear(plain)(x), plain(x), rtol=1e-5, atol=0)


def test_a_silent_token_stays_silent_in_eight_bits() -> None:
    plain = nn.Linear(64, 16, bias=False).requires_grad_(False)
    assert not W8A8Linear(plain)(torch.zeros(1, 4, 64)).any()


def test_tokens_do_not_share_a_scale() -> None:
    plain = nn.Linear(64, 16, bias=False).requires_grad_(False)
    x = torch.randn(1, 4, 64)
    loud = torch.cat((x, 1e6 * torch.randn(1, 1, 64)), dim=1)
    torch.testing.assert_close(W8A8Linear(plain)(loud)[:, :4], W8A8Linear(plain)(x))


def test_auto_takes_bf16_only_where_it_measured_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    for ratio, expected in ((0.2, "fp32"), (1.1, "fp32"), (2.2, "bf16")):
        monkeypatch.setattr("sa3_daw.models.precision.bf16_speed_up", lambda device, ratio=ratio: ratio)
        chosen = choose_precision("auto", "cpu")
        assert chosen.precision == expected and f"{ratio:.1f} times" in chosen.reason


def test_what_is_asked_for_is_taken() -> None:
    assert choose_precision("w8a8", "cpu") == PrecisionChoice("w8a8", "cpu", False, "as configured")
    if not torch.cuda.is_available():
        with pytest.raises(Unsupported, match="no GPU"):
            choose_precision("auto", "cuda")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.jit._script")
def test_compilation_can_be_taken_off() -> None:
    exact = outputs(*seeded_models())
    dit, same = seeded_models()
    apply_precision(dit, same, choice("fp32", compile_blocks=True))
    assert all(layer._compiled_call_impl is not None for layer in dit.transformer.layers)
    take_compilation_off(dit, same)
    assert all(torch.equal(a, b) for a, b in zip(exact, outputs(dit, same), strict=True))
