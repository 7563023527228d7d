"""The grammar of the commands that render projects, tables and logs. Knows words, not what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw.cli.words import add_command, later, number, whole_number

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands


def add_to(commands: Commands) -> None:
    add_project(commands)
    add_batch(commands)
    add_replay(commands)


def add_project(commands: Commands) -> None:
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


def add_batch(commands: Commands) -> None:
    command = add_command(
        commands,
        "batch",
        "make the files of a whole table of jobs",
        later("sa3_daw.cli.batch", "run"),
        "Make one file per job of a table into a folder, with a manifest and a report. The table is checked whole "
        "before anything runs. A run that was interrupted, even killed, goes on when it is started again.",
    )
    command.add_argument("jobs", type=Path, metavar="JOBS", help="a .csv or .jsonl file, see docs/render.md")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the files go")
    command.add_argument(
        "--in-flight", type=whole_number, metavar="N", help="jobs handed over at once (4; with --ray 2 for each engine)"
    )
    command.add_argument("--retries", type=whole_number, default=2, metavar="N", help="more attempts at a job (2)")
    command.add_argument("--keep-going", action="store_true", help="go on with the rest when a job has failed")
    command.add_argument(
        "--ray", default="", metavar="ADDRESS", help="make them with the engines of a Ray cluster, HOST:PORT or auto"
    )
    command.add_argument("--json", action="store_true", help="one line of JSON per file, and one at the end")


def add_replay(commands: Commands) -> None:
    command = add_command(
        commands,
        "replay",
        "make the jobs of a request log again and compare",
        later("sa3_daw.cli.replay", "run"),
        "Make every job of a daemon's request log again and say whether each take is bit-identical to the stored one. "
        "What is the same is not stored twice. Exit code 1 when a take differs or a job fails.",
    )
    command.add_argument("log", type=Path, metavar="LOG", help="a requests.jsonl, from log/ in the data folder")
    command.add_argument("--json", action="store_true", help="one line of JSON per take")
