"""Latents on disk: a restarted daemon encodes nothing again, and no result depends on what is there."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sa3_daw.embedded
from sa3_daw import edits
from sa3_daw.generation.edit_plan import plan_edit
from sa3_daw.generation.heard import Heard, encoder_identity
from sa3_daw.generation.latent_files import LatentFiles
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import hear_ahead, run
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job, Region, TempoPoint
from tests.running_daemon import ROOT, RunningDaemon, a_job, data_dir, wait_for
from tests.stored_sources import drain, put

RATE = 44100
JOB = Job("j", "drums", RATE, RATE, 1, (TempoPoint(0.0, 120.0),), steps=2, guidance_scale=1.0)
REGIONS = (Region(3 * RATE // 4, 5 * RATE // 4),)
COUNTING_ENGINE = shlex.join((sys.executable, str(ROOT / "tests" / "counting_engine.py")))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(Path(next(iter(sa3_daw.embedded.__path__))) / "nano", "nano")


def store_of(folder: Path) -> SourceStore:
    """Return what a newly started engine has: files, and nothing in memory."""
    return SourceStore(folder, Heard(LatentFiles(folder)))


def inpainting(folder: Path) -> Job:
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, 2 * RATE))).astype(np.float32)
    return edits.inpaint(JOB, put(folder, noise), 2 * RATE, REGIONS)


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("latents/*/*.latents"))


def refuse() -> torch.Tensor:
    raise AssertionError("it was encoded")


def test_what_is_read_back_is_what_was_encoded(model: LoadedModel, tmp_path: Path) -> None:
    job = inpainting(tmp_path)
    without = drain(run(job, model, SourceStore(tmp_path)))
    assert not stored(tmp_path)
    first = drain(run(job, model, store_of(tmp_path)))
    (file,) = stored(tmp_path)
    written = file.stat().st_mtime_ns
    again = drain(run(job, model, store_of(tmp_path)))
    assert file.stat().st_mtime_ns == written
    assert first.audio[0].tobytes() == again.audio[0].tobytes() == without.audio[0].tobytes()
    plan, end = plan_edit(job, model.spec), plan_edit(job, model.spec).grid.num_frames
    store_of(tmp_path).heard.latents(plan, model.same, 0, end, refuse)


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-4], lambda whole: b"x" + whole[1:], lambda whole: b""])
def test_damaged_latents_are_encoded_again_and_mended(
    model: LoadedModel, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    job = inpainting(tmp_path)
    first = drain(run(job, model, store_of(tmp_path)))
    (file,) = stored(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    again = drain(run(job, model, store_of(tmp_path)))
    assert first.audio[0].tobytes() == again.audio[0].tobytes()
    assert file.read_bytes() == whole


def test_another_encoder_reads_none_of_them(model: LoadedModel, tmp_path: Path) -> None:
    before = encoder_identity(model.same)
    bias = model.same.bottleneck.bias
    try:
        with torch.no_grad():
            bias.data[..., 0, 0] += 1e-6
        assert encoder_identity(model.same) != before
    finally:
        with torch.no_grad():
            bias.data[..., 0, 0] -= 1e-6
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert encoder_identity(model.same) != before
    torch.set_num_threads(threads)


def test_a_folder_that_takes_nothing_costs_only_time(model: LoadedModel, tmp_path: Path) -> None:
    job = inpainting(tmp_path)
    (tmp_path / "latents").write_bytes(b"in the way")
    plain = drain(run(job, model, SourceStore(tmp_path)))
    assert drain(run(job, model, store_of(tmp_path))).audio[0].tobytes() == plain.audio[0].tobytes()


def test_hearing_ahead_stores_what_the_edit_hears_even_when_it_is_long(model: LoadedModel, tmp_path: Path) -> None:
    length = 60 * RATE  # nano makes less than that in one window
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, length))).astype(np.float32)
    job = edits.restyle(JOB, put(tmp_path, noise), length, 0.5)
    plan = plan_edit(job, model.spec)
    assert len(plan.windows) > 1
    pieces = hear_ahead(job, model, store_of(tmp_path))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert not stored(tmp_path), "a job that comes stops it"
    assert len(list(hear_ahead(job, model, store_of(tmp_path)))) > 2
    assert len(stored(tmp_path)) == len(plan.windows)
    assert list(hear_ahead(job, model, store_of(tmp_path))) == []


def test_a_take_is_edited_after_a_restart_without_encoding(tmp_path: Path) -> None:
    runtime_dir, encodes = tmp_path / "run", tmp_path / "encodes"
    encodes.touch()
    env = {"SA3_ENGINE_COMMAND": COUNTING_ENGINE, "ENCODES_FILE": str(encodes)}
    made = replace(a_job("house drums", num_samples=96_000), steps=2)
    with RunningDaemon(runtime_dir, **env) as daemon, daemon.client() as client:
        take = client.generate(made).takes[0].take
        wait_for("latents beside the take", lambda: bool(stored(data_dir(runtime_dir))))
        (file,) = stored(data_dir(runtime_dir))
        assert file.name.startswith(take.audio)
        wait_for("latents counted", lambda: client.status().store.num_bytes == 8 * 96_000 + file.stat().st_size)
        assert encodes.stat().st_size == 1
    edit = edits.restyle(replace(made, job_id="again"), take.audio, 96_000, 0.5)
    with RunningDaemon(runtime_dir, **env) as daemon, daemon.client() as client:
        edited = client.generate(edit).samples
        assert encodes.stat().st_size == 1, "it was encoded again"
        num_takes, num_bytes = client.collect_garbage(2)
        assert (num_takes, num_bytes, stored(data_dir(runtime_dir))) == (0, 0, [file])
        for latents in stored(data_dir(runtime_dir)):
            latents.unlink()
        os.kill(daemon.engine_pid(), signal.SIGKILL)
        wait_for("the engine's death", lambda: client.status().engine.num_deaths == 1)
        daemon.engine_pid()
        again = client.generate(replace(edit, job_id="without")).samples
        assert encodes.stat().st_size == 2
    assert edited.tobytes() == again.tobytes()
