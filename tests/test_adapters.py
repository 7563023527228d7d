"""Adapters in a warm model of the published layout: jobs with and without them, strengths, intervals, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from sa3_daw.adapter_files import KINDS
from sa3_daw.converted import ConvertedCopies
from sa3_daw.errors import CheckpointMismatch, InvalidField
from sa3_daw.generation.events import AudioChunk
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import AdapterUse, Job, TempoPoint
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.lora import singular_bases
from sa3_daw.models.precision import PrecisionChoice
from tests.test_precision import snr_db
from tests.tiny_published import GOLDEN, write_tiny_model

RANK = 3
JOB = Job(
    "job", "warm pad", 40_000, 44_100, 1, (TempoPoint(0, 120),), steps=3, guidance_scale=1.0, headroom_seconds=0.0
)


def write_adapter(path: Path, model: LoadedModel, kind: str, seed: int = 0) -> None:
    """Write an adapter of every Linear and convolution of the model, in the published layout."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for root, prefix in ((model.dit, "model."), (model.conditioner, "")):
        for name, layer in root.named_modules():
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv1d):
                weight = layer.weight.detach().flatten(1)
                key = f"{prefix}{name}.parametrizations.weight.0."
                tensors[key + "lora_A"] = 0.15 * torch.randn(RANK, weight.shape[1], generator=generator)
                tensors[key + "lora_B"] = 0.15 * torch.randn(weight.shape[0], RANK, generator=generator)
                rows, columns = weight.norm(dim=1), weight.norm(dim=0)
                if kind == "bora":
                    tensors |= {key + "magnitude_r": rows, key + "magnitude_c": columns}
                elif kind != "lora":
                    tensors[key + "magnitude"] = rows if kind == "dora-rows" else columns
    config = {"rank": RANK, "alpha": RANK, "adapter_type": kind}
    save_file(tensors, path, {"lora_config": json.dumps(config), "base_model": "small-music"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapted")


@pytest.fixture(scope="module")
def model(home: Path) -> LoadedModel:
    write_tiny_model(home / "tiny")
    (home / "adapters").mkdir()
    loaded = load_model(home / "tiny", "tiny", home / "adapters")
    for kind in KINDS:
        write_adapter(home / "adapters" / f"{kind}.safetensors", loaded, kind)
    write_adapter(home / "adapters" / "other.safetensors", loaded, "lora", seed=7)
    stranger = {f"model.transformer.layers.9.{name}": value for name, value in
                load_file(GOLDEN / "lora" / "lora.safetensors").items()}  # fmt: skip
    save_file(stranger, home / "adapters" / "stranger.safetensors")
    return loaded


def audio(model: LoadedModel, *uses: AdapterUse, **changes: object) -> NDArray[np.float32]:
    job = replace(JOB, adapters=tuple(uses), **changes)  # type: ignore[arg-type]
    chunks = [event.samples for event in run(job, model) if isinstance(event, AudioChunk)]
    return np.concatenate(chunks, axis=1)


def weights(model: LoadedModel) -> list[tuple[str, int, torch.Tensor]]:
    parameters = [*model.dit.named_parameters(), *model.conditioner.named_parameters()]
    return [(name, value.data_ptr(), value.detach().clone()) for name, value in parameters]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_with_an_adapter_changes_the_sound_and_leaves_no_trace(model: LoadedModel, kind: str) -> None:
    plain, before = audio(model), weights(model)
    adapted = audio(model, AdapterUse(kind))
    assert not np.allclose(adapted, plain, atol=1e-3)
    assert np.array_equal(audio(model, AdapterUse(kind)), adapted)
    assert np.array_equal(audio(model, AdapterUse(kind, strength=0.0)), plain)
    assert np.array_equal(audio(model), plain)
    for (name, place, value), (_, place_after, value_after) in zip(before, weights(model), strict=True):
        assert place == place_after and torch.equal(value, value_after), name


@pytest.mark.parametrize("precision", ["bf16", "w8a8"])
def test_in_other_precisions_an_adapter_does_the_same(model: LoadedModel, home: Path, precision: str) -> None:
    fast = load_model(home / "tiny", "tiny", home / "adapters", PrecisionChoice(precision, "cpu", False, "a test"))
    plain = audio(fast)
    for kind in KINDS:
        exact, made = audio(model, AdapterUse(kind)), audio(fast, AdapterUse(kind))
        assert snr_db(torch.from_numpy(exact), torch.from_numpy(made)) > 15, kind
        assert np.array_equal(audio(fast, AdapterUse(kind)), made), kind
    assert np.array_equal(audio(fast), plain)


def test_adapters_blend_and_their_order_is_kept(model: LoadedModel) -> None:
    one, both = audio(model, AdapterUse("lora")), audio(model, AdapterUse("lora"), AdapterUse("other", 0.5))
    turned = audio(model, AdapterUse("other", 0.5), AdapterUse("lora"))
    assert not np.allclose(one, both, atol=1e-3)
    np.testing.assert_allclose(both, turned, atol=2e-3)  # sums commute, but for rounding
    first, last = (audio(model, *uses) for uses in ((AdapterUse("lora"), AdapterUse("dora-rows")),
                                                    (AdapterUse("dora-rows"), AdapterUse("lora"))))  # fmt: skip
    assert not np.allclose(first, last, atol=1e-3)


def test_an_interval_that_no_step_lies_in_leaves_only_the_duration_adapted(model: LoadedModel) -> None:
    """The conditioner ignores intervals, as published; an adapter filtered off the conditioner then does nothing."""
    never = AdapterUse("lora", min_noise=1e-5, max_noise=2e-5)
    assert not np.allclose(audio(model, never), audio(model), atol=1e-3)
    assert np.array_equal(audio(model, replace(never, layer_filter="-conditioners")), audio(model))


def test_inside_its_interval_an_adapter_also_changes_what_is_prepared_once(model: LoadedModel) -> None:
    """Cached keys and values belong to a set of adapters: switching by hand gives the same velocities."""
    generator = torch.Generator().manual_seed(0)
    spec = model.spec.dit
    conditioning = Conditioning(
        torch.randn(1, 11, spec.cond_dim, generator=generator),
        torch.randn(1, spec.global_dim, generator=generator),
        torch.randn(1, spec.local_dim, 6, generator=generator),
    )
    x, levels = torch.randn(1, spec.latent_dim, 6, generator=generator), [torch.tensor([t]) for t in (0.9, 0.3, 0.9)]

    def velocities(uses: Sequence[AdapterUse]) -> list[torch.Tensor]:
        with model.adapters.use(uses) as adapted:
            velocity = adapted.velocity(model.graphed, conditioning)
            return [velocity(x, t) for t in levels]

    high, low, again = velocities([AdapterUse("dora-rows", min_noise=0.5)])
    always, plain = velocities([AdapterUse("dora-rows")]), velocities([])
    assert torch.equal(high, always[0]) and torch.equal(low, plain[1]) and torch.equal(again, always[2])


def test_closing_a_job_midway_takes_its_adapters_off(model: LoadedModel) -> None:
    plain = audio(model)
    events = run(replace(JOB, adapters=(AdapterUse("bora"),)), model)
    next(event for event in events if getattr(event, "stage", "") == "sampling")
    events.close()  # type: ignore[attr-defined]
    assert np.array_equal(audio(model), plain)


def test_unknown_and_unfit_adapters_are_refused_with_the_reason(model: LoadedModel) -> None:
    with pytest.raises(InvalidField, match="allowed: bora, dora-cols"):
        audio(model, AdapterUse("absent"))
    with pytest.raises(CheckpointMismatch, match=r"adapter 'stranger' does not fit model 'tiny': \d+ faults"):
        audio(model, AdapterUse("stranger"))
    assert np.isfinite(audio(model)).all()


def test_a_model_without_a_folder_of_adapters_refuses_them(model: LoadedModel, tmp_path: Path) -> None:
    alone = load_model(write_tiny_model(tmp_path), "alone")
    with pytest.raises(InvalidField, match="without a folder of adapters"):
        audio(alone, AdapterUse("lora"))


def test_a_replaced_adapter_file_is_read_again(model: LoadedModel, tmp_path: Path) -> None:
    own = load_model(write_tiny_model(tmp_path / "m"), "m", tmp_path)
    write_adapter(tmp_path / "changing.safetensors", own, "lora")
    first = audio(own, AdapterUse("changing"))
    write_adapter(tmp_path / "changing.safetensors", own, "dora-rows", seed=3)
    assert not np.allclose(audio(own, AdapterUse("changing")), first, atol=1e-3)


def test_interleaved_jobs_do_not_disturb_each_other(model: LoadedModel) -> None:
    """Noise comes from a job's seed alone: two jobs taken step by step in turn give what each gives alone."""
    alone = [audio(model, seed=seed, sampler="pingpong") for seed in (5, 6)]
    running = [run(replace(JOB, seed=seed, sampler="pingpong"), model) for seed in (5, 6)]
    pieces: list[list[NDArray[np.float32]]] = [[], []]
    torch.manual_seed(123)
    open_jobs = {0, 1}
    while open_jobs:
        for index in sorted(open_jobs):
            event = next(running[index], None)
            torch.randn(7)  # draws elsewhere in the process change nothing
            if event is None:
                open_jobs.remove(index)
            elif isinstance(event, AudioChunk):
                pieces[index].append(event.samples)
    for index in (0, 1):
        assert np.array_equal(np.concatenate(pieces[index], axis=1), alone[index])
    assert not np.array_equal(alone[0], alone[1])


def test_singular_bases_are_computed_once_and_read_from_disk_by_the_next_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path / "tiny")
    path, middles = tmp_path / "adapters" / "small.safetensors", {}
    path.parent.mkdir()
    for number in range(2):
        name = f"model.transformer.layers.0.self_attn.{('to_qkv', 'to_out')[number]}"
        middles[f"{name}.parametrizations.weight.0.M_xs"] = 3.0 * torch.eye(RANK)
    save_file(middles, path, {"lora_config": json.dumps({"rank": RANK, "alpha": RANK, "adapter_type": "lora-xs"})})
    computed: list[int] = []

    def counted(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        computed.append(rank)
        return singular_bases(weight, rank)

    monkeypatch.setattr("sa3_daw.models.lora.singular_bases", counted)
    copies = ConvertedCopies(tmp_path / "converted")
    made = []
    for kept in (copies, copies, None):
        model = load_model(tmp_path / "tiny", "tiny", path.parent, copies=kept)
        assert not np.allclose(audio(model, AdapterUse("small")), audio(model), atol=1e-3)
        made.append(audio(model, AdapterUse("small"), seed=2))
    assert computed == [RANK] * 4, "two layers for the first model, none for the second, two without a folder"
    assert np.array_equal(made[0], made[1]) and np.array_equal(made[1], made[2])
