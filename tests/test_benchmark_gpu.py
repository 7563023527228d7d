"""The GPU's benchmark at a tiny size on the CPU: every row is measured and written beside what was published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from weakref import ref

import pytest
import torch
from torch import nn

from benchmarks import run
from benchmarks.gpu import PUBLISHED_SECONDS, Bench, main, published_spec
from sa3_daw.models.specs import ModelSpec
from tests.test_conformance import GOLDEN

FRAME = 32
"""Samples in a frame, and in a second: so that clips are short."""

SPECS = {
    model: replace(
        ModelSpec.from_config(json.loads((GOLDEN / f"{config}.config.json").read_text()), model), sample_rate=FRAME
    )
    for model, config in (("small-music", "generate_small"), ("medium", "generate_medium"))
}


def test_every_published_clip_is_measured_and_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenths = {(model, seconds / 10): figures for (model, seconds), figures in PUBLISHED_SECONDS.items()}
    monkeypatch.setattr("benchmarks.gpu.PUBLISHED_SECONDS", tenths)
    monkeypatch.setattr("benchmarks.gpu.WARM_UPS", 1)
    monkeypatch.setattr("benchmarks.gpu.ROUNDS", 1)
    words = ["--device", "cpu", "--folder", str(tmp_path), "--precisions", "fp32", "--ways", "graphs"]
    main([*words, "--minutes", "0"], SPECS)
    assert not list(tmp_path.iterdir()), "no row is started when the time is over"
    main(words, SPECS)
    stored, told = sorted(tmp_path.iterdir())
    rows = json.loads(stored.read_text())["rows"]
    assert {(row["model"], row["audio_seconds"]) for row in rows} == tenths.keys()
    assert all(0 < row["step"] < row["sampling"] < row["first_audio"] < row["whole"] for row in rows)
    assert all(row["snr_db"] > 100 for row in rows)
    assert told.read_text().count("\n| medium | ") == 3


def test_a_model_that_holds_itself_is_gone_before_the_next_one_is_measured() -> None:
    bench = Bench(SPECS["small-music"], "fp32", "plain", torch.device("cpu"))
    layer = nn.Linear(1, 1)
    layer.__dict__["call"] = layer.forward  # as torch.compile keeps it
    before = ref(layer)
    del layer
    assert before() is not None
    bench._forget_memory()
    assert before() is None


def test_what_is_not_understood_measures_nothing(tmp_path: Path) -> None:
    for words in (["--ways", "graph"], ["--precisions", "fp8"]):
        with pytest.raises(SystemExit):
            main(["--device", "cpu", "--folder", str(tmp_path), "--minutes", "0", *words], SPECS)
    with pytest.raises(SystemExit):
        run.main(["--minutes", "0", "gpu"], results=tmp_path)


def test_the_published_models_are_described() -> None:
    assert [published_spec(model).dit.width for model in ("small-music", "medium")] == [1024, 1536]
