"""The grammar of the command line. Knows the words and their types; what they do is looked up when they run."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from sa3_daw import __version__

Run = Callable[[argparse.Namespace], int]
NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(/\d{1,9})?")


class Parser(argparse.ArgumentParser):
    """Answers a wrong argument with one sentence instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(2)


def number(text: str) -> Fraction:
    """Read 4, 0.5 or 3/4 exactly."""
    if not NUMBER.fullmatch(text) or text.endswith("/0"):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number such as 4, 0.5 or 3/4")
    whole, _, divisor = text.partition("/")
    return Fraction(whole) / int(divisor or 1)


def whole_number(text: str) -> int:
    """Read an integer of at most 20 digits."""
    if not re.fullmatch(r"[+-]?\d{1,20}", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at most 20 digits")
    return int(text)


def later(module: str, function: str) -> Run:
    """Return a function that imports its module only when it is called: --help stays quick."""

    def run(arguments: argparse.Namespace) -> int:
        code: int = getattr(import_module(module), function)(arguments)
        return code

    return run


def build_parser() -> Parser:
    """Return the parser of `sa3-daw`; every command puts the function to call into ``run``."""
    parser = Parser(prog="sa3-daw", description="Generate audio of exactly the length that a place in a song has.")
    parser.add_argument("--version", action="version", version=f"sa3-daw {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_generate(commands)
    add_demo(commands)
    add_management(commands)
    return parser


def add_generate(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "generate",
        help="write a clip for a prompt and a musical range",
        description="Generate a clip and write it as float32 WAV, with its place on the timeline and its recipe. "
        "A daemon is started when none runs, and stays for the next request.",
    )
    command.set_defaults(run=later("sa3_daw.cli.generate", "run"))
    command.add_argument("--prompt", required=True, help="what to play, in words")
    command.add_argument("--negative-prompt", default="", metavar="TEXT", help="what to keep away from")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the WAV file to write")
    length = command.add_argument_group("length (exactly one)").add_mutually_exclusive_group(required=True)
    length.add_argument("--bars", type=number, metavar="N", help="bars of the metre; 0.5 and 3/4 work too")
    length.add_argument("--seconds", type=number, metavar="S", help="seconds, rounded once to samples")
    length.add_argument("--samples", type=whole_number, metavar="N", help="samples at --rate")
    timeline = command.add_argument_group("timeline")
    timeline.add_argument("--bpm", type=float, metavar="B", help="quarter notes per minute, any fraction (120)")
    timeline.add_argument("--meter", metavar="N/D", help="metre, for example 7/8 (4/4)")
    timeline.add_argument(
        "--tempo-map",
        type=Path,
        metavar="FILE",
        help="JSON list of points {position_ppq, bpm, numerator, denominator} instead of --bpm and --meter",
    )
    timeline.add_argument(
        "--start-bar", type=number, default=Fraction(1), metavar="N", help="bar the clip starts at, counted from 1 (1)"
    )
    timeline.add_argument("--rate", type=whole_number, default=44_100, metavar="HZ", help="sample rate (44100)")
    model = command.add_argument_group("model")
    model.add_argument("--model", default="nano", metavar="NAME", help="see `sa3-daw models` (nano)")
    model.add_argument("--seed", type=whole_number, metavar="N", help="same seed, same clip (random)")
    model.add_argument("--steps", type=whole_number, default=0, metavar="N", help="sampler steps (the model's own)")
    model.add_argument("--guidance", type=float, default=0.0, metavar="G", help="guidance scale (the model's own)")
    outcome = command.add_argument_group("outcome")
    outcome.add_argument("--json", action="store_true", help="print every event as one line of JSON")
    outcome.add_argument("--play", action="store_true", help="play the clip when it is written")


def add_demo(commands: argparse._SubParsersAction[Parser]) -> None:
    command = commands.add_parser(
        "demo",
        help="house drums and bass, four bars, with a picture",
        description="Generate four bars at 127.5 BPM with the embedded model; write demo.wav and demo.png. A daemon "
        "that the demo had to start is stopped again, unless --keep is given.",
    )
    command.set_defaults(run=later("sa3_daw.cli.demo", "run"))
    command.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help="where to write (here)")
    command.add_argument("--seed", type=whole_number, default=1, metavar="N", help="another seed, another take (1)")
    command.add_argument("--keep", action="store_true", help="leave the daemon running")
    command.add_argument("--play", action="store_true", help="play the clip when it is written")


def add_management(commands: argparse._SubParsersAction[Parser]) -> None:
    words = (
        ("serve", "run the daemon in the foreground"),
        ("status", "tell what the daemon does"),
        ("stop", "end the daemon"),
        ("models", "list the models that can be used"),
        ("conformance", "check this build against golden fixtures"),
    )
    for word, what in words:
        command = commands.add_parser(word, help=what, description=what[0].upper() + what[1:] + ".")
        command.set_defaults(run=later("sa3_daw.cli.manage", word))
        if word == "conformance":
            command.add_argument("directory", type=Path, metavar="DIR", help="folder of *.io.safetensors fixtures")
