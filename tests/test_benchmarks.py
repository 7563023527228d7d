"""The benchmark tool at a tiny size: it measures every row once and goes on where it stopped. Knows no speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fresh import in_fresh_process
from benchmarks.rows import COPIED
from benchmarks.run import main
from benchmarks.sizes import SMALL_DIT, Sizes
from tests.tiny import SAME_FORMS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:torch.nn.utils.weight_norm")

TINY = Sizes(
    replace(SMALL_DIT, latent_dim=12, width=128, depth=1, num_heads=2, local_dim=13, num_memory_tokens=4),
    replace(SAME_FORMS["same-s"], patch_samples=1024),
)
WORDS = ["cpu", "--seconds", "1", "--rounds", "1", "--variants", "w8a8", "--autoencoder", "1"]


def mostly_here(call: Callable[..., Any], *arguments: object) -> Any:
    """Spend a process of its own on one row, as all have when it matters."""
    return in_fresh_process(call, *arguments) if arguments[-1] == COPIED else call(*arguments)


def test_the_cpu_benchmark_measures_every_kind_of_work_once_and_writes_it_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setattr("benchmarks.run.in_fresh_process", mostly_here)
    results = tmp_path / "results"
    main([*WORDS, "--minutes", "0"], TINY, results)
    assert not results.exists(), "no row is started when the time is over"
    main(WORDS, TINY, results)
    stored, told = sorted(results.iterdir())
    assert len(json.loads(stored.read_text())["rows"]) == 4 + 3 + 2 + 2
    table = told.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert {row[0] for row in rows} >= {COPIED, "fp32, mapped", "w8a8, from its copy"}
    models, ways = ("fp32", "diffusers", "w8a8"), ("fp32, all at once", "fp32, streamed", "w8a8, streamed")
    assert {(row[1], row[2]) for row in rows if row[0] == "1 s"} == {
        *product(("DiT step", "8 steps"), models),
        *product(("first audio", "end to end"), ways),
        *product(("decode",), ways[:2]),
    }
    assert {row[0] for row in rows if row[1:2] == ["1 s"]} == {"decode", "encode"}
    snrs_db = [float(row[5]) for row in rows if row[1:3] in (["8 steps", "diffusers"], ["decode", "fp32, streamed"])]
    assert len(snrs_db) == 2 and min(snrs_db) > 80
    monkeypatch.setattr("benchmarks.run.in_fresh_process", lambda *call: pytest.fail("measured again"))
    main(WORDS, TINY, results)
    assert told.read_text() == table
