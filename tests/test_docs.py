"""What documents say about the code is what the code does."""

from __future__ import annotations

import argparse
import re
from argparse import _SubParsersAction as Verbs
from collections.abc import Iterator
from pathlib import Path

import pytest

from sa3_daw import errors
from sa3_daw.cli.parser import build_parser
from tests.cli_reference import PAGE, reference

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#:]+)\)")
FOLDERS = ("docs", "sa3_daw", "training", "bridge", "plugin_host_tests", "tests", "benchmarks", "examples")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md"] + [
    page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md") if "build" not in page.parts
]
SHOWN_COMMAND = re.compile(r"^sa3-daw ([a-z][^\n#]*)|`sa3-daw ([a-z][^`]*)`", re.MULTILINE)


def drawn_tree() -> list[tuple[int, str, str]]:
    """Return (depth, class, code) of every line of the tree in errors.py; the root has no code there."""
    rows = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)\s+(\w+)(?:\s{2,}|$)", line)
        if found and any(corner in found[1] for corner in "├└"):
            rows.append((len(found[1]) // 3, found[2], found[3]))
    return rows


def real_tree(root: type[errors.Sa3Error], depth: int = 1) -> Iterator[tuple[int, str, str]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield depth, child.__name__, child.code
            yield from real_tree(child, depth + 1)


def test_the_drawn_error_tree_is_the_real_one() -> None:
    assert drawn_tree() == list(real_tree(errors.Sa3Error))


def test_wire_codes_are_unique() -> None:
    codes = [code for _, _, code in real_tree(errors.Sa3Error)]
    assert len(codes) == len(set(codes))


def test_the_command_line_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m tests.cli_reference"


def test_the_commands_in_the_readme_are_understood() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^sa3-daw ((?:generate|inpaint|continue|restyle|loop) .+)$", readme, re.MULTILINE)
    assert len(shown) >= 8
    for line in shown:
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]
        build_parser().parse_args(words)


def parser_of(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the command that the words begin with, and the words after it."""
    parser = build_parser()
    while True:
        verbs = next((action.choices for action in parser._actions if isinstance(action, Verbs)), {})
        if not words or words[0] not in verbs:
            return parser, words
        parser, words = verbs[words[0]], words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_that_a_document_shows_exists(page: Path) -> None:
    for line, quoted in SHOWN_COMMAND.findall(page.read_text(encoding="utf-8")):
        words = re.findall(r"[\w-]+", line or quoted)
        parser, rest = parser_of(words)
        assert rest != words, f"no command: {line or quoted}"
        options = {word for word in rest if word.startswith("--") and len(word) > 2}
        assert options <= parser._option_string_actions.keys(), line or quoted


def test_links_between_documents_lead_somewhere() -> None:
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_decision_record_has_its_three_parts() -> None:
    for page in (ROOT / "docs" / "adr").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert re.match(rf"# {int(page.name[:4])}\. ", text), page.name
        assert all(f"**{part}.**" in text for part in ("Context", "Choice", "Cost")), page.name
