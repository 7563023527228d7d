"""What a config says about a model: prompts get their prefix once, samplers and guidance have names and defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sa3_daw.models.specs import MUSIC_PREFIX, SFX_PREFIX, ModelSpec

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
