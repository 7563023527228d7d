"""A finished style pack: the published adapter file, and beside it a card for people and one for programs.

Knows no training loop and no audio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from sa3_training.checkpoints import replace_bytes, write_json

MOST_CAPTIONS = 50


@dataclass(frozen=True)
class Card:
    """What someone must know to use a pack and to know what it was made from."""

    name: str
    base_model: str
    kind: str
    rank: int
    trigger: str
    licence: str
    author: str
    num_steps: int
    num_files: int
    minutes_of_audio: float
    captions: tuple[str, ...]
    files: tuple[str, ...]
    faults: tuple[str, ...]
    held_out_files: tuple[str, ...]
    held_out_loss: Mapping[str, float]
    """``before`` training, ``last``, and ``best`` with the step it was reached at, ``best_step``."""
    made: str
    made_with: str


def write_pack(tensors: Mapping[str, Tensor], config: Mapping[str, object], card: Card, path: Path) -> None:
    """Write ``path`` (.safetensors) and the cards ``path`` with .json and .md. Raises DiskFull."""
    facts = {
        "base_model": card.base_model,
        "step": str(card.num_steps),
        "trigger": card.trigger,
        "licence": card.licence,
    }
    write_adapter(tensors, config, facts, path)
    write_json(asdict(card), path.with_suffix(".json"))
    replace_bytes(path.with_suffix(".md"), card_page(card, path.name).encode())


def write_adapter(
    tensors: Mapping[str, Tensor], config: Mapping[str, object], facts: Mapping[str, str], path: Path
) -> None:
    """Write the published adapter file; ``facts`` stand beside ``lora_config`` in its metadata. Raises DiskFull."""
    content = save(
        {key: tensor.contiguous() for key, tensor in tensors.items()}, {"lora_config": json.dumps(config), **facts}
    )
    replace_bytes(path, content)


def card_page(card: Card, file_name: str) -> str:
    """Return the card as a page of Markdown."""
    shown = card.captions[:MOST_CAPTIONS]
    rest = len(card.captions) - len(shown)
    word = f"Say **{card.trigger}** in the prompt." if card.trigger else "It has no trigger word."
    lines = [
        f"# {card.name}",
        "",
        f"A style pack for the model **{card.base_model}**: `{file_name}`, {card.kind}, rank {card.rank}. {word}",
        "",
        f"- licence: {card.licence}",
        *([f"- made by {card.author}"] if card.author else []),
        f"- made {card.made} with {card.made_with}, {card.num_steps} steps on {card.num_files} files "
        f"({card.minutes_of_audio:.1f} minutes)",
        *_held_out(card),
        "",
        "## Prompts it was trained with",
        "",
        *[f"- {caption}" for caption in shown],
        *([f"- and {rest} more, in the JSON card"] if rest > 0 else []),
        "",
        "## Trained on",
        "",
        *[f"- {name}{' (held out)' if name in card.held_out_files else ''}" for name in card.files],
        *_section("Found wrong with the files", card.faults),
    ]
    return "\n".join(lines) + "\n"


def _held_out(card: Card) -> list[str]:
    if not card.held_out_loss:
        return ["- nothing was held out: too few files to tell learning from memorising"]
    loss = card.held_out_loss
    return [
        f"- error on held-out files: {loss['before']:.4f} before, {loss['last']:.4f} after, "
        f"lowest {loss['best']:.4f} at step {loss['best_step']:.0f}"
    ]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *[f"- {line}" for line in lines]] if lines else []
