"""`sa3-daw lora` as users run it: bring in, list, hold against a model, remove; refusals are one sentence."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sa3_daw.cli import main
from tests.test_lora import write_peft
from tests.tiny_published import GOLDEN, write_tiny_model

Result = subprocess.CompletedProcess[str]
Lora = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lora:
    """Return a function that runs `sa3-daw lora ARGUMENTS` in a home of its own: (exit code, output, errors)."""
    for key, folder in (("DATA_DIR", "data"), ("MODELS_DIR", "models"), ("RUNTIME_DIR", "run")):
        monkeypatch.setenv(f"SA3_{key}", str(tmp_path / folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(["lora", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_an_adapter_is_brought_in_listed_held_against_a_model_and_removed(lora: Lora, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "models" / "tiny")
    assert lora("import", GOLDEN / "lora" / "dora-rows.safetensors", "--name", "warmth")[0] == 0
    assert lora()[1].splitlines()[0].startswith("warmth               dora-rows, rank 3, ")
    assert "alpha 5" in lora("info", "warmth")[1]
    code, output, _ = lora("info", "warmth", "--model", "tiny")
    assert code == 0 and "fits        tiny" in output
    code, output, _ = lora("info", "warmth", "--model", "nano")
    assert code == 1 and "does not fit nano: model.transformer" in output
    assert "would delete" in lora("rm", "warmth")[1]
    assert lora("rm", "warmth", "--yes")[0] == 0
    assert "warmth" not in lora("list")[1]


def test_a_peft_folder_is_copied_without_its_pickles(lora: Lora, tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "grit")
    (folder / "optimizer.pt").write_bytes(b"\x80")
    assert lora("import", folder)[0] == 0
    assert sorted(path.name for path in (tmp_path / "data" / "adapters" / "grit").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    assert lora("import", folder)[0] == 2, "nothing is replaced unasked"


def test_what_is_no_adapter_is_refused_and_what_is_broken_can_be_removed(lora: Lora, tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x04")
    absent = tmp_path / "absent.safetensors"
    for path, wanted, reason in ((tmp_path / "old.ckpt", 1, "is a pickle"), (absent, 2, "an adapter's file or folder")):
        code, _, error = lora("import", path)
        assert code == wanted and reason in error and error.count("\n") == 1
    assert lora("info", "absent")[0] == lora("rm", "../absent", "--yes")[0] == 2
    assert lora("import", GOLDEN / "lora" / "lora.safetensors", "--name", "../out")[0] == 2
    adapters = tmp_path / "data" / "adapters"
    adapters.mkdir(parents=True)
    (adapters / "broken.safetensors").write_bytes(b"not one")
    assert lora("rm", "broken", "--yes")[0] == 0 and not (adapters / "broken.safetensors").exists()
