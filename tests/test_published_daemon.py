"""A model in the published layout behind a real daemon: text encoder, prefix, samplers, negative prompt, damage."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sa3_daw.client import Accepted, Client, Result
from sa3_daw.config import ENGINE_COMMAND
from sa3_daw.errors import CheckpointMismatch
from sa3_daw.models.specs import MUSIC_PREFIX
from tests.running_daemon import RunningDaemon, a_job
from tests.tiny_published import write_tiny_model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    runtime = tmp_path_factory.mktemp("published") / "run"
    write_tiny_model(runtime / "models" / "small-tiny")
    half = write_tiny_model(runtime / "models" / "small-music") / "model.safetensors"
    half.write_bytes(half.read_bytes()[:100_000])
    environment = {"SA3_ENGINE_COMMAND": shlex.join(ENGINE_COMMAND), "SA3_PRELOAD": "", "SA3_PRECISION": "fp32"}
    with RunningDaemon(runtime, **environment) as daemon, daemon.client() as connected:
        yield connected


def made(client: Client, **changes: object) -> Result:
    job = replace(a_job("warm pad"), model="small-tiny", sample_rate=44_100, steps=2, headroom_seconds=0.0)
    return client.generate(replace(job, **changes))  # type: ignore[arg-type]


def test_the_prompt_prefix_is_in_the_takes_job_and_the_same_words_give_the_same_sound(client: Client) -> None:
    plain, tagged = made(client), made(client, prompt=MUSIC_PREFIX + "warm pad")
    with client.submit(replace(plain.job, job_id="told")) as stream:
        accepted = next(stream)
        assert isinstance(accepted, Accepted) and accepted.prompt == MUSIC_PREFIX + "warm pad"
    (stored,) = [take for take in client.list_takes() if take.take_id == plain.takes[0].take.take_id]
    assert client.get_take(stored.take_id)[1].prompt == MUSIC_PREFIX + "warm pad"
    assert np.array_equal(plain.samples, tagged.samples)


def test_every_sampler_and_a_negative_prompt_give_a_sound_of_their_own(client: Client) -> None:
    results = [made(client, sampler=name) for name in ("pingpong", "euler", "dpmpp", "rk4")]
    results += [made(client, guidance_scale=2.0), made(client, guidance_scale=2.0, apg_scale=0.0)]
    results.append(made(client, guidance_scale=2.0, negative_prompt="dry kick"))
    sounds = {result.samples.tobytes() for result in results}
    assert len(sounds) == len(results)
    assert all(np.isfinite(result.samples).all() for result in results)


def test_a_half_downloaded_model_fails_its_job_with_the_command_that_mends_it(client: Client) -> None:
    with pytest.raises(CheckpointMismatch, match=r"is incomplete: 100,000 of .*run: sa3-daw models pull small-music"):
        made(client, model="small-music")
    assert made(client).samples.shape == (2, 8192)
