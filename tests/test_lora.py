"""Adapters: the form equals the weight, base weights survive, noise levels switch, what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sa3_daw.adapter_files import KINDS, describe_adapter, find_adapter, list_adapters
from sa3_daw.checkpoint import read_adapter
from sa3_daw.errors import CheckpointMismatch, CheckpointMissing, InvalidField, Unsupported
from sa3_daw.models.adapted import AdaptableLayers, AdaptedLayer, AdapterStack
from sa3_daw.models.lora import NORM_FLOOR, Adapter, BaseWeight, Form, Use

ROWS, COLUMNS, RANK = 4, 6, 2


def adapter(kind: str = "lora", seed: int = 0) -> Adapter:
    torch.manual_seed(seed)
    layer = {"lora_A": torch.randn(RANK, COLUMNS), "lora_B": torch.randn(ROWS, RANK)}
    if kind.startswith("dora"):
        layer["magnitude"] = torch.rand(COLUMNS if kind == "dora-cols" else ROWS) + 0.5
    if kind == "bora":
        layer |= {"magnitude_r": torch.rand(ROWS) + 0.5, "magnitude_c": torch.rand(COLUMNS) + 0.5}
    return Adapter(kind, RANK, 3.0, {"model.proj": layer})


def model() -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({"proj": nn.Linear(COLUMNS, ROWS)})


def linear(root: nn.ModuleDict) -> nn.Linear:
    layer = root["proj"]
    assert isinstance(layer, nn.Linear)
    return layer


def stack(root: nn.Module, *uses: Use) -> AdapterStack:
    return AdapterStack(AdaptableLayers({"model.": root}), uses)


def weight_by_definition(weight: Tensor, use: Use) -> Tensor:
    """SPEC 7.2 as it is written: build the matrix, then norm it."""
    layer = use.adapter.layers["model.proj"]
    moved = weight + use.adapter.alpha / use.adapter.rank * use.strength * layer["lora_B"] @ layer["lora_A"]

    def normed(matrix: Tensor, magnitude: Tensor, dim: int) -> Tensor:
        return magnitude.unsqueeze(dim) * matrix / (matrix.norm(dim=dim, keepdim=True) + NORM_FLOOR)

    match use.adapter.kind:
        case "lora":
            return moved
        case "dora-rows":
            return normed(moved, layer["magnitude"], 1)
        case "dora-cols":
            return normed(moved, layer["magnitude"], 0)
        case _:
            return normed(normed(moved, layer["magnitude_r"], 1), layer["magnitude_c"], 0)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_a_stack_of_any_two_kinds_equals_the_weights_built_one_after_the_other(first: str, second: str) -> None:
    root, uses = model(), [Use(adapter(first), 0.7), Use(adapter(second, seed=5), -1.3)]
    wanted = linear(root).weight.detach()
    for use in uses:
        wanted = weight_by_definition(wanted, use)
    on = stack(root, *uses)
    on.switch_to(0.5)
    torch.testing.assert_close(on.weight("model.proj"), wanted)
    x, bias = torch.randn(3, COLUMNS), linear(root).bias.detach()
    on.put_on()
    torch.testing.assert_close(root["proj"](x), x @ wanted.T + bias)


def test_taking_off_puts_the_same_layer_back_with_its_weights_bit_for_bit() -> None:
    root = model()
    layer, before = linear(root), linear(root).weight.detach().clone()
    on = stack(root, Use(adapter()), Use(adapter("bora"), strength=0.3))
    on.switch_to(0.5)
    on.put_on()
    assert isinstance(root.get_submodule("proj"), AdaptedLayer)
    root["proj"](torch.randn(2, COLUMNS))
    on.take_off()
    assert linear(root) is layer and torch.equal(layer.weight, before)


def test_a_pointwise_convolution_is_adapted_like_a_matrix() -> None:
    root = nn.ModuleDict({"proj": nn.Conv1d(COLUMNS, ROWS, 1)})
    on = stack(root, Use(adapter("bora")))
    on.switch_to(0.5)
    x = torch.randn(2, COLUMNS, 5)
    wanted = on.weight("model.proj") @ x + root.get_parameter("proj.bias")[:, None]
    on.put_on()
    torch.testing.assert_close(root["proj"](x), wanted)


class Converted(nn.Module):
    """A layer in another precision, as models/precision.py makes them: float32 in and out, told by dense_weight."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bf16_weight, self.bias = nn.Parameter(plain.weight.detach().bfloat16()), plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.bfloat16(), self.bf16_weight).float() + self.bias

    def dense_weight(self) -> Tensor:
        return self.bf16_weight.float()


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_layer_is_adapted_like_a_plain_one(kind: str) -> None:
    root = model()
    x = torch.randn(3, COLUMNS).bfloat16().float()
    plain = stack(root, Use(adapter(kind)))
    plain.switch_to(0.5)
    plain.put_on()
    wanted = root["proj"](x)
    plain.take_off()
    root["proj"] = Converted(linear(root))
    on = stack(root, Use(adapter(kind)))
    on.switch_to(0.5)
    on.put_on()
    torch.testing.assert_close(root["proj"](x), wanted, atol=0.05, rtol=0.05)


def test_an_interval_switches_the_weights_with_the_noise_level() -> None:
    root = model()
    before = linear(root).weight.detach().clone()
    on = stack(root, Use(adapter(), interval=(0.4, 1.0)))
    assert on.depends_on_t and not stack(root, Use(adapter())).depends_on_t
    on.switch_to(0.39)
    assert torch.equal(on.weight("model.proj"), before)
    on.switch_to(0.4)
    assert not torch.allclose(on.weight("model.proj"), before)


@pytest.mark.parametrize(
    ("layer_filter", "acts"),
    [("", True), ("self_attn", True), ("cross_attn", False), ("-self_attn", False), ("-cross_attn", True),
     ("layers.0., -to_out", True), ("layers.0.,-to_qkv", False), ("SELF_ATTN", True)],
)  # fmt: skip
def test_a_layer_filter_names_where_an_adapter_acts_and_with_a_minus_where_not(layer_filter: str, acts: bool) -> None:
    use = Use(adapter(), layer_filter=layer_filter)
    assert use.acts_on("model.transformer.layers.0.self_attn.to_qkv") is acts


def test_strength_zero_is_the_base_weight_for_every_kind() -> None:
    for kind in KINDS:
        on = stack(root := model(), Use(adapter(kind), strength=0.0))
        on.switch_to(0.5)
        assert torch.equal(on.weight("model.proj"), linear(root).weight)


def test_another_strength_passes_over_the_weight_no_second_time() -> None:
    weight, num_reads = torch.randn(ROWS, COLUMNS), 0

    def dense() -> Tensor:
        nonlocal num_reads
        num_reads += 1
        return weight

    base = BaseWeight(dense)
    for kind in ("lora", "dora-rows", "dora-cols"):
        used = adapter(kind)
        Form().with_use(base, Use(used, 1.0), used.layers["model.proj"])
        after_first = num_reads
        Form().with_use(base, Use(used, 0.5), used.layers["model.proj"])
        assert num_reads == after_first, kind


def faults(root: nn.Module, used: Adapter) -> list[str]:
    return AdaptableLayers({"model.": root}).faults(used)


def test_what_does_not_fit_is_named_layer_by_layer() -> None:
    assert faults(model(), adapter()) == []
    assert faults(nn.ModuleDict({"other": nn.Linear(6, 4)}), adapter()) == ["model.proj is not in this model"]
    assert faults(nn.ModuleDict({"proj": nn.Linear(5, 4)}), adapter()) == ["model.proj.lora_A is [2, 6], wanted [2, 5]"]
    incomplete = Adapter("dora-rows", RANK, 1.0, adapter("lora").layers)
    assert faults(model(), incomplete) == ["model.proj has lora_A, lora_B, wanted lora_A, lora_B, magnitude"]


def write_peft(folder: Path, **changes: object) -> Path:
    layer = adapter("dora-rows").layers["model.proj"]
    folder.mkdir()
    save_file(
        {
            "base_model.model.proj.lora_A.weight": layer["lora_A"],
            "base_model.model.proj.lora_B.weight": layer["lora_B"],
            "base_model.model.proj.lora_magnitude_vector": layer["magnitude"],
        },
        folder / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 3, "use_dora": True, "base_model_name_or_path": "small"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return folder


def test_a_peft_folder_reads_like_the_published_file(tmp_path: Path) -> None:
    entry = describe_adapter(write_peft(tmp_path / "warmth"))
    assert (entry.name, entry.kind, entry.rank, entry.alpha, entry.base_model) == (
        "warmth",
        "dora-rows",
        2,
        3.0,
        "small",
    )
    read, direct = read_adapter(entry), adapter("dora-rows")
    for name, value in direct.layers["model.proj"].items():
        assert torch.equal(read.layers["model.proj"][name], value)


def test_rank_stabilised_peft_adapters_keep_their_scale(tmp_path: Path) -> None:
    entry = describe_adapter(write_peft(tmp_path / "stable", use_rslora=True))
    assert entry.alpha / entry.rank == pytest.approx(3 / RANK**0.5)


def test_peft_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    for option, value in {
        "rank_pattern": {"proj": 4},
        "bias": "all",
        "peft_type": "IA3",
        "fan_in_fan_out": True,
    }.items():
        with pytest.raises(Unsupported, match="only plain PEFT"):
            describe_adapter(write_peft(tmp_path / option, **{option: value}))


def write_published(path: Path, kind: str = "lora", **config: object) -> Path:
    tensors = {
        f"{layer}.parametrizations.weight.0.{name}": value.half()
        for layer, parameters in adapter(kind).layers.items()
        for name, value in parameters.items()
    }
    save_file(tensors, path, {"lora_config": json.dumps({"adapter_type": kind, **config}), "base_model": "medium"})
    return path


def test_rank_and_alpha_that_a_file_leaves_out_follow_from_its_shapes(tmp_path: Path) -> None:
    entry = describe_adapter(write_published(tmp_path / "bare.safetensors"))
    assert (entry.rank, entry.alpha, entry.num_layers, entry.base_model) == (RANK, RANK, 1, "medium")


def test_installed_adapters_are_listed_and_broken_ones_say_why_when_asked_for(tmp_path: Path) -> None:
    assert list_adapters(tmp_path / "none") == []
    write_published(tmp_path / "good.safetensors", "bora")
    write_peft(tmp_path / "folder")
    (tmp_path / "broken.safetensors").write_bytes(b"rubbish of some length")
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x04")
    assert [(entry.name, entry.kind) for entry in list_adapters(tmp_path)] == [
        ("folder", "dora-rows"),
        ("good", "bora"),
    ]
    with pytest.raises(CheckpointMismatch, match="not a readable safetensors file"):
        find_adapter("broken", tmp_path)
    with pytest.raises(CheckpointMismatch, match="is a pickle"):
        find_adapter("old", tmp_path)
    for name in ("", "..", "../good", ".hidden", "good.safetensors/", "absent"):
        with pytest.raises(InvalidField, match="allowed: folder, good"):
            find_adapter(name, tmp_path)


def test_empty_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing):
        describe_adapter(tmp_path / "none.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointMismatch, match="unexpected key 'weight'"):
        describe_adapter(tmp_path / "foreign.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(CheckpointMismatch, match="adapts no layer"):
        describe_adapter(tmp_path / "empty.safetensors")
    for config in ({"adapter_type": "vera"}, {"rank": "many"}, {"rank": -1}):
        with pytest.raises(CheckpointMismatch, match="adapter_type|rank"):
            describe_adapter(write_published(tmp_path / "odd.safetensors", **config))
