"""Converted weights on disk: read instead of converted, made anew when damaged or of another checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sa3_daw.converted import ConvertedCopies
from sa3_daw.generation.events import AudioChunk
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_daw.models.precision import PrecisionChoice
from sa3_daw.tensor_files import file_sha256
from tests.tiny_published import write_tiny_model

JOB = Job(
    "job", "warm pad", 40_000, 44_100, 1, (TempoPoint(0, 120),), steps=3, guidance_scale=1.0, headroom_seconds=0.0
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "tiny")


@pytest.fixture
def copies(tmp_path: Path) -> ConvertedCopies:
    return ConvertedCopies(tmp_path / "converted")


def load(folder: Path, precision: str, copies: ConvertedCopies | None = None) -> LoadedModel:
    return load_model(folder, "tiny", None, PrecisionChoice(precision, "cpu", False, "a test"), copies)


def sound(model: LoadedModel) -> bytes:
    return b"".join(event.samples.tobytes() for event in run(JOB, model) if isinstance(event, AudioChunk))


def kept(copies: ConvertedCopies) -> list[Path]:
    return sorted(copies.folder.glob("*.safetensors"))


def forbid_converting(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(weight: torch.Tensor) -> dict[str, torch.Tensor]:
        raise AssertionError("converted again")

    for converter in ("Bf16Linear", "W8A8Linear"):
        monkeypatch.setattr(f"sa3_daw.models.precision.{converter}.convert", staticmethod(convert))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "w8a8"])
def test_the_same_job_gives_the_same_bytes_whether_weights_were_converted_or_read(
    precision: str, tiny: Path, copies: ConvertedCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(tiny, precision)
    expected = sound(plain)
    assert len(expected) == 2 * 4 * JOB.num_samples
    assert sound(plain) == expected
    assert sound(load(tiny, precision, copies)) == expected
    assert len(kept(copies)) == (precision != "fp32")
    forbid_converting(monkeypatch)
    assert sound(load(tiny, precision, copies)) == expected


def test_a_damaged_copy_is_made_anew(tiny: Path, copies: ConvertedCopies) -> None:
    expected = sound(load(tiny, "w8a8", copies))
    (path,) = kept(copies)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert sound(load(tiny, "w8a8", copies)) == expected
    assert path.read_bytes() == whole


def test_a_flipped_bit_is_found_by_verifying_and_the_copy_is_made_anew(tiny: Path, copies: ConvertedCopies) -> None:
    expected = sound(load(tiny, "w8a8", copies))
    (path,) = kept(copies)
    assert list(copies.verify()) == [f"{path.name} is as it was converted"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    deleted = f"{path.name} has not the SHA-256 that lies beside it and is deleted; the next load makes it anew"
    assert list(copies.verify()) == [deleted]
    assert not kept(copies) and sound(load(tiny, "w8a8", copies)) == expected
    assert path.read_bytes() == whole
    path.with_suffix(".sha256").write_bytes(b"\xff" * 64)
    assert list(copies.verify()) == [deleted] and not kept(copies)


def test_a_changed_checkpoint_never_meets_old_weights(tiny: Path, copies: ConvertedCopies) -> None:
    load(tiny, "w8a8", copies)
    old = kept(copies)
    weights = tiny / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-4096:] = bytes(4096)
    weights.write_bytes(changed)
    assert sound(load(tiny, "w8a8", copies)) == sound(load(tiny, "w8a8"))
    assert len(kept(copies)) == 1 and kept(copies) != old


def test_precisions_lie_beside_each_other(tiny: Path, copies: ConvertedCopies) -> None:
    for precision in ("w8a8", "bf16", "w8a8"):
        load(tiny, precision, copies)
    assert len(kept(copies)) == 2


def test_a_checkpoint_is_hashed_once_and_one_in_a_hub_cache_never(
    tiny: Path, copies: ConvertedCopies, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tiny, "w8a8", copies)
    hashed: list[Path] = []

    def noted_sha256(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr("sa3_daw.converted.file_sha256", noted_sha256)
    load(tiny, "w8a8", copies)
    assert not hashed
    blob = tiny.parent / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    shutil.move(tiny / "model.safetensors", blob)
    (tiny / "model.safetensors").symlink_to(blob)
    load(tiny, "w8a8", copies)
    assert kept(copies)[0].name.startswith("a" * 32)
    assert [path.suffix for path in hashed] == [".part"]  # the new copy itself


def test_where_nothing_can_be_written_a_model_is_converted_at_every_load(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    copies = ConvertedCopies(tmp_path / "a file" / "converted")
    assert sound(load(tiny, "w8a8", copies)) == sound(load(tiny, "w8a8"))
