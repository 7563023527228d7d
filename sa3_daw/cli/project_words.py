"""The grammar of `sa3-daw render`. Knows words, not what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw.cli.words import add_command, later, number

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands


def add_to(commands: Commands) -> None:
    command = add_command(
        commands,
        "render",
        "render a project: tracks, effects, mix and stems",
        later("sa3_daw.cli.render", "run"),
        "Render a project's mix and stems into a folder, with a report. What is there already stays, so only what has "
        "changed is made again, and a run that was interrupted, even killed, goes on when it is started again.",
    )
    command.add_argument("project", type=Path, metavar="PROJECT", help="a .toml file, see docs/render.md")
    command.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="where the files go (beside the project, by its name)"
    )
    command.add_argument("--plan", action="store_true", help="say what would be made, and make nothing")
    command.add_argument(
        "--keep-going", action="store_true", help="render everything that does not need what is wrong or fails"
    )
    command.add_argument(
        "--effect-seconds",
        type=number,
        default=number("600"),
        metavar="S",
        help="time limit for one chain of effects, after which it is killed (600)",
    )
    command.add_argument(
        "--ray", default="", metavar="ADDRESS", help="make clips with the engines of a Ray cluster, HOST:PORT or auto"
    )
    command.add_argument("--json", action="store_true", help="one line of JSON per thing that happens")
