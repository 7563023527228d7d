"""Every stage from the command line, at a size that takes seconds: each loss falls, each result loads and plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sa3_daw.generation.model import load_model
from sa3_daw.models.specs import ModelSpec
from sa3_training.cli import main
from sa3_training.progress import read_log
from sa3_training.recipes import NanoSize, nano_config
from tests.test_training_data import sound, write

PATCH, STRIDE, LATENT_DIM = 64, 4, 16
SAME_S = {"chunk_size": 8, "chunk_midpoint_shift": True}
SAME_L = {"sliding_window": [1, 1]}


def tiny_config(form: dict[str, Any], depth: int) -> dict[str, Any]:
    """Return a published-format config: an autoencoder of the given form, and a DiT of one block."""
    config = nano_config(NanoSize(dit_width=64, dit_depth=1, decoder_depth=depth))
    model = config["model"]
    codec = model["pretransform"]["config"]
    stage = {
        "channels": 32, "c_mults": [1], "strides": [STRIDE], "latent_dim": LATENT_DIM, "dim_heads": 16,
        "differential": True, "variable_stride": True, "dyt": True, "transformer_depths": [depth],
        "sinusoidal_blocks": [0], "mask_noise": 0.0, "conv_mapping": False, **form,
    }  # fmt: skip
    codec["encoder"]["config"] = stage | {"in_channels": 2 * PATCH}
    codec["decoder"]["config"] = stage | {"out_channels": 2 * PATCH}
    codec["bottleneck"]["config"]["dim"] = codec["latent_dim"] = LATENT_DIM
    codec["pretransform"]["config"]["patch_size"] = PATCH
    codec["downsampling_ratio"] = PATCH * STRIDE
    grid = model["diffusion"]["config"]["local_add_cond_dim"] - model["io_channels"]
    model["diffusion"]["config"] |= {"io_channels": LATENT_DIM, "local_add_cond_dim": grid + LATENT_DIM}
    model["io_channels"] = LATENT_DIM
    return config | {"sample_rate": 8000, "sample_size": 8 * 8000}


def config_folder(path: Path, form: dict[str, Any], depth: int) -> Path:
    path.mkdir()
    (path / "model_config.json").write_text(json.dumps(tiny_config(form, depth)))
    return path


def run(*words: str | Path) -> None:
    assert main([str(word) for word in words]) == 0


def quarters(log: Path, key: str) -> tuple[float, float]:
    """Return a number's mean over the first and over the last quarter of a log."""
    entries = [entry[key] for entry in read_log(log) if key in entry]
    quarter = max(1, len(entries) // 4)
    return sum(entries[:quarter]) / quarter, sum(entries[-quarter:]) / quarter


def assert_falls(log: Path, *keys: str, least: float = 0.02) -> None:
    for key in keys:
        first, last = quarters(log, key)
        assert last < (1 - least) * first, f"{key}: {first:.4f} -> {last:.4f}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for index, name in enumerate(("slow tone", "fast tone", "loud tone")):
        audio = sound(2.0, 8000, level=0.2 + 0.1 * index)
        write(folder / f"{name} 120bpm.wav", audio, 8000).with_suffix(".txt").write_text(name)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A SAME-L-shaped autoencoder and a DiT on its latents, both from nothing but a config."""
    work = tmp_path_factory.mktemp("trained")
    model = config_folder(work / "large", SAME_L, depth=1)
    run("same", "--fresh", "--data", data, "--model", model, "--out", work, "--steps", "48", "--crop-seconds", "0.26",
        "--batch-size", "2")  # fmt: skip
    run("dit", "--fresh", "--data", data, "--model", model, "--same", work / "same", "--out", work, "--steps", "80",
        "--crop-seconds", "1")  # fmt: skip
    return work


def test_an_autoencoder_and_a_dit_are_trained_from_a_config_alone(trained: Path) -> None:
    every = ("spectral", "phase", "waveform", "normal", "probe", "regressor", "critic")
    assert_falls(trained / "same.log", *every, least=0.01)
    last = read_log(trained / "same.log")[-1]
    assert {"adversarial", "feature", "discriminator"} <= last.keys()
    assert_falls(trained / "dit.log", "loss", "made", least=0.1)
    model = load_model(trained / "model", "tiny")
    assert model.spec == ModelSpec.from_config(tiny_config(SAME_L, 1), "tiny")


def test_a_small_autoencoder_of_another_form_learns_the_large_ones_latents(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    small = config_folder(tmp_path / "small", SAME_S, depth=1)
    run("same", "--fresh", "--data", data, "--model", small, "--teacher", trained / "model", "--out", tmp_path,
        "--steps", "48", "--crop-seconds", "0.26", "--batch-size", "2")  # fmt: skip
    assert_falls(tmp_path / "same.log", "latents", "small_to_small", "large_to_small")
    assert_falls(tmp_path / "same.log", "small_to_large", least=0.0)
    assert (tmp_path / "same" / "model.safetensors").exists()


def test_distillation_and_aligned_post_training_end_in_a_model_that_needs_no_guidance(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    base = trained / "model"
    run("distill", "--data", data, "--model", base, "--out", tmp_path / "d", "--steps", "20", "--crop-seconds", "0.5",
        "--batch-size", "4")  # fmt: skip
    assert_falls(tmp_path / "d" / "distill.log", "loss")
    run("post", "--data", data, "--model", base, "--student", tmp_path / "d" / "model", "--out", tmp_path / "p",
        "--steps", "30", "--crop-seconds", "0.5", "--batch-size", "4", "--align", "1")  # fmt: skip
    assert_falls(tmp_path / "p" / "align.log", "loss")
    assert_falls(tmp_path / "p" / "post.log", "discriminator", least=0.0)
    spec = load_model(tmp_path / "p" / "model", "tiny").spec
    assert (spec.sampler, spec.default_steps, spec.default_guidance_scale) == ("pingpong", 8, 1.0)


def test_a_teacher_with_other_latents_is_refused_by_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = config_folder(tmp_path / "small", SAME_S, depth=1)
    words = ("same", "--fresh", "--data", data, "--model", small, "--teacher", "nano", "--out", tmp_path)
    assert main([str(word) for word in words]) == 1
    assert "16 channels of 256 samples" in capsys.readouterr().err
    assert not (tmp_path / "same.ckpt").exists()


def test_a_disk_that_is_full_while_training_is_named_without_a_traceback(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dit.log").symlink_to("/dev/full")
    words = ("dit", "--data", data, "--model", trained / "model", "--out", tmp_path, "--steps", "10")
    assert main([str(word) for word in words]) == 1
    assert "the disk is full" in capsys.readouterr().err
