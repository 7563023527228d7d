"""The benchmark tool at a tiny size: it runs whole and writes what it printed. Knows no speed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from benchmarks.run import main
from benchmarks.sizes import SMALL_DIT, Sizes
from tests.tiny import SAME_FORMS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:torch.nn.utils.weight_norm")

TINY = Sizes(
    replace(SMALL_DIT, latent_dim=12, width=128, depth=1, num_heads=2, local_dim=13, num_memory_tokens=4),
    replace(SAME_FORMS["same-s"], patch_samples=1024),
)


def test_the_cpu_benchmark_measures_every_kind_of_work_and_writes_it_down(
    tmp_path: Path,
) -> None:
    main(["cpu", "--seconds", "1", "--rounds", "1"], TINY, tmp_path)
    (path,) = tmp_path.iterdir()
    written = path.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("|")]
    assert {row[0] for row in rows} >= {"copied fp32", "mapped fp32", "mapped w8a8"}
    models, ways = ("fp32", "diffusers", "w8a8"), ("fp32, all at once", "fp32, streamed", "w8a8, streamed")
    assert {(row[1], row[2]) for row in rows if row[0] == "1 s"} == {
        *product(("DiT step", "8 steps"), models),
        *product(("decode", "first audio", "end to end"), ways),
    }
    snr_db = next(float(row[5]) for row in rows if row[1:3] == ["8 steps", "diffusers"])
    assert snr_db > 80
