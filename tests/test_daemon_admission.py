"""Admission: every bad value is named with field, value and what is allowed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import pytest

from sa3_daw.config import DaemonConfig, load_config
from sa3_daw.daemon import admission
from sa3_daw.daemon.limits import MAX_PROMPT_BYTES
from sa3_daw.errors import (
    InvalidField,
    LimitExceeded,
    ProtocolMismatch,
    RequestError,
    UnknownModel,
)
from sa3_daw.job import Job
from sa3_daw.protocol.framing import encode
from sa3_daw.protocol.messages import Credit
from tests.running_daemon import a_job

GOOD: dict[str, Any] = {
    "job_id": "a",
    "prompt": "house drums",
    "num_samples": 48000,
    "sample_rate": 48000,
    "seed": 1,
    "tempo_map": [{"position_ppq": 0.0, "bpm": 120.0}],
}
SOURCE = "5e" * 32
STORED = {SOURCE: 24000}
ADAPTERS = ("dusty", "bright")


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    return load_config({"runtime_dir": tmp_path, "models_dir": tmp_path}, {})


def admitted(config: DaemonConfig, **changes: Any) -> Job:
    job_id = changes.get("job_id", "a")
    header = msgpack.packb({"v": 1, "job": job_id if isinstance(job_id, str) else "a"})
    frames = [b"generate", header, msgpack.packb({**GOOD, **changes})]
    request = admission.read_request(frames, admission.read_header(frames))
    assert isinstance(request, Job)
    return admission.admit(request, config, lambda audio: STORED.get(audio, 0), ADAPTERS)


def test_defaults_of_the_model_are_written_in(config: DaemonConfig) -> None:
    job = admitted(config)
    assert job.steps >= 1 and job.guidance_scale > 0
    assert admitted(config, steps=3, guidance_scale=1.5).steps == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_samples", 0), ("num_samples", -1), ("num_samples", True), ("num_samples", 1.5), ("num_samples", "9"),
        ("sample_rate", 0), ("sample_rate", 44101), ("sample_rate", 2**40),
        ("seed", -1), ("seed", 2**63), ("seed", None),
        ("start_sample", -1), ("start_sample", 2**60),
        ("steps", -1), ("steps", 201),
        ("guidance_scale", -1.0), ("guidance_scale", 31.0), ("guidance_scale", math.nan), ("guidance_scale", math.inf),
        ("prompt", 5), ("prompt", b"bytes"), ("negative_prompt", []),
        ("job_id", ""), ("job_id", "a b"), ("job_id", "x" * 65), ("job_id", "ü"), ("job_id", 3),
        ("model", 3), ("tempo_map", []), ("tempo_map", {}), ("tempo_map", [1]),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(config: DaemonConfig, field: str, value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        admitted(config, **{field: value})
    assert field in caught.value.field or (field == "job_id" and caught.value.field == "job")
    assert caught.value.value and caught.value.allowed


@pytest.mark.parametrize(
    ("key", "value"),
    [("bpm", 0), ("bpm", -120), ("bpm", math.nan), ("bpm", math.inf), ("bpm", 1e9), ("bpm", True), ("bpm", "120"),
     ("position_ppq", 1.0), ("position_ppq", math.nan), ("numerator", 0), ("denominator", 3)],
)  # fmt: skip
def test_a_bad_tempo_point_is_named_with_its_place(config: DaemonConfig, key: str, value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        admitted(config, tempo_map=[{"position_ppq": 0.0, "bpm": 120.0, key: value}])
    assert "tempo_map[0]" in caught.value.field and key in caught.value.field


def test_a_missing_field_is_named(config: DaemonConfig) -> None:
    body = {key: value for key, value in GOOD.items() if key != "seed"}
    frames = [b"generate", msgpack.packb({"v": 1, "job": "a"}), msgpack.packb(body)]
    with pytest.raises(InvalidField, match="seed is missing"):
        admission.read_request(frames, admission.read_header(frames))


def regions(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    return [{"start_sample": start, "end_sample": end} for start, end in pairs]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("apg_scale", {"apg_scale": 1.5}), ("sampler", {"sampler": "magic"}),
        ("headroom_seconds", {"headroom_seconds": 61}),
        ("negative_prompt", {"negative_prompt": "hats"}),
        ("negative_prompt", {"negative_prompt": "hats", "guidance_scale": 1.0}),
        ("noise_level", {"noise_level": 0.0}), ("noise_level", {"noise_level": 0.5}),
        ("warp", {"loop": True, "warp": True}), ("num_samples", {"loop": True, "num_samples": 24_000 - 1}),
        ("warp", {"source": {"audio": SOURCE}, "num_samples": 24000, "warp": True}),
        ("loudness_lufs", {"source": {"audio": SOURCE}, "loudness_lufs": -14.0, "regions": regions((20000, 48000))}),
        ("loudness_lufs", {"source": {"audio": SOURCE}, "num_samples": 24000, "loudness_lufs": -14.0, "loop": True}),
        ("num_variations", {"num_variations": 0}), ("best_of", {"best_of": -1}),
        ("num_variations * best_of", {"num_variations": 33, "best_of": 2}),
        ("seed", {"seed": 2**63 - 1, "num_variations": 2}),
        ("loudness_lufs", {"loudness_lufs": 1.0}), ("priority", {"priority": "urgent"}),
        ("source.audio", {"source": {"audio": "../../etc/passwd"}}), ("source.audio", {"source": {"audio": "6f" * 32}}),
        ("source.start_sample", {"source": {"audio": SOURCE, "start_sample": 24001}}),
        ("source.start_sample", {"source": {"audio": SOURCE, "start_sample": -1}}),
        ("source.start_sample", {"source": {"audio": SOURCE}, "num_samples": 23999}),
        ("regions[0]", {"regions": regions((0, 0))}), ("regions[0]", {"regions": regions((-1, 48000))}),
        ("regions[0]", {"regions": regions((0, 48001))}), ("regions[1]", {"regions": regions((9, 48000), (0, 9))}),
        ("regions[1]", {"regions": regions((0, 10), (9, 48000))}), ("regions", {"regions": regions((1, 48000))}),
        ("regions", {"source": {"audio": SOURCE}, "regions": regions((0, 100))}),
        ("regions", {"source": {"audio": SOURCE}, "regions": regions((24001, 48000))}),
        ("regions", {"regions": regions(*((at, at + 1) for at in range(65)))}),
        ("regions[0]", {"source": {"audio": SOURCE}, "regions": regions((100, 48000)), "noise_level": 0.5}),
        ("adapters[0].name", {"adapters": [{"name": "none"}]}),
        ("adapters[0].name", {"adapters": [{"name": "/etc/x"}]}),
        ("adapters[1].name", {"adapters": [{"name": "dusty"}, {"name": "dusty"}]}),
        ("adapters[0].strength", {"adapters": [{"name": "dusty", "strength": math.inf}]}),
        ("adapters[0].max_noise", {"adapters": [{"name": "dusty", "min_noise": 0.5, "max_noise": 0.25}]}),
        ("adapters[0].layer_filter", {"adapters": [{"name": "dusty", "layer_filter": "x" * 201}]}),
        ("adapters", {"adapters": [{"name": "dusty"}] * 17}),
    ],
)  # fmt: skip
def test_a_bad_edit_is_named_with_what_would_do(config: DaemonConfig, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        admitted(config, **changes)
    assert caught.value.field == field and caught.value.value and caught.value.allowed


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"audio": SOURCE}, "num_samples": 24000},
        {"source": {"audio": SOURCE}, "num_samples": 24000, "regions": regions((5, 9), (9, 11))},
        {"source": {"audio": SOURCE}, "regions": regions((24000, 48000))},
        {"source": {"audio": SOURCE, "start_sample": 24000}, "regions": regions((0, 24001))},
        {"source": {"audio": SOURCE}, "num_samples": 24000, "noise_level": 0.5, "loop": True},
        {"regions": regions((0, 100), (100, 48000)), "loudness_lufs": -14.0, "warp": True},
        {"source": {"audio": SOURCE}, "num_samples": 24000, "noise_level": 0.5, "loudness_lufs": -14.0},
        {"num_variations": 16, "best_of": 4, "seed": 2**63 - 64, "priority": "audible", "durable": True},
        {"adapters": [{"name": "dusty", "strength": -1.0}, {"name": "bright", "min_noise": 0.5}]},
    ],
)
def test_every_verb_is_admitted(config: DaemonConfig, changes: dict[str, Any]) -> None:
    job = admitted(config, **changes)
    assert job.sampler and job.apg_scale is not None and job.headroom_seconds is not None


def test_a_clip_longer_than_the_model_is_announced_as_chained(config: DaemonConfig) -> None:
    for num_samples, chained in ((48000, False), (48000 * 3600, True)):
        job = admitted(config, num_samples=num_samples)
        assert admission.accepted(job, config, 0, None).chained is chained


def test_too_long_is_told_with_the_maximum_at_that_rate(config: DaemonConfig) -> None:
    with pytest.raises(LimitExceeded) as caught:
        admitted(config, num_samples=2**40, sample_rate=96000)
    longest = int(caught.value.allowed.split()[2])
    assert admitted(config, num_samples=longest, sample_rate=96000).num_samples == longest
    with pytest.raises(LimitExceeded):
        admitted(config, num_samples=longest + 1, sample_rate=96000)


def test_a_prompt_is_limited_in_bytes_not_characters(config: DaemonConfig) -> None:
    assert admitted(config, prompt="x" * MAX_PROMPT_BYTES)
    with pytest.raises(LimitExceeded, match="4098 UTF-8 bytes"):
        admitted(config, prompt="ü" * 2049)


def test_an_unknown_model_is_told_those_that_exist(config: DaemonConfig) -> None:
    with pytest.raises(UnknownModel, match="nano"):
        admitted(config, model="../../etc")


def test_a_text_that_is_not_utf8_is_refused(config: DaemonConfig) -> None:
    body = msgpack.packb(GOOD).replace(b"house", b"h\xffuse")
    frames = [b"generate", msgpack.packb({"v": 1, "job": "a"}), body]
    with pytest.raises(InvalidField, match="UTF-8"):
        admission.read_request(frames, admission.read_header(frames))


def test_another_protocol_version_is_told_both() -> None:
    frames = [b"hello", msgpack.packb({"v": 7}), msgpack.packb({})]
    with pytest.raises(ProtocolMismatch, match=r"version 7.*version 1"):
        admission.read_request(frames, admission.read_header(frames))


def test_unknown_fields_and_further_frames_are_ignored(config: DaemonConfig) -> None:
    assert admitted(config, from_the_future=[1, {"a": 2}])
    frames = [*encode(a_job(job_id="b"), job="b"), b"more"]
    assert isinstance(admission.read_request(frames, admission.read_header(frames)), Job)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x91" * 100_000, msgpack.packb([1]), b"\x81\xa1a\xdd\xff\xff\xff\xff"]
)
def test_a_body_that_is_no_map_is_refused(body: bytes) -> None:
    frames = [b"status", msgpack.packb({"v": 1}), body]
    with pytest.raises(RequestError):
        admission.read_request(frames, admission.read_header(frames))


def test_credit_must_be_positive() -> None:
    frames = encode(Credit(0), job="a")
    with pytest.raises(InvalidField, match="num_chunks"):
        admission.read_request(frames, admission.read_header(frames))


def test_the_header_names_the_job_of_generate() -> None:
    frames = encode(a_job(job_id="one"), job="two")
    with pytest.raises(InvalidField, match="job_id"):
        admission.read_request(frames, admission.read_header(frames))
