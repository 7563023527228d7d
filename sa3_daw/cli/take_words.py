"""The grammar of `sa3-daw takes`. Knows words, not what they do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sa3_daw.cli import options
from sa3_daw.cli.words import Parser, add_command, later, whole_number

if TYPE_CHECKING:
    from sa3_daw.cli.words import Commands


def add_to(commands: Commands) -> None:
    takes = add_command(
        commands,
        "takes",
        "what was made: list, search, star, tag, export, make again",
        later("sa3_daw.cli.takes", "list_takes"),
        "Every take is stored with its recipe when it is made. ID is a take's id, or `last`. Without a word, list.",
    )
    takes.set_defaults(tag="", starred=False, limit=20, before="", json=False)
    words = takes.add_subparsers(metavar="WHAT", parser_class=Parser)
    add_listing(words)
    show = add_take(words, "show", "tell all about a take")
    show.add_argument("id", metavar="ID", help="a take's id, or last")
    get = add_take(words, "get", "print a take and its recipe as JSON")
    get.add_argument("id", metavar="ID", help="a take's id, or last")
    for word, what in (
        ("star", "star takes: they are never collected as garbage"),
        ("unstar", "take stars away"),
        ("delete", "delete takes, starred or not"),
    ):
        add_take(words, word, what).add_argument("ids", nargs="+", metavar="ID", help="takes' ids, or last")
    for word, what in (("tag", "tag a take"), ("untag", "take tags away")):
        tag = add_take(words, word, what)
        tag.add_argument("id", metavar="ID", help="a take's id, or last")
        tag.add_argument("tags", nargs="+", metavar="TAG", help="words of your own")
    export = add_take(words, "export", "write takes as WAV, each with its place and recipe")
    export.add_argument("ids", nargs="+", metavar="ID", help="takes' ids, or last")
    export.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file, or a folder for several (take-ID.wav, here)"
    )
    options.add_force(export)
    collect = add_take(words, "gc", "delete the oldest takes without a star, beyond a budget")
    collect.add_argument("--budget-mb", type=whole_number, metavar="N", help="what may stay (as configured)")
    add_rerender(words)


def add_listing(words: Commands) -> None:
    for word, what in (("list", "list takes, newest first"), ("search", "list takes whose prompt holds a text")):
        listing = add_take(words, word, what)
        if word == "search":
            listing.add_argument("text", metavar="TEXT", help="part of the prompt")
        listing.add_argument("--tag", default="", metavar="TAG", help="only takes with this tag")
        listing.add_argument("--starred", action="store_true", help="only takes with a star")
        listing.add_argument("--limit", type=whole_number, default=20, metavar="N", help="how many (20)")
        listing.add_argument("--before", default="", metavar="ID", help="older than this take")
        listing.add_argument("--json", action="store_true", help="one line of JSON per take")


def add_rerender(words: Commands) -> None:
    rerender = add_take(words, "rerender", "make a take again from its recipe and say whether it is bit-identical")
    rerender.add_argument("id", metavar="ID", help="a take's id, or last")
    options.add_output(rerender, required=False)
    options.add_outcome(rerender)


def add_take(words: Commands, word: str, what: str) -> Parser:
    return add_command(
        words, word, what, later("sa3_daw.cli.takes", {"list": "list_takes", "gc": "collect"}.get(word, word))
    )
