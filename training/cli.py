"""``sa3-train``: builds nano from nothing, or measures a model folder. Parses, then calls one function."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sa3_training.corpus.sounds import sound_font
from sa3_training.evaluate_nano import evaluate
from sa3_training.nano import build_nano
from sa3_training.recipes import nano


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        if arguments.command == "nano":
            print(build_nano(nano(), sound_font(), arguments.out))
        else:
            font = sound_font() if arguments.corpus else None
            print(json.dumps(evaluate(arguments.model, arguments.seeds, font), indent=1))
    except (FileNotFoundError, ModuleNotFoundError) as error:
        print(f"sa3-train: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sa3-train", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every matrix product (default 1)")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("nano", help="compose the corpus, train the embedded model, export it")
    build.add_argument("--out", type=Path, required=True, help="work folder; a stopped run continues in it")
    measure = commands.add_parser("evaluate", help="measure a model folder and print JSON")
    measure.add_argument("model", type=Path)
    measure.add_argument("--seeds", type=int, default=50)
    measure.add_argument("--corpus", action="store_true", help="also measure codec and corpus (needs the sound font)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
