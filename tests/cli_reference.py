"""docs/cli.md, written from the parser: `python -m tests.cli_reference`. Knows the parser's words, not their work.

argparse's own --help differs between Python versions, so the page is laid out here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sa3_daw.cli.parser import build_parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def reference() -> str:
    """Return the whole page."""
    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = [
        "# The command line",
        "",
        "Written by `python -m tests.cli_reference` from the code; a test compares them.",
    ]
    for name, command in commands.choices.items():
        lines += ["", f"## sa3-daw {name}", "", command.description or ""]
        rows = list(options(command))
        if rows:
            lines += ["", "| option | meaning |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def options(command: argparse.ArgumentParser) -> Iterator[str]:
    """Yield one table row per option, in the order they were added."""
    for action in command._actions:
        if "--help" not in action.option_strings:
            words = ", ".join(action.option_strings) or str(action.metavar)
            value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
            alone = any(action in group._group_actions for group in command._mutually_exclusive_groups)
            need = " (exactly one length)" if alone else " (needed)" if action.required else ""
            yield f"| `{words}{value}` | {action.help}{need} |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
