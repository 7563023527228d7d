"""Where compiled code is kept: in the data folder, of bounded size, and only where it is asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.engine.compile_cache import keep_what_is_compiled

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DaemonConfig:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    return load_config({"runtime_dir": tmp_path, "data_dir": tmp_path, "compile": True}, {})


def test_compiled_code_is_kept_in_the_data_folder_unless_the_user_says_where(
    config: DaemonConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_what_is_compiled(replace(config, compile=False))
    assert VARIABLE not in os.environ
    keep_what_is_compiled(config)
    assert os.environ[VARIABLE] == str(config.data_dir / "cache" / "compiled")
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    keep_what_is_compiled(config)
    assert os.environ[VARIABLE] == "/elsewhere"


def test_compiled_code_that_grew_too_large_is_deleted(config: DaemonConfig) -> None:
    kept = config.data_dir / "cache" / "compiled" / "ab" / "kernel.so"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(100))
    largest = 100 + sum(path.stat().st_size for path in (kept.parent,))
    keep_what_is_compiled(config, largest)
    assert kept.exists()
    keep_what_is_compiled(config, largest - 1)
    assert not kept.exists()
