"""``sa3-train``: style packs, every stage of the models' training, evaluation. Parses, then calls one function.

Several GPUs or machines: ``torchrun --nproc-per-node 4 --no-python sa3-train lora ...``.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sa3_daw.errors import Sa3Error
from sa3_training.corpus.sounds import Renderer, sound_font
from sa3_training.data.describe import write_captions
from sa3_training.data.folder import scan
from sa3_training.evaluation.curves import write_curves
from sa3_training.evaluation.report import ReportRecipe, write_report
from sa3_training.lora.adapt import ALL_KINDS, AdapterRecipe
from sa3_training.lora.train import PackRecipe, train_pack
from sa3_training.nano import build_nano
from sa3_training.rebuild import StageRun, distil, post_train, train_dit, train_same
from sa3_training.recipes import nano, nano_on_gpu
from sa3_training.rehearsal import rehearsal
from sa3_training.shared_work import num_cores
from sa3_training.world import World, join_world, leave_world

INTERRUPTED = 130
FULL = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    world = None
    try:
        world = join_world(arguments.device, spreads_weights=getattr(arguments, "spread_weights", False))
        _run(arguments, world)
    except (Sa3Error, FileNotFoundError, ModuleNotFoundError) as error:
        print(f"sa3-train: {error}", file=sys.stderr)
        return 1
    except torch.OutOfMemoryError as error:
        print(f"sa3-train: the GPU's memory does not suffice; --batch-size or --crop-seconds: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"sa3-train: the disk is full ({error}); make room, and the same command goes on", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"sa3-train: {str(error) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    finally:
        if world:
            leave_world(world)
    return 0


def _run(arguments: argparse.Namespace, world: World) -> None:
    tell = print if world.is_first else _nothing
    match arguments.command:
        case "lora":
            tell(train_pack(_pack_recipe(arguments), world))
        case "captions":
            found = scan(arguments.data)
            for path in write_captions(found.sources, arguments.data):
                print(f"{path}: {path.read_text('utf-8').strip()}")
            for fault in found.faults:
                if fault.left_out:
                    print(fault, file=sys.stderr)
        case "nano":
            on_gpu = arguments.recipe == "gpu" or (arguments.recipe == "auto" and world.device.type == "cuda")
            recipe = nano_on_gpu() if on_gpu else nano()
            recipe = rehearsal(recipe) if arguments.rehearse else recipe
            processes = arguments.processes or num_cores()
            tell(build_nano(recipe, Renderer(sound_font()), arguments.out, world, processes))
        case "evaluate":
            tell(write_report(_report_recipe(arguments), _say))
        case "curves":
            tell(write_curves(arguments.folder, arguments.out))
        case stage:
            run = {"same": train_same, "dit": train_dit, "distill": distil, "post": post_train}[stage]
            tell(run(_stage_run(arguments), world))


def _nothing(path: Path) -> None:
    """Say nothing: only the first process does."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pack_recipe(arguments: argparse.Namespace) -> PackRecipe:
    return PackRecipe(
        data=arguments.data,
        out=arguments.out or Path("packs") / arguments.name,
        name=arguments.name,
        model=arguments.model,
        trigger=arguments.name if arguments.trigger is None else arguments.trigger,
        licence=arguments.licence,
        author=arguments.author,
        adapter=AdapterRecipe(
            arguments.kind, arguments.rank, arguments.alpha, tuple(arguments.include), tuple(arguments.exclude)
        ),
        num_steps=arguments.steps,
        minutes=arguments.minutes,
        batch_size=arguments.batch_size,
        crop_seconds=arguments.crop_seconds,
        learning_rate=arguments.learning_rate,
        num_parts=arguments.parts,
        seed=arguments.seed,
        preview_every=arguments.preview_every,
        prompts=tuple(arguments.prompt),
        tensorboard=arguments.tensorboard,
    )


def _stage_run(arguments: argparse.Namespace) -> StageRun:
    return StageRun(
        data=arguments.data,
        out=arguments.out,
        model=arguments.model,
        other=getattr(arguments, "other", None) or "",
        fresh=getattr(arguments, "fresh", False),
        align=getattr(arguments, "align", 0.0),
        num_steps=arguments.steps,
        minutes=arguments.minutes,
        batch_size=arguments.batch_size,
        crop_seconds=arguments.crop_seconds,
        num_parts=arguments.parts,
        seed=arguments.seed,
        tensorboard=arguments.tensorboard,
    )


def _report_recipe(arguments: argparse.Namespace) -> ReportRecipe:
    return ReportRecipe(
        model=arguments.model,
        out=arguments.out,
        data=arguments.data,
        adapter=arguments.adapter,
        num_seeds=arguments.seeds,
        sound_font=sound_font() if arguments.corpus else None,
        against=arguments.against,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sa3-train", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every matrix product (default 1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    commands = parser.add_subparsers(dest="command", required=True)
    lora = commands.add_parser("lora", help="train a style pack on a folder of audio")
    _add_pack(lora)
    captions = commands.add_parser("captions", help="write a .txt beside every file that has none, to be edited")
    captions.add_argument("--data", type=Path, required=True)
    build = commands.add_parser("nano", help="compose the corpus, train the embedded model, keep the best")
    build.add_argument("--out", type=Path, required=True, help="work folder; a stopped run continues in it")
    build.add_argument("--recipe", default="auto", choices=("auto", "cpu", "gpu"), help="auto: what suits the device")
    build.add_argument(
        "--processes", type=int, default=0, help="that render the corpus and measure candidates (default: every core)"
    )
    build.add_argument(
        "--rehearse", action="store_true", help="every stage at a tiny size, to see that all is there; makes no music"
    )
    same = commands.add_parser("same", help="train an autoencoder, or teach one a larger one's latents")
    _add_stage(same, "the model whose autoencoder is trained")
    same.add_argument("--teacher", dest="other", help="model whose autoencoder is taught (smaller from larger)")
    same.add_argument("--fresh", action="store_true", help="start from random weights")
    dit = commands.add_parser("dit", help="train a diffusion transformer by flow matching")
    _add_stage(dit, "the model whose transformer is trained; its autoencoder and text encoder are used as they are")
    dit.add_argument("--same", dest="other", help="folder written by 'sa3-train same' to take the autoencoder from")
    dit.add_argument("--fresh", action="store_true", help="start from random weights")
    distill = commands.add_parser("distill", help="teach a model to need few steps and no guidance")
    _add_stage(distill, "the base model: teacher, and where the student starts")
    post = commands.add_parser("post", help="post-train a distilled model against a discriminator")
    _add_stage(post, "the base model, which the discriminator starts from")
    post.add_argument("--student", dest="other", required=True, help="model folder written by 'sa3-train distill'")
    post.add_argument(
        "--align", type=float, default=0.0, help="weight of a small CLAP, trained first on the data (default 0: none)"
    )
    measure = commands.add_parser(
        "evaluate", help="measure a model and write one HTML page (numbers beside it as JSON)"
    )
    measure.add_argument("model", help="an installed model's name or a model folder")
    measure.add_argument("--out", type=Path, default=Path("report.html"))
    measure.add_argument("--data", type=Path, help="folder of audio to reconstruct and to compare with")
    measure.add_argument("--adapter", type=Path, help="style pack to measure the model with")
    measure.add_argument("--against", default="", help="a second model, shown side by side with the first")
    measure.add_argument("--seeds", type=int, default=8, help="clips per prompt (default 8)")
    measure.add_argument("--corpus", action="store_true", help="measure nano's corpus too (needs the sound font)")
    curves = commands.add_parser("curves", help="draw every number that a run's stages logged on one HTML page")
    curves.add_argument("folder", type=Path, help="work folder of the run")
    curves.add_argument("--out", type=Path, default=Path("curves.html"))
    return parser


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="the pack's name, and its trigger word unless --trigger is given")
    parser.add_argument("--trigger", help="word that calls the style; empty for none")
    parser.add_argument("--kind", default="dora-rows", choices=ALL_KINDS, help="adapter kind (default dora-rows)")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument(
        "--alpha", type=float, default=0.0, help="strength of the adapter's numbers (default: the rank)"
    )
    parser.add_argument("--include", action="append", default=[], help="part of module paths to adapt; repeatable")
    parser.add_argument(
        "--exclude", action="append", default=[], help="part of module paths to leave alone; repeatable"
    )
    parser.add_argument("--learning-rate", type=float, default=0.0)
    parser.add_argument("--licence", default=PackRecipe.licence, help="licence of the audio, for the pack's card")
    parser.add_argument("--author", default="")
    parser.add_argument("--preview-every", type=int, default=100, help="steps between preview clips; 0 for none")
    parser.add_argument("--prompt", action="append", default=[], help="prompt to preview; repeatable")
    _add_run(parser, "an installed model's name or a model folder", "nano", out_required=False)


def _add_stage(parser: argparse.ArgumentParser, model_help: str) -> None:
    _add_run(parser, model_help, "nano", out_required=True)
    parser.add_argument(
        "--spread-weights", action="store_true", help="divide the model among the processes (FSDP2), not copy it"
    )


def _add_run(parser: argparse.ArgumentParser, model_help: str, model: str, *, out_required: bool) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of audio with .txt captions, or of tar shards")
    parser.add_argument("--out", type=Path, required=out_required, help="work folder; a stopped run continues in it")
    parser.add_argument("--model", default=model, help=f"{model_help} (default {model})")
    parser.add_argument("--steps", type=int, default=0, help="0: what suits the model")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="stop after this time at the latest; 0: by steps alone"
    )
    parser.add_argument("--batch-size", type=int, default=0, help="0: what suits the model")
    parser.add_argument("--crop-seconds", type=float, default=0.0, help="0: what suits the model")
    parser.add_argument("--parts", type=int, default=1, help="micro-batches a step; processes share them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tensorboard", action="store_true")


if __name__ == "__main__":
    sys.exit(main())
