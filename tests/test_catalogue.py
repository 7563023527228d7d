"""Installed models: the embedded one first, folders beside it, broken ones named when asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sa3_daw.catalogue import CONFIG_NAME, EMBEDDED, find_model, list_models
from sa3_daw.config import load_config
from sa3_daw.errors import CheckpointMismatch, UnknownModel


def test_folders_with_a_config_are_models_after_the_embedded_one(tmp_path: Path) -> None:
    for name in ("zebra", "antelope"):
        (tmp_path / name).mkdir()
        shutil.copy(EMBEDDED / "nano" / CONFIG_NAME, tmp_path / name)
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
