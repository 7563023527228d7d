"""The words a command line is read with: one-sentence refusals, exact numbers, work imported late. Knows no command."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

Run = Callable[[argparse.Namespace], int]
NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?(/\d{1,9})?")

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130
EXIT_CODES = f"exit codes: 0 done, {FAILURE} something failed, {BAD_INPUT} bad input, {INTERRUPTED} after Ctrl-C"


class Parser(argparse.ArgumentParser):
    """Answers a wrong argument with one sentence instead of the whole usage."""

    def format_help(self) -> str:
        """Return the help with a usage line of what is needed, instead of every option."""
        needed = [f"{action.option_strings[-1]} {value_of(action)}" for action in self._actions if is_needed(action)]
        places = [value_of(action) for action in self._actions if not action.option_strings]
        self.usage = " ".join(["%(prog)s", *places, *needed, "[options]"])
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is left over here, where the command's own options are known, and name the nearest."""
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            near = difflib.get_close_matches(rest[0].partition("=")[0], self._option_string_actions, n=1, cutoff=0.7)
            self.error(f"no argument {rest[0]}" + (f"; did you mean {near[0]}?" if near else ""))
        return known, rest

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(BAD_INPUT)


def is_needed(action: argparse.Action) -> bool:
    return action.required and bool(action.option_strings)


def value_of(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper()) + (" ..." if action.nargs in ("+", argparse.PARSER) else "")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]


def add_command(commands: Commands, word: str, what: str, run: Run, description: str = "") -> Parser:
    """Add a command: ``what`` is its line in the list, ``description`` the first words of its own page."""
    command = commands.add_parser(word, help=what, description=description or what[0].upper() + what[1:] + ".")
    command.set_defaults(run=run)
    return command


def later(module: str, function: str) -> Run:
    """Return a function that imports its module only when it is called: --help stays quick."""

    def run(arguments: argparse.Namespace) -> int:
        code: int = getattr(import_module(module), function)(arguments)
        return code

    return run


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
