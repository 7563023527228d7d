"""Configuration: later sources win, and nothing unknown or mistyped passes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from sa3_daw.config import DaemonConfig, config_from_plain, load_config, plain_config
from sa3_daw.errors import InvalidField


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('max_queued_jobs = 5\nlog_level = "debug"\npreload = ""\nengine_command = ["a b", "c"]\n')
    environment = {"SA3_CONFIG": str(file), "SA3_LOG_LEVEL": "error", "SA3_ENGINE_AT_START": "no"}
    config = load_config({"preload": "nano"}, environment)
    assert (config.max_queued_jobs, config.log_level, config.preload) == (5, "error", "nano")
    assert config.engine_command == ("a b", "c") and config.engine_at_start is False


@pytest.mark.parametrize("environment", [{"SA3_RUNTIM_DIR": "x"}, {"SA3_RUNTIME_DIRS": "x"}])
def test_an_unknown_variable_names_the_nearest_key(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidField, match="runtime_dir"):
        load_config({}, environment)


def test_an_unknown_key_in_the_file_names_the_nearest_key_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("engine_thread = 2\n")
    with pytest.raises(InvalidField, match=r"config\.toml.*engine_threads"):
        load_config({}, {"SA3_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("key", "value"),
    [("SA3_MAX_QUEUED_JOBS", "many"), ("SA3_MAX_QUEUED_JOBS", "0"), ("SA3_ENGINE_AT_START", "maybe"),
     ("SA3_LOG_LEVEL", "loud"), ("SA3_ENGINE_THREADS", "-1"), ("SA3_ENGINE_COMMAND", ""), ("SA3_RUNTIME_DIR", "")],
)  # fmt: skip
def test_a_bad_value_is_named(key: str, value: str) -> None:
    with pytest.raises(InvalidField, match=key[4:].lower()):
        load_config({}, {key: value})


@pytest.mark.parametrize("content", ["max_queued_jobs = ", "max_queued_jobs = true", 'max_queued_jobs = "5"', "\xff"])
def test_a_bad_file_is_an_error_in_words(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(InvalidField):
        load_config({}, {"SA3_CONFIG": str(file)})


def test_a_named_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"none\.toml"):
        load_config({}, {"SA3_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these systems have no XDG directories")
def test_the_runtime_directory_is_the_users_own() -> None:
    assert load_config({}, {"XDG_RUNTIME_DIR": "/run/user/7"}).runtime_dir == Path("/run/user/7/sa3-daw")
    assert load_config({}, {}).runtime_dir.name.startswith("sa3-daw-")


def test_threads_follow_the_usual_variable() -> None:
    assert load_config({}, {"OMP_NUM_THREADS": "3"}).engine_threads == 3
    assert load_config({}, {}).engine_threads >= 1


def test_the_engine_gets_the_very_same_configuration(tmp_path: Path) -> None:
    config = load_config({"runtime_dir": tmp_path, "preload": ""}, {})
    assert config_from_plain(plain_config(config)) == config


def test_the_page_lists_every_key_with_its_type_and_plain_default(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "configuration.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines() if line.startswith("| `")]
    words = {Path: "path", bool: "bool", int: "int", str: "text"}
    config, hints = load_config({"runtime_dir": tmp_path}, {}), get_type_hints(DaemonConfig)
    assert [row[0].strip("`") for row in rows] == list(hints)
    for (key, kind, default), hint in zip(rows, hints.values(), strict=True):
        assert kind == words.get(hint, "list of texts"), key
        value = getattr(config, key.strip("`"))
        if isinstance(value, bool | int | str) and key != "`engine_threads`":
            assert default == (f'"{value}"' if isinstance(value, str) else str(value).lower()), key
