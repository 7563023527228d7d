"""The published checkpoints: every key and shape of the real files, whole folders at full width, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sa3_daw.checkpoint import build, check_keys, read_tensors
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing, ModelError, Unsupported
from sa3_daw.generation.model import LoadedModel, load_model, load_same
from sa3_daw.generation.run import run
from sa3_daw.job import Job, TempoPoint
from sa3_daw.models.specs import ModelSpec
from sa3_daw.published import PUBLISHED
from sa3_daw.tensor_files import TensorFile
from sa3_daw.verification import modules_of, verify
from sa3_daw.weight_files import open_weights
from tests.tiny_t5gemma import write_t5gemma

FOLDER = Path(__file__).parent / "published"
TABLES = {
    "SAME-S": "SAME-S",
    "SAME-L": "SAME-L",
    **{f"stable-audio-3-small-{kind}": "small" for kind in ("music", "sfx", "music-base", "sfx-base")},
    **{f"stable-audio-3-medium{base}": "medium" for base in ("", "-base")},
}


def config_of(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return config


def table(name: str) -> dict[str, tuple[tuple[int, ...], bool]]:
    rows = [line.split("\t") for line in (FOLDER / f"{TABLES[name]}.tsv").read_text().splitlines()[1:]]
    return {key: (tuple(json.loads(shape)), dtype == "F32") for keys, shape, dtype in rows for key in spelt_out(keys)}


def spelt_out(keys: str) -> Iterator[str]:
    """Yield the keys of a row: ``layers.{0..19}.bias`` stands for twenty."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", keys)
    if found is None:
        yield keys
        return
    for number in range(int(found[1]), int(found[2]) + 1):
        yield from spelt_out(f"{keys[: found.start()]}{number}{keys[found.end() :]}")


@pytest.mark.parametrize("name", TABLES)
def test_the_model_of_every_published_config_wants_exactly_the_published_keys(name: str) -> None:
    check_keys(modules_of(config_of(name), name), table(name), name)


@pytest.mark.parametrize(
    ("name", "num_elements"),
    [("stable-audio-3-small-music", 567_573_761), ("stable-audio-3-medium", 2_305_495_793), ("SAME-L", 852_127_457)],
)
def test_the_parameters_add_up_to_the_published_numbers(name: str, num_elements: int) -> None:
    tensors = [
        tensor for module in modules_of(config_of(name), name).values() for tensor in module.state_dict().values()
    ]
    rotary = [shape for key, (shape, _) in table(name).items() if key.endswith(".inv_freq")]
    assert sum(tensor.numel() for tensor in tensors) + sum(shape[0] for shape in rotary) == num_elements
    assert all(tensor.is_meta for tensor in tensors)


def test_a_larger_spec_of_the_same_form_builds() -> None:
    config = config_of("stable-audio-3-medium")
    config["model"]["diffusion"]["config"] |= {"embed_dim": 2048, "depth": 32, "num_heads": 32}
    spec = ModelSpec.from_config(config, "large")
    assert (spec.dit.width, spec.dit.depth, spec.dit.head_dim) == (2048, 32, 64)
    modules_of(config, "large")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_pinned_values_have_the_form_of_hashes(name: str) -> None:
    model = PUBLISHED[name]
    assert len(model.revision) == 40 and len(model.weights_sha256) == len(model.config_sha256) == 64
    num_floats = sum(torch.Size(shape).numel() for shape, _ in table(model.repository.rpartition("/")[2]).values())
    header_bytes = model.weights_bytes - 4 * num_floats
    assert 0 < header_bytes < 200_000


def shallow(name: str, depth: int = 2) -> dict[str, Any]:
    """Return a published config with few layers of full width."""
    config = config_of(name)
    model = config["model"]
    same = model["pretransform"]["config"] if "diffusion" in model else model
    for side in ("encoder", "decoder"):
        same[side]["config"]["transformer_depths"] = [depth]
    if "diffusion" in model:
        model["diffusion"]["config"]["depth"] = depth
    return config


def write_model(folder: Path, config: dict[str, Any]) -> Path:
    """Write a folder as published, with seeded random weights, rotary frequencies and a tiny text encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    tensors = {
        prefix + key: torch.randn(tensor.shape, generator=generator) * 0.02
        for prefix, module in modules_of(config, "test").items()
        for key, tensor in module.state_dict().items()
    }
    for key in tensors:
        if key.endswith(("running_std", "gamma", "weight_g", "scaling_factor")):
            tensors[key] = torch.ones_like(tensors[key])
    save_file(
        tensors | {"model.model.transformer.rotary_pos_emb.inv_freq": torch.ones(16)}, folder / "model.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def small_music(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a small-music folder: full width, two layers a stack, with a text encoder of two tiny layers."""
    config = shallow("stable-audio-3-small-music")
    config["model"]["conditioning"]["cond_dim"] = 24
    config["model"]["diffusion"]["config"] |= {"cond_token_dim": 24, "global_cond_dim": 24}
    folder = write_model(tmp_path_factory.mktemp("models") / "own-music", config)
    write_t5gemma(folder / "t5gemma-b-b-ul2")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def model(small_music: Path) -> LoadedModel:
    return load_model(small_music, "own-music")


def job(seed: int = 1, **changes: Any) -> Job:
    values: dict[str, Any] = {"prompt": "warm pad", "num_samples": 8192, "sample_rate": 44_100, "steps": 1}
    return Job(
        "job", seed=seed, tempo_map=(TempoPoint(0, 120),), guidance_scale=1.0, headroom_seconds=0.0, **values | changes
    )


def test_a_whole_folder_loads_without_a_copy_of_its_weights(small_music: Path) -> None:
    loaded = load_model(small_music, "own-music")
    modules = (loaded.dit, loaded.conditioner, loaded.same)
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.numel()]
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    starts = [parameter.data_ptr() for parameter in parameters]
    ends = [parameter.data_ptr() + parameter.nbytes for parameter in parameters]
    assert max(ends) - min(starts) <= (small_music / "model.safetensors").stat().st_size, "views of one mapped file"


def test_a_prompt_goes_through_the_published_text_encoder_to_audio(model: LoadedModel) -> None:
    def audio(**changes: Any) -> bytes:
        chunks = [event.samples for event in run(job(**changes), model) if hasattr(event, "samples")]
        assert sum(chunk.shape[1] for chunk in chunks) == 8192
        return b"".join(chunk.tobytes() for chunk in chunks)

    assert audio() == audio()
    assert audio() != audio(prompt="dry kick")


def test_verification_names_every_question_it_answers(small_music: Path) -> None:
    told = list(verify(small_music, "own-music"))
    num_keys = len(read_tensors(small_music))
    assert [sentence.split()[0] for sentence in told] == ["model_config.json", str(num_keys), "model.safetensors", "a"]


def test_a_published_name_with_other_bytes_is_refused_with_the_command_that_mends_it(small_music: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"not the published file.*sa3-daw models pull small-music"):
        list(verify(small_music, "small-music"))


@pytest.mark.parametrize("name", ["SAME-S", "SAME-L"])
def test_an_autoencoder_alone_and_inside_a_model_give_the_same(name: str, tmp_path: Path) -> None:
    config = shallow(name)
    write_model(tmp_path, config)
    (alone,) = modules_of(config, name)
    assert alone == ""
    same = load_same(tmp_path, name)
    whole_name = "stable-audio-3-small-music" if name == "SAME-S" else "stable-audio-3-medium"
    whole = shallow(whole_name)
    whole["model"]["diffusion"]["config"]["depth"] = 1
    tensors = {f"pretransform.model.{key}": tensor for key, tensor in read_tensors(tmp_path).items()}
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "model_config.json").write_text(json.dumps(whole))
    save_file(tensors, tmp_path / "whole" / "model.safetensors")
    audio = torch.randn(1, 2, 8192, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(same.encode(audio), load_same(tmp_path / "whole", whole_name).encode(audio))


def damaged(small_music: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder whose weights may be replaced; what is not replaced is linked."""
    copy = tmp_path / "copy"
    shutil.copytree(small_music, copy, copy_function=lambda source, goal: Path(goal).symlink_to(source))
    return copy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds only 0 bytes"),
        (b"\x80\x04\x95" + bytes(range(1, 60)), "is a pickle"),
        (b"PK\x03\x04" + b"x" * 60, "is a pickle or zip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
        (b"<!doctype html><html><body>Sign in</body></html>", "web page"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "its header would be"),
        ((2).to_bytes(8, "little") + b"[]", "is not a table"),
        ((9).to_bytes(8, "little") + b'{"a": 1}}', "is not JSON"),
        ((200_000).to_bytes(8, "little") + b"[" * 200_000, "is not JSON"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "cannot be understood"),
    ],
)
def test_foreign_and_hostile_files_are_refused_by_reason(
    content: bytes, reason: str, small_music: Path, tmp_path: Path
) -> None:
    folder = damaged(small_music, tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointMismatch, match=reason) as caught:
        load_model(folder, "own-music")
    assert "run: sa3-daw models verify own-music" in caught.value.message


def header(entries: dict[str, Any], payload: int) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(payload)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}, "does not fit its shape"),
        ({"a": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}, "does not fit its shape"),
        ({"a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}}, "is incomplete"),
        ({"a": {"dtype": "X9", "shape": [4], "data_offsets": [0, 16]}}, "cannot be understood"),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}, "leave a gap"),
        ({key: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for key in "ab"}, "overlap"),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}, "bytes follow its last tensor"),
        ({"__metadata__": {"a": 1}}, "metadata is not text"),
    ],
)
def test_headers_that_lie_about_their_tensors_are_refused(entries: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(header(entries, 16))
    with pytest.raises(CheckpointMismatch, match=reason):
        TensorFile.open(path)


def test_a_download_that_was_cut_off_says_how_much_is_there(small_music: Path, tmp_path: Path) -> None:
    folder = damaged(small_music, tmp_path)
    whole = (folder / "model.safetensors").resolve()
    (folder / "model.safetensors").unlink()
    with whole.open("rb") as source:
        (folder / "model.safetensors").write_bytes(source.read(1_000_000))
    with pytest.raises(CheckpointMismatch, match=r"incomplete: 1,000,000 of [\d,]+ bytes.*models pull small-music"):
        load_model(folder, "small-music")


def test_a_missing_file_and_pickled_weights_are_named(small_music: Path, tmp_path: Path) -> None:
    folder = damaged(small_music, tmp_path)
    shutil.rmtree(folder / "t5gemma-b-b-ul2")
    with pytest.raises(CheckpointMissing, match="t5gemma-b-b-ul2"):
        load_model(folder, "own-music")
    (folder / "model.safetensors").rename(folder / "model.ckpt")
    with pytest.raises(CheckpointMissing, match=r"only model\.ckpt; pickles are never opened"):
        open_weights(folder)


def test_another_models_weights_list_what_is_missing_unexpected_and_misshapen(
    small_music: Path, tmp_path: Path
) -> None:
    folder = damaged(small_music, tmp_path)
    config = json.loads((folder / "model_config.json").read_text())
    config["model"]["diffusion"]["config"] |= {"depth": 3, "embed_dim": 512, "num_heads": 8}
    (folder / "model_config.json").unlink()
    (folder / "model_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointMismatch) as caught:
        load_model(folder, "own-music")
    for word in ("missing (model.model.transformer.layers.2", "misshapen (", "is [1024, 1024], wanted [512, 512]"):
        assert word in caught.value.message


def test_weights_of_whole_numbers_are_refused() -> None:
    module = build(lambda: torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointMismatch, match="2 mistyped"):
        check_keys({"": module}, {"weight": ((2, 2), False), "bias": ((2,), False)}, "here")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "diffusion", "config", "depth"), 10**9),
        (("model", "diffusion", "config", "embed_dim"), -1024),
        (("model", "diffusion", "config", "num_heads"), 0),
        (("model", "diffusion", "config", "embed_dim"), "1024"),
        (("model", "pretransform", "config", "encoder", "config", "strides"), [0]),
        (("model", "pretransform", "config", "encoder", "config", "transformer_depths"), []),
        (("model", "conditioning", "configs"), {"prompt": 1}),
        (("sample_size",), None),
        (("model", "diffusion"), []),
        (("model",), 3),
    ],
)
def test_hostile_configs_are_refused_before_anything_is_built(
    path: tuple[str, ...], value: object, tmp_path: Path
) -> None:
    config = config_of("stable-audio-3-small-music")
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "model_config.json").write_text(json.dumps(config))
    with pytest.raises((ModelError, Unsupported)):
        load_model(tmp_path, "hostile")
