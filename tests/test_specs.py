"""What a config says about a model: prompts get their prefix once, samplers and guidance have names and defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sa3_daw.errors import CheckpointMismatch
from sa3_daw.models.specs import MUSIC_PREFIX, SFX_PREFIX, Config, ModelSpec, same_spec_of

PUBLISHED = Path(__file__).parent / "published"


def spec(name: str) -> ModelSpec:
    return ModelSpec.from_config(json.loads((PUBLISHED / f"{name}.json").read_text()), name)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("stable-audio-3-small-music", MUSIC_PREFIX),
        ("stable-audio-3-small-sfx-base", SFX_PREFIX),
        ("stable-audio-3-medium", MUSIC_PREFIX),
    ],
)
def test_the_prompt_prefix_is_applied_once(name: str, prefix: str) -> None:
    model = spec(name)
    assert model.full_prompt("warm pad") == prefix + "warm pad"
    assert model.full_prompt(model.full_prompt("warm pad")) == prefix + "warm pad"


def test_tags_of_the_user_and_an_empty_prompt_stay_as_they_are() -> None:
    model = spec("stable-audio-3-small-music")
    for prompt in ("TrackType: SFX, rain", "tracktype: music, flute", "", "  "):
        assert model.full_prompt(prompt) == prompt


def test_the_default_sampler_follows_the_objective() -> None:
    assert spec("stable-audio-3-medium").sampler == "pingpong"
    assert spec("stable-audio-3-medium-base").sampler == "euler"
    assert spec("stable-audio-3-medium-base").sampler in spec("stable-audio-3-medium-base").samplers


ENCODER, DECODER = (("model", "pretransform", "config", side, "config") for side in ("encoder", "decoder"))
PATCHES = ("model", "pretransform", "config", "pretransform", "config")
DIT = ("model", "diffusion", "config")
PROMPT, SECONDS = (("model", "conditioning", "configs", index, "config") for index in (0, 1))


def changed(place: tuple[str | int, ...], **changes: Any) -> Config:
    config: Any = json.loads((PUBLISHED / "stable-audio-3-small-music.json").read_text())
    block = config
    for key in place:
        block = block[key]
    block |= changes
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize(
    ("place", "changes", "words"),
    [
        (DECODER, {"chunk_size": 16}, "chunk_size is 16; allowed: multiples of 32 at strides [16] with"),
        (DECODER, {"chunk_size": 40, "chunk_midpoint_shift": False}, "chunk_size is 40; allowed: multiples of 16"),
        (ENCODER, {"chunk_size": 64}, "the encoder's chunk_size is 64; allowed: divisors of the decoder's 32"),
        (DECODER, {"strides": [0]}, "strides is [0]; allowed: at least 1"),
        (DECODER, {"strides": [8]}, "strides is [8]; allowed: [16], as in the encoder"),
        (DECODER, {"dim_heads": 100}, "dim_heads is 100; allowed: divisors of the width 768"),
        (DECODER, {"dim_heads": 0}, "dim_heads is 0; allowed: divisors"),
        (DECODER, {"ff_mult": 0}, "ff_mult is 0; allowed: at least 1"),
        (DECODER, {"transformer_depths": [0]}, "transformer_depths is [0]; allowed: at least 1, or lapped"),
        (DECODER, {"sliding_window": [1, 2.5]}, "sliding_window is [1, 2.5]; allowed: whole numbers"),
        (DECODER, {"chunk_midpoint_shift": "yes"}, "midpoint_shift is 'yes'; allowed: true or false"),
        (DECODER, {"mask_noise": "loud"}, "token_noise is 'loud'; allowed: numbers"),
        (PATCHES, {"channels": 1}, "channels is 1; allowed: 2"),
        (PATCHES, {"patch_size": 0}, "patch_size is 0; allowed: at least 1"),
        (DIT, {"num_heads": 0}, "num_heads is 0; allowed: divisors of embed_dim 1024"),
        (DIT, {"num_heads": 7}, "num_heads is 7; allowed: divisors of embed_dim 1024"),
        (DIT, {"num_heads": 64}, "num_heads is 64; allowed: divisors of embed_dim 1024 that leave 32 channels"),
        (DIT, {"timestep_features_dim": 255}, "timestep_features_dim is 255; allowed: even numbers from 2"),
        (DIT, {"ff_kwargs": {"mult": 0.0}}, "ff_kwargs mult is 0.0; allowed: at least 1 / embed_dim"),
        (DIT, {"ff_kwargs": {"mult": 10**400}}, "ff_mult is 1000"),
        (DIT, {"io_channels": 128, "local_add_cond_dim": 129}, "io_channels is 128; allowed: 256, the autoencoder's"),
        (DIT, {"local_add_cond_dim": 256}, "local_add_cond_dim is 256; allowed: io_channels + 1"),
        (DIT, {"local_add_cond_dim": 267}, "local_add_cond_dim is 267; allowed: io_channels + 1"),
        (DIT, {"cond_token_dim": 384}, "cond_token_dim is 384; allowed: 768, the conditioning's cond_dim"),
        (DIT, {"global_cond_dim": 384}, "global_cond_dim is 384; allowed: 768, the conditioning's cond_dim"),
        (PROMPT, {"max_length": 0}, "max_length is 0; allowed: at least 1"),
        (PROMPT, {"subfolder": "../elsewhere"}, "subfolder is '../elsewhere'; allowed: a folder inside the model's"),
        (PROMPT, {"subfolder": 7}, "text_encoder_folder is 7; allowed: a text"),
        (SECONDS, {"max_val": 0}, "max_val is 0; allowed: above min_val 0"),
        ((), {"sample_rate": 0}, "sample_rate is 0; allowed: at least 1"),
        ((), {"sample_size": 0}, "sample_size is 0; allowed: at least 1"),
        ((), {"sa3_daw": {"steps": 0}}, "steps is 0; allowed: at least 1"),
        ((), {"sa3_daw": {"headroom_seconds": -1.0}}, "headroom_seconds is -1.0; allowed: 0 or more"),
        ((), {"sa3_daw": {"lowest_level": 1.0}}, "lowest_level is 1.0; allowed: 0 or more and below 1"),
    ],
)
def test_a_config_that_could_be_built_but_not_run_is_refused_by_key(
    place: tuple[str | int, ...], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(CheckpointMismatch) as caught:
        ModelSpec.from_config(changed(place, **changes), "odd")
    assert caught.value.message.startswith(f"model_config.json of 'odd' cannot be used: {words}")


def test_an_autoencoder_alone_is_checked_as_one_in_a_model() -> None:
    config = changed(DECODER, chunk_size=16)
    with pytest.raises(CheckpointMismatch, match="chunk_size is 16"):
        same_spec_of({"model": config["model"]["pretransform"]["config"]}, "odd")


@pytest.mark.parametrize("name", [path.stem for path in PUBLISHED.glob("stable*.json")])
def test_every_published_config_passes(name: str) -> None:
    assert spec(name).samples_per_frame == 4096
