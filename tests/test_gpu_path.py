"""The path to a GPU on machines without one, with stand-ins: no value is read back, no devices are mixed.

What only a GPU can show (numbers, speed, recording itself) is in ``test_gpu.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.denoise import Sampling, denoise
from sa3_daw.generation.noise import SeededNoise
from sa3_daw.models.adapted import AdaptableLayers, AdapterStack
from sa3_daw.models.conditioner import Conditioning, fourier_features, fourier_frequencies
from sa3_daw.models.dit import DiT
from sa3_daw.models.gpu import STEPS_AHEAD, compute_exactly, is_lost, paced
from sa3_daw.models.layers import rope_inv_freq
from sa3_daw.models.lora import Adapter, Use
from sa3_daw.models.precision import attend_in
from sa3_daw.models.same import Same
from sa3_daw.models.specs import SAMPLERS
from sa3_daw.sampling.guidance import Guidance
from tests.fake_gpu import DEVICE, Place, fake_gpu, to_gpu
from tests.test_precision import SPEC
from tests.tiny import SAME_FORMS

FRAMES = 12


def conditioning(batch: int) -> Conditioning:
    context, global_ = torch.randn(batch, 9, SPEC.cond_dim), torch.randn(batch, SPEC.global_dim)
    return Conditioning(context, global_, torch.randn(batch, SPEC.local_dim, FRAMES))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_reads_nothing_back_and_mixes_no_devices(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """Inpainting with guidance from a noise level below 1: every branch of the loop."""
    num_steps = 1 if sampler == "rk4" else 2
    dit = DiT(replace(SPEC, depth=1, differential=sampler in ("pingpong", "rk4")))
    attend_in(torch.bfloat16, dit, Same(SAME_FORMS["same-s"]))
    with fake_gpu(monkeypatch), torch.inference_mode():
        to_gpu(dit)
        prepared = dit.prepare(conditioning(batch=2))
        steps = denoise(
            lambda x_BDT, t_B: dit(x_BDT, t_B, prepared),
            dit.device,
            Sampling(sampler, num_steps, Guidance(3.0), start_t=0.7),
            SeededNoise([1]),
            torch.ones(FRAMES),
            torch.randn(1, SPEC.latent_dim, FRAMES),
        )
        last = list(steps)[-1]
        assert {last.x_BDT.device, last.denoised_BDT.device} == {DEVICE}


@pytest.mark.parametrize("kind", ["bora", "dora-rows-xs"])
def test_adapters_are_moved_to_the_gpu_and_applied_there(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    dit, path = DiT(replace(SPEC, depth=1)), "transformer.layers.0.self_attn.to_out"
    width = SPEC.width
    layer = {"lora_A": torch.ones(2, width), "lora_B": torch.ones(width, 2)}
    layer |= {"magnitude_r": torch.ones(width), "magnitude_c": torch.ones(width)}
    if kind.endswith("-xs"):
        layer = {"M_xs": torch.ones(2, 2), "magnitude": torch.ones(width)}
    with fake_gpu(monkeypatch), torch.inference_mode():
        to_gpu(dit)
        given = {name: torch.empty(value.shape) for name, value in layer.items()}
        layers = AdaptableLayers({"model.": dit})
        adapter = Adapter(kind, 2, 2.0, {f"model.{path}": given})
        assert not layers.faults(adapter)
        on = AdapterStack(layers, [Use(layers.beside(adapter), 0.5), Use(layers.beside(adapter), 0.7)])
        on.switch_to(1.0)
        on.put_on()
        assert dit.get_submodule(path)(torch.empty(1, 3, width, device=DEVICE)).device == DEVICE


@pytest.mark.parametrize("form", ["same-s", "same-l", "nano"])
def test_the_autoencoder_computes_on_the_gpu_and_answers_on_the_cpu(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    same = Same(SAME_FORMS[form])
    with fake_gpu(monkeypatch), torch.inference_mode():
        to_gpu(same)
        latents = same.encode(torch.randn(1, 2, 8 * same.spec.samples_per_frame))
        pieces = list(decode_stream(same, latents, 8, 44_100))
    assert {tensor.device.type for tensor in (latents, *pieces)} == {"cpu"}


def test_the_stand_in_refuses_what_a_gpu_would_refuse_or_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch):
        there, here = torch.ones(2, device=DEVICE), torch.ones(2)
        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(DataDependentOutputException):
            bool(there.any())


def test_the_host_stays_a_few_steps_ahead_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Place] = []

    def place_in_queue() -> Place:
        places.append(Place())
        return places[-1]

    monkeypatch.setattr("sa3_daw.models.gpu.place_in_queue", place_in_queue)
    for number in paced(iter(range(6)), DEVICE):
        assert sum(not place.waited_for for place in places) == min(number + 1, STEPS_AHEAD)
    assert [place.waited_for for place in places] == [True] * 4 + [False] * 2
    assert list(paced(iter(range(3)), torch.device("cpu"))) == [0, 1, 2] and len(places) == 6


def test_phases_are_made_on_the_cpu_whatever_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU exponentials differ in the last bit, and phases reach 62,832 rad."""
    with fake_gpu(monkeypatch):
        assert fourier_frequencies(8).device.type == rope_inv_freq(8).device.type == "cpu"
        assert fourier_features(torch.ones(2, device=DEVICE), 8).device == DEVICE


def test_exact_means_float32_and_the_same_order_every_time() -> None:
    compute_exactly()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic


def test_a_processor_is_never_lost() -> None:
    assert not is_lost("cpu")


def test_a_gpu_that_raises_at_everything_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def illegal_access() -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.synchronize", illegal_access)
    assert is_lost("cuda")
