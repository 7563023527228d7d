"""The grammar of the job verbs: generate, inpaint, continue, restyle, loop. Knows words, not what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sa3_daw.cli import options
from sa3_daw.cli.words import add_command, later

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands, Parser

SOURCE_RULES = (
    "The file is read at its own rate (or resampled to --rate, which is then said); mono is doubled. Place, prompt, "
    "model and tempo map are taken from the recipe in the file, when it holds one and no option says otherwise."
)


def add_to(commands: Commands) -> None:
    add_generate(commands)
    add_inpaint(commands)
    add_continue(commands)
    add_restyle(commands)
    add_loop(commands)


def add_generate(commands: Commands) -> None:
    command = add_command(
        commands,
        "generate",
        "write a clip for a prompt and a musical range",
        later("sa3_daw.cli.verbs", "generate"),
        "Generate a clip and write it as float32 WAV, with its place on the timeline and its recipe. "
        "A daemon is started when none runs, and stays for the next request.",
    )
    options.add_prompt(command, required=True)
    options.add_output(command)
    command.add_argument("--loop", action="store_true", help="let the clip's end run on into its start")
    command.add_argument("--warp", action="store_true", help="allow a stretch of up to 2 %% onto the tempo, and say it")
    options.add_length(command)
    options.add_making(command, from_file=False)


def add_inpaint(commands: Commands) -> None:
    command = add_edit(
        commands,
        "inpaint",
        "make regions of a clip anew",
        "Make regions of a clip anew and leave every sample outside them bit-identical, which is checked.",
    )
    command.add_argument(
        "--region",
        action="append",
        required=True,
        metavar="A:B",
        help="half-open range from the clip's start, in samples, or with s, beats or bars behind the numbers "
        "(0.5s:2s, 1:2bars, 4bars: to the end); may be given several times",
    )
    options.add_making(command, from_file=True)


def add_continue(commands: Commands) -> None:
    command = add_edit(
        commands,
        "continue",
        "let a clip run on, or lead into it",
        "Let a clip run on for a length, or lead into it; the output holds the clip, bit-identical, and the new part.",
    )
    command.add_argument("--before", action="store_true", help="put the new part in front")
    options.add_length(command)
    options.add_making(command, from_file=True)


def add_restyle(commands: Commands) -> None:
    command = add_edit(
        commands, "restyle", "play a clip differently", "Make a whole clip anew, starting from what it is now."
    )
    command.add_argument(
        "--noise-level",
        type=float,
        required=True,
        metavar="X",
        help="how far to go, above 0 and up to 1: the lower, the closer to the clip",
    )
    options.add_making(command, from_file=True)


def add_loop(commands: Commands) -> None:
    command = add_edit(
        commands,
        "loop",
        "make a clip repeat without a seam",
        "Make the samples around a clip's end and start anew, so that it repeats without a seam; the rest stays.",
    )
    options.add_making(command, from_file=True)


def add_edit(commands: Commands, word: str, what: str, description: str) -> Parser:
    run = later("sa3_daw.cli.verbs", word if word != "continue" else "continue_clip")
    command = add_command(commands, word, what, run, f"{description} {SOURCE_RULES}")
    options.add_input(command)
    options.add_prompt(command, required=False)
    options.add_output(command)
    return command
