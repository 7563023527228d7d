"""What only a GPU can show: numbers, recorded graphs, memory.

Nearly all of it runs on the CPU as well, with a stand-in that records, so that a GPU's owner meets no fault of the
tests themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.adapter_files import KINDS
from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.conformance import check
from sa3_daw.conformance.cases import Fixture
from sa3_daw.engine.probe import facts
from sa3_daw.engine.residency import Residents, look_nowhere
from sa3_daw.generation.decode_stream import decode_stream
from sa3_daw.generation.events import AudioChunk, Finished
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import AdapterUse, Job, TempoPoint
from sa3_daw.models.gpu import compute_exactly
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.precision import PrecisionChoice, apply_precision
from tests.running_daemon import a_job
from tests.test_adapters import write_adapter
from tests.test_conformance import GOLDEN
from tests.test_generation import NANO
from tests.test_graphed import StandIn, sampled
from tests.test_precision import choice, outputs, seeded_models, snr_db
from tests.tiny_published import write_tiny_model

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)
FIXTURES = sorted(path.name.removesuffix(".io.safetensors") for path in GOLDEN.glob("*.io.safetensors"))
FOR_THE_CPU = ("number_conditioner", "dit_small")


def load(device: str, precision: str = "fp32", folder: Path = NANO, adapters: Path | None = None) -> LoadedModel:
    """Load a model; on the CPU its steps are recorded by a stand-in."""
    choice = PrecisionChoice(precision, device, compile=False, reason="a test")
    model = load_model(folder, folder.name, adapters, choice)
    return model if device == "cuda" else replace(model, graphed=GraphedDiT(model.dit, StandIn()))


def audio(model: LoadedModel, *uses: AdapterUse, **changes: object) -> NDArray[np.float32]:
    job = Job(
        "test", "house drums and bass", 120_000, 44_100, 1, (TempoPoint(0.0, 127.5),), steps=4, adapters=uses
    )  # fmt: skip
    events = run(replace(job, **changes), model)  # type: ignore[arg-type]
    return np.concatenate([event.samples for event in events if isinstance(event, AudioChunk)], axis=1)


def snr_of(exact: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return snr_db(torch.from_numpy(exact), torch.from_numpy(other))


@pytest.mark.parametrize(
    ("device", "name"),
    [("cpu", name) for name in FOR_THE_CPU] + [pytest.param("cuda", name, marks=needs_gpu) for name in FIXTURES],
)
@torch.inference_mode()
def test_golden_fixtures_hold_in_float32(device: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute_exactly()
    fixture = Fixture.open(GOLDEN / f"{name}.io.safetensors")
    for tensors in (fixture.weights, fixture._io):
        tensors.update({key: tensor.to(device) for key, tensor in tensors.items()})
    with torch.device(device):
        cases = list(check(fixture))
    assert [case for case in cases if case.verdict not in ("ok", "noted")] == []


@on_each_device
@pytest.mark.parametrize(("precision", "least_db"), [("fp32", 60.0), ("bf16", 35.0)])
def test_a_model_answers_on_the_cpu_what_the_cpu_would(device: str, precision: str, least_db: float) -> None:
    exact = outputs(*seeded_models())
    dit, same = seeded_models()
    compute_exactly()
    apply_precision(dit, same, choice(precision, device=device))
    made = outputs(dit, same)
    assert next(dit.parameters()).device.type == device and not made[0].is_cuda and not made[1].is_cuda
    assert all(snr_db(a, b) > least_db for a, b in zip(exact, made, strict=True))


@on_each_device
def test_replayed_steps_equal_plain_ones_for_every_shape_and_conditioning(device: str) -> None:
    dit = seeded_models()[0].to(device)
    graphed = GraphedDiT(dit, None if device == "cuda" else StandIn())
    for seed in range(2):
        for num_frames in range(6, 26, 2):  # more shapes than graphs are kept
            sampled(graphed, seed, num_frames)
    assert graphed.num_recorded > 0


@pytest.mark.parametrize(
    ("device", "precision", "least_db"),
    [("cpu", "fp32", 100.0)]
    + [pytest.param("cuda", *wanted, marks=needs_gpu) for wanted in (("fp32", 50.0), ("bf16", 20.0))],
)
def test_a_job_makes_what_the_cpu_makes_and_the_same_bytes_every_time(
    device: str, precision: str, least_db: float
) -> None:
    model = load(device, precision)
    made = [audio(model) for _ in range(3)]  # plain calls first, then replayed ones
    assert model.graphed.num_recorded == 1
    assert np.array_equal(made[0], made[1]) and np.array_equal(made[1], made[2])
    assert snr_of(audio(load_model(NANO, "nano")), made[2]) > least_db


@on_each_device
@torch.inference_mode()
def test_streamed_audio_is_the_audio_decoded_at_once(device: str) -> None:
    model = load(device)
    latents = torch.randn(1, model.spec.dit.latent_dim, 120, generator=torch.Generator().manual_seed(1))
    streamed = torch.cat(list(decode_stream(model.same, latents, 120, model.spec.sample_rate)), dim=-1)
    torch.testing.assert_close(streamed, model.same.decode(latents)[..., : streamed.shape[-1]], atol=1e-5, rtol=1e-5)


@on_each_device
def test_adapters_leave_recorded_steps_as_they_were(device: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny")
    (tmp_path / "adapters").mkdir()
    on_cpu = load_model(tmp_path / "tiny", "tiny", tmp_path / "adapters")
    model = load(device, folder=tmp_path / "tiny", adapters=tmp_path / "adapters")
    changes = {"num_samples": 40_000, "guidance_scale": 1.0}
    plain = audio(model, **changes)
    for kind in KINDS if device == "cuda" else KINDS[-1:]:
        write_adapter(tmp_path / "adapters" / f"{kind}.safetensors", on_cpu, kind)
        for use in (AdapterUse(kind), AdapterUse(kind, strength=0.3), AdapterUse(kind, min_noise=0.5)):
            adapted = audio(model, use, **changes)
            assert not np.allclose(adapted, plain, atol=1e-3)
            assert snr_of(audio(on_cpu, use, **changes), adapted) > 40.0
            assert np.array_equal(audio(model, **changes), plain)
    assert model.graphed.num_recorded == 1


@pytest.fixture
def full_gpu() -> Iterator[None]:
    """Leave this process no more GPU memory than it holds, for as long as a test lasts."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (4 << 20)) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    return load_config({"runtime_dir": tmp_path, "data_dir": tmp_path, "device": "cuda"}, {})


@needs_gpu
def test_a_job_too_large_for_the_gpu_says_so_and_the_next_one_is_done(
    config: DaemonConfig, request: pytest.FixtureRequest
) -> None:
    residents = Residents(config)
    short = replace(a_job("steps", num_samples=4096), steps=4)
    for _ in range(2):
        list(residents.run(short, look_nowhere))
    request.getfixturevalue("full_gpu")
    with pytest.raises(MemoryError, match="out of memory"):
        list(residents.run(replace(short, num_samples=44_100 * 60, num_variations=8), look_nowhere))
    assert isinstance(list(residents.run(short, look_nowhere))[-1], Finished)


@needs_gpu
def test_unloading_a_model_gives_its_memory_back(config: DaemonConfig) -> None:
    residents = Residents(config)
    job = replace(a_job("steps", num_samples=4096), steps=4)
    held = []
    for _ in range(3):
        for _ in range(2):
            list(residents.run(job, look_nowhere))
        residents.unload(job.model)
        held.append(torch.cuda.memory_allocated())
    assert held[2] == held[1], "what torch's libraries keep for themselves is taken once"


def test_the_probe_names_what_computes() -> None:
    found = facts()
    assert found["computes"] and found["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
