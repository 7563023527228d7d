"""The grammar of `sa3-daw`: its commands, and the words of those around the daemon. Knows words, not their work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw import __version__
from sa3_daw.cli import job_words, lora, models, render_words, take_words
from sa3_daw.cli.words import EXIT_CODES, Parser, add_command, later, number, whole_number

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands


def build_parser() -> Parser:
    """Return the parser of `sa3-daw`; every command puts the function to call into ``run``."""
    parser = Parser(
        prog="sa3-daw",
        description="Generate audio of exactly the length that a place in a song has.",
        epilog=f"`sa3-daw COMMAND --help` tells the options of a command; {EXIT_CODES}.",
    )
    parser.add_argument("--version", action="version", version=f"sa3-daw {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    add_demo(commands)
    job_words.add_to(commands)
    render_words.add_to(commands)
    take_words.add_to(commands)
    models.add_to(commands)
    lora.add_to(commands)
    add_daemon(commands)
    add_checks(commands)
    return parser


def add_demo(commands: Commands) -> None:
    command = add_command(
        commands,
        "demo",
        "house drums and bass, four bars, with a picture",
        later("sa3_daw.cli.demo", "run"),
        "Generate four bars at 127.5 BPM with the embedded model; write demo.wav and demo.png, over earlier "
        "ones. A daemon that the demo had to start is stopped again, unless --keep is given.",
    )
    command.add_argument("--directory", type=Path, default=Path(), metavar="DIR", help="where to write (here)")
    command.add_argument("--seed", type=whole_number, default=1, metavar="N", help="another seed, another take (1)")
    command.add_argument("--keep", action="store_true", help="leave the daemon running")
    command.add_argument("--play", action="store_true", help="play the clip when it is written")


def add_daemon(commands: Commands) -> None:
    """Add the commands that start, watch and end the daemon."""
    add_command(commands, "serve", "run the daemon in the foreground", later("sa3_daw.cli.manage", "serve"))
    status = add_command(commands, "status", "tell what the daemon does", later("sa3_daw.cli.overview", "status"))
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as one line of JSON")
    form.add_argument("--prometheus", action="store_true", help="as metrics in Prometheus' text format")
    monitor = add_command(
        commands,
        "monitor",
        "watch engine, memory, queue and takes until Ctrl-C",
        later("sa3_daw.cli.overview", "monitor"),
    )
    monitor.add_argument(
        "--interval", type=number, default=number("0.5"), metavar="S", help="seconds between two looks (0.5)"
    )
    add_command(commands, "stop", "end the daemon", later("sa3_daw.cli.manage", "stop"))


def add_checks(commands: Commands) -> None:
    """Add the commands that judge this installation."""
    doctor = add_command(
        commands,
        "doctor",
        "find what is wrong here and how to mend it",
        later("sa3_daw.cli.doctor", "run"),
        "Look at packages, device, sound, folders, disk, models and the daemon, and say how to mend what is wrong. "
        "Exit code 1 when something is broken, 0 when all is well or only worth knowing.",
    )
    doctor.add_argument("--json", action="store_true", help="one line of JSON per finding")
    bench = add_command(
        commands,
        "bench",
        "measure the time to the first audible chunk",
        later("sa3_daw.cli.bench", "run"),
        "Measure, with a warm daemon of its own, the time from a request to its first audible chunk, to its draft and "
        "to its end, and from a cancel to its effects; every run is another prompt and seed.",
    )
    bench.add_argument("--model", default="nano", metavar="NAME", help="see `sa3-daw models` (nano)")
    bench.add_argument("--seconds", type=number, default=number("10"), metavar="S", help="length of the clip (10)")
    bench.add_argument("--runs", type=whole_number, default=20, metavar="N", help="runs of each kind (20)")
    bench.add_argument("--threads", type=whole_number, default=2, metavar="N", help="threads of the engine (2)")
    bench.add_argument("--json", action="store_true", help="the figures as one line of JSON")
    conformance = add_command(
        commands,
        "conformance",
        "check this build against golden fixtures",
        later("sa3_daw.cli.manage", "conformance"),
    )
    conformance.add_argument("directory", type=Path, metavar="DIR", help="folder of *.io.safetensors fixtures")
