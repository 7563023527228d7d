"""The golden fixtures of the published models through the same door users have: ``sa3-daw conformance``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sa3_daw.conformance import FAMILIES, check, main
from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.errors import InvalidField

GOLDEN = Path(__file__).parent / "golden"
FIXTURES = sorted(path.name.removesuffix(".io.safetensors") for path in GOLDEN.glob("*.io.safetensors"))


@pytest.mark.parametrize("name", FIXTURES)
def test_every_case_of_the_fixture_is_within_tolerance(name: str) -> None:
    cases = list(check(Fixture.open(GOLDEN / f"{name}.io.safetensors")))
    assert [case for case in cases if case.verdict not in ("ok", "noted")] == []
    assert sum(case.verdict == "ok" for case in cases) >= 3


def test_every_family_has_a_fixture() -> None:
    assert all(any(name.startswith(prefix) for name in FIXTURES) for prefix, _ in FAMILIES)


def test_an_error_beyond_tolerance_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in GOLDEN.glob("number_conditioner.*"):
        shutil.copy(path, tmp_path)
    assert main(tmp_path) == 0
    path = tmp_path / "number_conditioner.io.safetensors"
    tensors = load_file(path)
    tensors["float32.embeds"] = tensors["float32.embeds"] * 1.001
    save_file(tensors, path)
    assert main(tmp_path) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_tensor_that_no_case_knows_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"mystery": torch.ones(3)}, tmp_path / "unheard_of.io.safetensors")
    assert main(tmp_path) == 1
    assert "UNKNOWN" in capsys.readouterr().out


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="a folder of fixtures"):
        main(tmp_path)


def test_a_wrong_shape_is_a_failure_and_not_a_broadcast() -> None:
    assert Case.compare("shape", torch.ones(1, 3), torch.ones(2, 3)).verdict == "FAILED"
