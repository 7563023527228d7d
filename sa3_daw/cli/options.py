"""Options that several commands share, one function per group. Knows the words and their types, not what they do."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from sa3_daw.cli.words import Parser, number, whole_number


def add_prompt(command: Parser, *, required: bool) -> None:
    kept = "" if required else " (the recipe's, if the file holds one)"
    command.add_argument("--prompt", required=required, help=f"what to play, in words{kept}")
    command.add_argument(
        "--negative-prompt", default="", metavar="TEXT", help="what to keep away from; needs guidance above 1"
    )


def add_input(command: Parser) -> None:
    command.add_argument(
        "input", metavar="IN", help="an audio file of any rate, mono or stereo; or take:ID, take:last for a stored take"
    )


def add_output(command: Parser, *, required: bool = True) -> None:
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        required=required,
        metavar="FILE",
        help="the WAV file to write; several variations become FILE-1.wav, FILE-2.wav, ...",
    )
    add_force(command)


def add_force(command: Parser) -> None:
    command.add_argument("-f", "--force", action="store_true", help="write over files that exist")


def add_length(command: Parser) -> None:
    length = command.add_argument_group("length (exactly one)").add_mutually_exclusive_group(required=True)
    length.add_argument("--bars", type=number, metavar="N", help="bars of the metre; 0.5 and 3/4 work too")
    length.add_argument("--seconds", type=number, metavar="S", help="seconds, rounded once to samples")
    length.add_argument("--samples", type=whole_number, metavar="N", help="samples at --rate")


def add_timeline(command: Parser, *, from_file: bool) -> None:
    """Add tempo, metre and rate; ``from_file`` when a source brings its own."""
    own = "the recipe's, else " if from_file else ""
    timeline = command.add_argument_group("timeline")
    timeline.add_argument("--bpm", type=float, metavar="B", help=f"quarter notes per minute, any fraction ({own}120)")
    timeline.add_argument("--meter", metavar="N/D", help=f"metre, for example 7/8 ({own}4/4)")
    timeline.add_argument(
        "--tempo-map",
        type=Path,
        metavar="FILE",
        help="JSON list of points {position_ppq, bpm, numerator, denominator} instead of --bpm and --meter",
    )
    if from_file:
        timeline.add_argument(
            "--rate",
            type=whole_number,
            metavar="HZ",
            help="sample rate; another than the file's resamples (its own)",
        )
    else:
        timeline.add_argument(
            "--start-bar",
            type=number,
            default=Fraction(1),
            metavar="N",
            help="bar the clip starts at, counted from 1 (1)",
        )
        timeline.add_argument("--rate", type=whole_number, default=44_100, metavar="HZ", help="sample rate (44100)")


def add_model(command: Parser, *, from_file: bool) -> None:
    model = command.add_argument_group("model")
    own = "the recipe's, else " if from_file else ""
    model.add_argument("--model", metavar="NAME", help=f"see `sa3-daw models` ({own}nano)")
    model.add_argument("--seed", type=whole_number, metavar="N", help="same seed, same clip (random)")
    model.add_argument("--steps", type=whole_number, default=0, metavar="N", help="sampler steps (the model's own)")
    model.add_argument("--sampler", default="", metavar="NAME", help="euler, rk4, dpmpp or pingpong (the model's own)")
    model.add_argument("--guidance", type=float, default=0.0, metavar="G", help="guidance scale (the model's own)")
    model.add_argument(
        "--apg",
        type=float,
        metavar="X",
        help="how much of the guidance stays orthogonal to the prediction, 0 to 1 (the model's own)",
    )
    model.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME[:STRENGTH]",
        help="use a LoRA adapter, see `sa3-daw lora`; may be given several times",
    )
    end = model.add_mutually_exclusive_group()
    end.add_argument(
        "--headroom",
        type=float,
        metavar="S",
        help="seconds made beyond the clip and cut away, so that it need not end (the model's own)",
    )
    end.add_argument("--ending", action="store_true", help="let the music end with the clip: no headroom")


def add_rolls(command: Parser, *, from_file: bool) -> None:
    takes = command.add_argument_group("takes")
    takes.add_argument("--variations", type=whole_number, default=1, metavar="N", help="takes, one seed each (1)")
    takes.add_argument(
        "--best-of", type=whole_number, default=1, metavar="N", help="rolls per take; the best on the beat is kept (1)"
    )
    takes.add_argument(
        "--draft", action="store_true", help="write a rough FILE.draft.wav at once; it goes when FILE is whole"
    )
    where = ", where nothing of the source is kept: restyle, or a region over all of it" if from_file else ""
    takes.add_argument(
        "--loudness", type=float, metavar="LUFS", help=f"bring each take to this loudness, such as -14{where}"
    )


def add_outcome(command: Parser) -> None:
    outcome = command.add_argument_group("outcome")
    outcome.add_argument("--json", action="store_true", help="print every event as one line of JSON")
    outcome.add_argument("--play", action="store_true", help="play what was written")


def add_queue(command: Parser) -> None:
    queue = command.add_argument_group("queue")
    queue.add_argument(
        "--priority",
        choices=("audible", "normal", "speculative"),
        default="normal",
        help="which waiting jobs run first: audible, normal, speculative (normal)",
    )
    queue.add_argument(
        "--durable", action="store_true", help="go on into the take store even if this command is killed"
    )


def add_making(command: Parser, *, from_file: bool) -> None:
    """Add everything that all job verbs share, in the order in which it is read."""
    add_timeline(command, from_file=from_file)
    add_model(command, from_file=from_file)
    add_rolls(command, from_file=from_file)
    add_queue(command)
    add_outcome(command)
