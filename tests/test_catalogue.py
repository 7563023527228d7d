"""Installed models: the embedded one first, folders beside it, broken ones named when asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sa3_daw.catalogue import CONFIG_NAME, EMBEDDED, find_model, list_models
from sa3_daw.config import load_config
from sa3_daw.errors import CheckpointMismatch, UnknownModel
from sa3_daw.published import PUBLISHED


def test_folders_with_a_config_are_models_after_the_embedded_one(tmp_path: Path) -> None:
    for name in ("zebra", "antelope"):
        (tmp_path / name).mkdir()
        shutil.copy(EMBEDDED / "nano" / CONFIG_NAME, tmp_path / name)
        (tmp_path / name / "model.safetensors").touch()
    (tmp_path / "no-model").mkdir()
    config = load_config({"models_dir": tmp_path}, {})
    assert [entry.name for entry in list_models(config)] == ["nano", "antelope", "zebra"]
    assert find_model("zebra", config).directory == tmp_path / "zebra"


def test_the_embedded_model_cannot_be_replaced_by_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / CONFIG_NAME).write_text("{}")
    assert find_model("nano", load_config({"models_dir": tmp_path}, {})).directory == EMBEDDED / "nano"


def test_a_broken_model_is_not_listed_and_says_why_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / CONFIG_NAME).write_text("{")
    config = load_config({"models_dir": tmp_path}, {})
    assert [entry.name for entry in list_models(config)] == ["nano"]
    with pytest.raises(CheckpointMismatch, match="not JSON"):
        find_model("broken", config)


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        find_model("../nano", load_config({"models_dir": tmp_path}, {}))
    assert caught.value.allowed == "nano"


def snapshot(cache: Path, repository: str, revision: str, *, main: bool = False, weights: bool = True) -> Path:
    """Lay a snapshot out as huggingface_hub does."""
    home = cache / f"models--{repository.replace('/', '--')}"
    folder = home / "snapshots" / revision
    folder.mkdir(parents=True)
    shutil.copy(EMBEDDED / "nano" / CONFIG_NAME, folder)
    if weights:
        (folder / "model.safetensors").touch()
    if main:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / "main").write_text(revision)
    return folder


def test_snapshots_in_the_hugging_face_cache_are_models_by_short_name(tmp_path: Path) -> None:
    pinned = PUBLISHED["small-music"].revision
    snapshot(tmp_path, "stabilityai/stable-audio-3-small-music", "f" * 40, main=True)
    wanted = snapshot(tmp_path, "stabilityai/stable-audio-3-small-music", pinned)
    own = snapshot(tmp_path, "someone/My-Tune", "a" * 40, main=True)
    snapshot(tmp_path, "someone/nameless", "b" * 40)
    half = snapshot(tmp_path, "stabilityai/stable-audio-3-medium", "c" * 40, main=True, weights=False)
    config = load_config({"models_dir": tmp_path / "none", "hub_cache_dir": tmp_path}, {})
    assert [(entry.name, entry.directory) for entry in list_models(config)][1:] == [
        ("my-tune", own), ("small-music", wanted),
    ]  # fmt: skip
    assert find_model("medium", config).directory == half


def test_a_folder_of_models_comes_before_the_cache(tmp_path: Path) -> None:
    snapshot(tmp_path / "hub", "stabilityai/stable-audio-3-medium", "c" * 40, main=True)
    (tmp_path / "models" / "medium").mkdir(parents=True)
    shutil.copy(EMBEDDED / "nano" / CONFIG_NAME, tmp_path / "models" / "medium")
    config = load_config({"models_dir": tmp_path / "models", "hub_cache_dir": tmp_path / "hub"}, {})
    assert find_model("medium", config).directory == tmp_path / "models" / "medium"


def test_a_damaged_cache_is_no_model_and_no_error(tmp_path: Path) -> None:
    for name, reference in (("a", b"\xff\xfe"), ("b", b"../../etc"), ("c", b""), ("d", b"e" * 40)):
        (tmp_path / f"models--x--{name}" / "refs").mkdir(parents=True)
        (tmp_path / f"models--x--{name}" / "refs" / "main").write_bytes(reference)
    config = load_config({"models_dir": tmp_path / "none", "hub_cache_dir": tmp_path}, {})
    assert [entry.name for entry in list_models(config)] == ["nano"]
