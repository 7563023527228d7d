"""docs/protocol.md against the code, both ways: version, kinds, fields, types, defaults, errors, limits, example."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sa3_daw.config import load_config
from sa3_daw.daemon.limits import limits
from sa3_daw.errors import BY_CODE
from sa3_daw.job import AdapterUse, Region, Source, TempoPoint
from sa3_daw.protocol import messages as msg
from sa3_daw.protocol.endpoints import Connection
from sa3_daw.protocol.framing import decode, encode
from sa3_daw.protocol.version import PROTOCOL_VERSION
from sa3_daw.take import BeatReport, KeyReport, TakeMade

DOC = (Path(__file__).resolve().parent.parent / "docs" / "protocol.md").read_text("utf-8")
PARTS = (
    msg.Header, TempoPoint, Source, Region, AdapterUse, TakeMade, BeatReport, KeyReport, msg.TakeInfo, msg.ModelInfo,
    msg.AdapterInfo, msg.Limits, msg.EngineStatus, msg.ResidentModel, msg.JobStatus, msg.StoreStatus, msg.StageTimes,
    msg.JobEnd,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    name: str
    type: str
    default: str


def sections() -> dict[str, str]:
    """Return the text under each heading, by heading."""
    found = re.split(r"^#{2,3} (.+)$", DOC, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def cells(text: str) -> list[list[str]]:
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def documented(heading: str) -> list[Row]:
    return [Row(row[0].strip("`"), row[1], row[2]) for row in cells(sections()[heading])]


def words(hint: Any) -> str:
    """Write a type the way the page does."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        return f"[{words(arguments[0])}]"
    if get_origin(hint) is dict:
        return "{" + f"{words(arguments[0])}: {words(arguments[1])}" + "}"
    if get_origin(hint) is UnionType:
        return f"{words(arguments[0])} or nil"
    return str(hint.__name__)


def default_words(field: Any) -> str:
    if field.default_factory is not MISSING:
        return "{}"
    if field.default is MISSING:
        return ""
    if isinstance(field.default, str):
        return f'"{field.default}"'
    return {"None": "nil", "()": "[]", "True": "true", "False": "false"}.get(str(field.default), str(field.default))


def coded(message: Any) -> list[Row]:
    hints = get_type_hints(message)
    return [Row(field.name, words(hints[field.name]), default_words(field)) for field in fields(message)]


def test_the_version_is_the_codes() -> None:
    assert re.findall(r"Protocol version: \*\*(\d+)\*\*", DOC) == [str(PROTOCOL_VERSION)]


def test_every_kind_and_part_has_its_fields_types_and_defaults() -> None:
    for name, message in {**msg.KINDS, **{part.__name__: part for part in PARTS}}.items():
        assert documented(name) == coded(message), name


def test_the_page_describes_no_kind_that_does_not_exist() -> None:
    third_level = set(re.findall(r"^### (.+)$", DOC, flags=re.MULTILINE))
    assert third_level == {*msg.KINDS, *(part.__name__ for part in PARTS)}


def test_requests_replies_and_engine_kinds_stand_in_their_chapters() -> None:
    for chapter, kinds in (
        ("Client to daemon", msg.REQUESTS),
        ("Daemon to client", msg.REPLIES),
        ("The engine link", msg.ENGINE_ONLY),
    ):
        text = re.split(r"^## ", DOC.partition(f"\n## {chapter}\n")[2], flags=re.MULTILINE)[0]
        assert re.findall(r"^### (.+)$", text, flags=re.MULTILINE) == list(kinds)


def test_the_connection_file_is_described() -> None:
    rows = cells(sections()["Finding and reaching a daemon"])
    hints = get_type_hints(Connection)
    assert [(row[0].strip("`"), row[1]) for row in rows] == [(name, words(hint)) for name, hint in hints.items()]


def test_every_error_code_is_listed_once() -> None:
    assert sorted(row[0].strip("`") for row in cells(sections()["Errors"])) == sorted(BY_CODE)


def test_limits_are_the_enforced_ones(tmp_path: Path) -> None:
    enforced = limits(load_config({"runtime_dir": tmp_path}, {}))
    for row in cells(sections()["Limits"]):
        value = getattr(enforced, row[0].strip("`"))
        numbers = [float(number) for number in re.findall(r"(?<![-\w])\d+", row[3])]
        assert numbers == [*value] if isinstance(value, tuple) else value in numbers, row


def test_the_worked_examples_are_byte_exact() -> None:
    blocks = re.findall(r"```\n((?:[ 0-9a-f]{2} .*\n)+)```", DOC)
    frames = [[bytes.fromhex(line) for line in hex_lines(block)] for block in blocks]
    cancel, audio = frames
    assert cancel == encode(msg.Cancel(), job="a1", seq=3)
    assert audio == encode(msg.Audio(4096, 2, 2), job="a1", seq=7, buffer=audio[3])
    assert decode(audio) is not None


def hex_lines(block: str) -> list[str]:
    """Return one text of hex digits per frame; indented lines go on with the frame before."""
    found: list[str] = []
    for line in block.splitlines():
        digits = re.match(r"(?:[ ]*[0-9a-f]{2}(?= ))+", line)
        assert digits, line
        if line.startswith(" "):
            found[-1] += digits[0]
        else:
            found.append(digits[0])
    return found
