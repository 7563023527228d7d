"""Folders and shards of audio: bad files are named and left out, the rest is encoded once, in the published format."""

from __future__ import annotations

import copy
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.errors import InvalidField
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_training.checkpoints import DiskFull
from sa3_training.data import latents as latents_module
from sa3_training.data.audio import draw_audio, open_sounds
from sa3_training.data.captions import compose_caption, read_name
from sa3_training.data.crops import Crops, told
from sa3_training.data.describe import describe, write_captions
from sa3_training.data.folder import Source, scan
from sa3_training.data.latents import Beats, Item, encode_folder, holds_latents, lead_frames, read_encoded

RATE = 44100


def sound(seconds: float, rate: int = RATE, channels: int = 2, level: float = 0.3) -> np.ndarray:
    seconds_at = np.arange(int(seconds * rate)) / rate
    audio = level * np.sin(2 * np.pi * 220 * seconds_at) * (1 + 0.5 * np.sin(2 * np.pi * 3 * seconds_at))
    return np.repeat(audio[:, None], channels, axis=1).astype(np.float32)


def write(path: Path, audio: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype=subtype)
    return path


@pytest.fixture(scope="module")
def nano() -> LoadedModel:
    return load_model(EMBEDDED / "nano", "nano")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A folder with every kind of bad file and three good ones."""
    folder = tmp_path / "zoo"
    write(folder / "good loop 120bpm.wav", sound(1.5)).with_suffix(".txt").write_text("a good\n loop\n")
    write(folder / "deep" / "Warm_Keys_F#min.flac", sound(1.0), subtype="PCM_16").with_suffix(".txt").write_text("")
    write(folder / "silent.wav", np.zeros((RATE, 2), np.float32))
    write(folder / "clipped.wav", np.clip(8 * sound(1.0), -1, 1))
    write(folder / "mono8k.wav", sound(1.0, 8000, 1), 8000)
    write(folder / "nan.wav", np.full((RATE, 2), np.nan, np.float32))
    write(folder / "short.wav", sound(0.05))
    write(folder / "surround.wav", sound(0.5, channels=6))
    (folder / "empty.wav").touch()
    (folder / "corrupt.wav").write_bytes(b"RIFF" + bytes(range(200)))
    (folder / "text.mp3").write_text("this is no music")
    whole = write(folder / "cut off.wav", sound(2.0)).read_bytes()
    (folder / "cut off.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.pdf").write_text("no audio")
    (folder / "._hidden.wav").write_text("resource fork")
    return folder


def test_every_bad_file_is_named_and_the_rest_is_kept(zoo: Path) -> None:
    found = scan(zoo)
    left_out = {fault.name: fault.what for fault in found.faults if fault.left_out}
    assert set(left_out) == {"silent.wav", "nan.wav", "short.wav", "empty.wav", "corrupt.wav", "text.mp3"}
    assert "silent" in left_out["silent.wav"] and "NaN" in left_out["nan.wav"] and "50 ms" in left_out["short.wav"]
    assert "empty file" in left_out["empty.wav"] and "cannot be read" in left_out["corrupt.wav"]
    noted = {(fault.name, fault.what.split(";")[0].split(" (")[0]) for fault in found.faults if not fault.left_out}
    assert ("clipped.wav", "is clipped") in noted
    assert ("mono8k.wav", "is mono") in noted
    assert any(name == "mono8k.wav" and "8000 Hz" in what for name, what in noted)
    assert any(name == "deep/Warm_Keys_F#min.flac" and "empty caption" in what for name, what in noted)
    assert any(name == "surround.wav" and "6 channels" in what for name, what in noted)
    assert {source.name for source in found.sources} >= {"good loop 120bpm.wav", "mono8k.wav", "clipped.wav"}
    assert next(s for s in found.sources if s.name.startswith("good")).caption == "a good loop"


def test_a_folder_without_audio_is_refused_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="folder of audio"):
        scan(tmp_path / "missing")
    with pytest.raises(InvalidField, match=r"holds no .*\.wav"):
        scan(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InvalidField, match=r"empty\.wav: is an empty file"):
        scan(tmp_path)


def test_of_a_two_hour_file_ten_minutes_are_used(tmp_path: Path) -> None:
    write(tmp_path / "concert.flac", np.tile(sound(60.0, 8000, 1), (120, 1)), 8000, "PCM_16")
    found = scan(tmp_path)
    assert found.minutes == pytest.approx(10)
    assert any("120 minutes long; the first 10 are used" in fault.what for fault in found.faults)


@pytest.mark.parametrize(
    ("name", "words", "bpm", "key"),
    [
        ("KK_DustyDrumLoop_92bpm_Am.wav", "kk dusty drum loop", 92.0, "A minor"),
        ("loops/Lead 128.5 BPM F#maj 03.flac", "lead", 128.5, "F# major"),
        ("Bb_minor-pad-bpm75.wav", "pad", 75.0, "Bb minor"),
        ("take3_final_mix.wav", "", None, None),
        ("A day in Emily 1999bpm.wav", "day in emily", None, None),
    ],
)
def test_names_tell_words_tempo_and_key(name: str, words: str, bpm: float | None, key: str | None) -> None:
    facts = read_name(name)
    assert (facts.bpm, facts.key) == (bpm, key)
    assert facts.words == words or words in facts.words


def test_captions_are_written_only_where_there_are_none(tmp_path: Path) -> None:
    write(tmp_path / "Soft_Pad_90bpm_Cmin.wav", sound(1.0))
    own = write(tmp_path / "own.wav", sound(1.0)).with_suffix(".txt")
    own.write_text("my words")
    written = write_captions(scan(tmp_path).sources, tmp_path)
    assert [path.name for path in written] == ["Soft_Pad_90bpm_Cmin.txt"]
    assert written[0].read_text() == "soft pad, 90 BPM, C minor\n"
    assert own.read_text() == "my words"
    assert compose_caption("", None, None, "field recordings") == "field recordings"


def encode(folder: Path, cache: Path, model: LoadedModel, said: list[str]) -> list[Item]:
    described = [describe(source, folder) for source in scan(folder).sources]
    return encode_folder(described, model.same, model.spec, cache, said.append)


def test_latents_are_cached_in_the_published_format(tmp_path: Path, nano: LoadedModel) -> None:
    data, cache, said = tmp_path / "data", tmp_path / "cache", list[str]()
    write(data / "a 100bpm.wav", sound(1.5, 48_000), 48_000)
    write(data / "b.wav", sound(0.5, 22_050, 1), 22_050)
    first = encode(data, cache, nano, said)
    assert len(said) == 2
    again = encode(data, cache, nano, said)
    assert len(said) == 2, "the second run encoded again"
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.latents, two.latents)
    entry = json.loads((cache / "0000000000.json").read_text())
    assert {"prompt", "path", "relpath", "timestamps", "seconds_start", "seconds_total", "padding_mask", "sample_rate",
            "load_time"} <= entry.keys()  # fmt: skip
    latents = np.load(cache / "0000000000.npy")
    assert latents.shape[0] == nano.spec.dit.latent_dim and len(entry["padding_mask"]) == latents.shape[1]
    assert np.load(cache / "silence.npy").shape[:2] == (1, nano.spec.dit.latent_dim)
    assert first[0].beats is not None and first[0].beats.bpm == 100
    read, faults = read_encoded(cache, nano.spec)
    assert [item.caption for item in read] == [item.caption for item in first] and not faults
    write(data / "b.wav", sound(0.6, 22_050, 1), 22_050)
    encode(data, cache, nano, said)
    assert len(said) == 3, "a changed file is encoded anew"


def test_an_encoder_that_was_trained_on_reads_none_of_the_latents_of_before(tmp_path: Path, nano: LoadedModel) -> None:
    data, cache, said = tmp_path / "data", tmp_path / "cache", list[str]()
    write(data / "a 100bpm.wav", sound(0.5))
    first = encode(data, cache, nano, said)
    louder = replace(nano, same=copy.deepcopy(nano.same))
    louder.same.bottleneck.running_std.mul_(2)
    second = encode(data, cache, louder, said)
    assert len(said) == 2 and np.allclose(first[0].latents, 2 * second[0].latents)
    nano_again = encode(data, cache, nano, said)
    assert len(said) == 2 and np.array_equal(nano_again[0].latents, first[0].latents)
    for model in (louder, nano):
        encode(data, cache, model, said)
        silent = model.same.encode(torch.zeros(1, 2, 4 * model.spec.samples_per_frame)).detach().numpy()
        assert np.allclose(np.load(cache / "silence.npy")[..., :4], silent, atol=1e-6)


def test_latents_that_do_not_fit_are_named_and_the_rest_is_kept(tmp_path: Path, nano: LoadedModel) -> None:
    channels = nano.spec.dit.latent_dim
    arrays = {"0000000000": np.ones((channels, 8)), "0000000001": np.ones((256, 8)), "0000000002": np.ones((8, 0)),
              "0000000003": np.full((channels, 8), np.nan)}  # fmt: skip
    entry = {"prompt": "a pad", "relpath": "a.wav", "seconds_start": 0, "seconds_total": 1, "padding_mask": [1] * 6}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32))
        (tmp_path / f"{name}.json").write_text(json.dumps(entry))
    np.save(tmp_path / "0000000004.npy", np.ones((channels, 8), np.float32))
    assert holds_latents(tmp_path)
    items, faults = read_encoded(tmp_path, nano.spec)
    assert [(item.caption, item.valid, item.beats) for item in items] == [("a pad", 6, None)]
    assert [fault.name for fault in faults] == [f"000000000{index}.npy" for index in (1, 2, 3, 4)]
    assert "has latents of shape [256, 8]; nano has 128 channels" in faults[0].what
    (tmp_path / "0000000000.npy").unlink()
    with pytest.raises(InvalidField, match=r"0000000003\.npy: holds no sound, or NaN"):
        read_encoded(tmp_path, nano.spec)


def test_encoded_files_decode_to_themselves_after_the_lead(tmp_path: Path, nano: LoadedModel) -> None:
    write(tmp_path / "data" / "a.wav", sound(2.0))
    (item,) = encode(tmp_path / "data", tmp_path / "cache", nano, [])
    lead = lead_frames(nano.spec)
    assert item.lead_frames == lead > 0
    with torch.inference_mode():
        audio = nano.same.decode(torch.from_numpy(item.latents)[None])[0]
    start = lead * nano.spec.samples_per_frame
    original = torch.from_numpy(sound(2.0).T.copy())
    heard = audio[:, start : start + original.shape[1]]
    assert float(audio[:, : start // 2].abs().max()) < 0.02
    cosine = torch.nn.functional.cosine_similarity(heard.flatten(), original.flatten(), dim=0)
    assert float(cosine) > 0.9
    level = float(heard.square().mean().sqrt())
    assert level == pytest.approx(latents_module.CORPUS_RMS, rel=0.25)


def test_a_long_file_becomes_several_stretches(
    tmp_path: Path, nano: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents_module, "item_frames", lambda spec: 20)
    write(tmp_path / "data" / "long 90bpm.wav", sound(4.0))
    items = encode(tmp_path / "data", tmp_path / "cache", nano, [])
    assert len(items) == 5
    body = 18 * nano.spec.samples_per_frame / RATE
    assert [item.seconds_start for item in items] == pytest.approx([body * index for index in range(5)], abs=1e-4)
    assert [item.lead_frames for item in items] == [2, 0, 0, 0, 0]


def test_a_disk_too_small_for_the_latents_stops_before_encoding(
    tmp_path: Path, nano: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data" / "a.wav", sound(1.0))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(DiskFull, match="the encoded audio needs about"):
        encode(tmp_path / "data", tmp_path / "cache", nano, [])


def make_crops(items: list[Item], cache: Path, model: LoadedModel, frames: int = 40, size: int = 3) -> Crops:
    return Crops.of(items, cache, model.text_encoder, model.spec, "zap", frames, size)


def test_crops_pad_short_items_with_silence_and_say_their_length(tmp_path: Path, nano: LoadedModel) -> None:
    write(tmp_path / "data" / "hit 100bpm.wav", sound(0.5))
    items = encode(tmp_path / "data", tmp_path / "cache", nano, [])
    batch = make_crops(items, tmp_path / "cache", nano).draw(random.Random(0))
    assert batch.latents_BDT.shape == (3, nano.spec.dit.latent_dim, 40)
    assert batch.valid_B.tolist() == [items[0].valid] * 3
    assert float(batch.latents_BDT[:, :, items[0].valid :].abs().max()) < 1e-5
    assert batch.seconds_B[0] == pytest.approx(items[0].valid * nano.spec.samples_per_frame / RATE)


def test_a_crop_knows_where_it_lies_in_the_bar(tmp_path: Path, nano: LoadedModel) -> None:
    bpm = 60 * RATE / (8 * nano.spec.samples_per_frame)  # a beat is eight frames
    write(tmp_path / "data" / "loop.wav", sound(4.0))
    (item,) = encode(tmp_path / "data", tmp_path / "cache", nano, [])
    timed = Item(**{**vars(item), "beats": Beats(bpm, 0.0)})
    crops = make_crops([timed], tmp_path / "cache", nano, frames=16)
    at_lead, on_beat, off_beat = (
        crops.cut([timed], [start], [False]).grid_BGT[0, 0, 0].item()
        for start in (0, timed.lead_frames, timed.lead_frames + 4)
    )
    assert on_beat == pytest.approx(1, abs=1e-4) and off_beat == pytest.approx(-1, abs=1e-4)
    assert at_lead == pytest.approx(np.cos(2 * np.pi * -2 / 8), abs=1e-4)
    untimed = Item(**{**vars(item), "beats": None})
    unknown = make_crops([untimed], tmp_path / "cache", nano).draw(random.Random(0))
    assert float(unknown.grid_BGT.abs().max()) == 0


def test_the_trigger_word_stands_before_captions_and_sometimes_alone(tmp_path: Path, nano: LoadedModel) -> None:
    assert told("warm pad", "zap") == "zap, warm pad"
    assert told("a ZAP of bass", "zap") == "a ZAP of bass"
    assert told("", "zap") == "zap" and told("warm pad", "") == "warm pad"
    write(tmp_path / "data" / "warm pad.wav", sound(3.0))
    items = encode(tmp_path / "data", tmp_path / "cache", nano, [])
    crops = make_crops(items, tmp_path / "cache", nano, size=200)
    batch = crops.draw(random.Random(0))
    alone = crops.texts.states[crops.texts.rows["zap"]].float()
    share = float((batch.states_BLD == alone).all(dim=(1, 2)).float().mean())
    assert 0.1 < share < 0.3


def pack(shard: Path, *paths: Path) -> None:
    """Write a tar file as ``tar -cf`` does."""
    with tarfile.open(shard, "w:") as tar:
        for path in paths:
            tar.add(path, path.name)


def test_shards_give_the_same_audio_as_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for index in range(5):
        path = write(data / f"{index}.wav", sound(1.0 + index / 10, level=0.1 + index / 20))
        path.with_suffix(".txt").write_text(f"clip {index}")
    shards = tmp_path / "shards"
    shards.mkdir()
    pack(shards / "0.tar", *sorted(data.glob("[0-2].*")))
    pack(shards / "1.tar", *sorted(data.glob("[34].*")))
    plain, _ = open_sounds(data)
    packed, faults = open_sounds(shards)
    assert not faults and [sound.caption for sound in packed] == [f"clip {index}" for index in range(5)]
    one, two = (draw_audio(sounds, 4, RATE // 2, RATE, random.Random(3)) for sounds in (plain, packed))
    assert torch.equal(one.audio_BCS, two.audio_BCS) and one.captions == two.captions
    assert one.audio_BCS.shape == (4, 2, RATE // 2)


def test_every_bad_file_of_a_shard_is_named_and_the_rest_is_kept(zoo: Path, tmp_path: Path) -> None:
    """A clip that is not a number, drawn once, would make the whole model one."""
    shard = tmp_path / "zoo.tar"
    pack(shard, *(path for path in sorted(zoo.iterdir()) if path.is_file()))
    sounds, faults = open_sounds(shard)
    in_folder = {(f.name, f.what) for f in scan(zoo).faults if "cannot be read" not in f.what and "/" not in f.name}
    in_shard = {(f.name.removeprefix("zoo.tar/"), f.what) for f in faults if "cannot be read" not in f.what}
    assert in_shard == in_folder
    assert {"zoo.tar/corrupt.wav", "zoo.tar/text.mp3", "zoo.tar/nan.wav"} <= {f.name for f in faults if f.left_out}
    assert {sound.name for sound in sounds} >= {"zoo.tar/good loop 120bpm.wav", "zoo.tar/mono8k.wav"}
    assert next(sound for sound in sounds if "good" in sound.name).caption == "a good loop"
    pack(shard, zoo / "nan.wav")
    with pytest.raises(InvalidField, match=r"zoo\.tar/nan\.wav: holds NaN"):
        open_sounds(shard)


def test_a_shard_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"not a tar" * 100)
    with pytest.raises(InvalidField, match=r"bad\.tar"):
        open_sounds(tmp_path)


def test_audio_of_any_rate_is_drawn_at_the_models_and_silence_is_avoided(tmp_path: Path) -> None:
    half_silent = np.concatenate((np.zeros((RATE * 9, 1), np.float32), sound(1.0, channels=1)))
    write(tmp_path / "late.wav", half_silent)
    source: Source = scan(tmp_path).sources[0]
    heard = [draw_audio([source], 1, RATE // 4, RATE, random.Random(seed)).audio_BCS.abs().max() for seed in range(20)]
    assert sum(float(peak) > 0.01 for peak in heard) > 10
