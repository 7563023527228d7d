"""docs/cli.md, written from the parser: `python -m tests.cli_reference`. Knows the parser's words, not their work.

argparse's own --help differs between Python versions, so the page is laid out here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from sa3_daw.cli.job_words import SOURCE_RULES
from sa3_daw.cli.parser import build_parser
from sa3_daw.cli.words import EXIT_CODES

EDITS = ("inpaint", "continue", "restyle", "loop")
ALSO = "It has the [options of every edit](#options-of-every-edit), too."
PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def reference() -> str:
    """Return the whole page."""
    lines = [
        "# The command line",
        "",
        "Written by `python -m tests.cli_reference` from the code; a test compares them.",
        "",
        EXIT_CODES[0].upper() + EXIT_CODES[1:] + ".",
    ]
    commands = dict(commands_of(build_parser(), "sa3-daw"))
    edits = [list(options(commands[f"sa3-daw {word}"])) for word in EDITS]
    shared = [row for row in edits[0] if all(row in rows for rows in edits)]
    for name, command in commands.items():
        is_edit = name.split()[1] in EDITS
        description = (command.description or "").removesuffix(SOURCE_RULES).rstrip()
        lines += ["", f"{'#' * len(name.split())} {name}", "", f"{description} {ALSO}" if is_edit else description]
        lines += table([row for row in options(command) if not is_edit or row not in shared])
        if name.endswith(EDITS[-1]):
            lines += ["", "## Options of every edit", "", SOURCE_RULES, *table(shared)]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[str]) -> list[str]:
    return ["", "| option | meaning |", "|---|---|", *rows] if rows else []


def commands_of(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command below a parser with its whole name, each followed by its own words."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from commands_of(command, f"{name} {word}")


def options(command: argparse.ArgumentParser) -> Iterator[str]:
    """Yield one table row per option, in the order they were added."""
    for action in command._actions:
        if "--help" not in action.option_strings and not isinstance(action, argparse._SubParsersAction):
            words = ", ".join(action.option_strings) or str(action.metavar)
            value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
            groups = [group for group in command._mutually_exclusive_groups if action in group._group_actions]
            alone = any(group.required for group in groups)
            need = " (exactly one length)" if alone else " (needed)" if action.required else ""
            yield f"| `{words}{value}` | {(action.help or '').replace('%%', '%')}{need} |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
