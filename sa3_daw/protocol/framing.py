"""Messages <-> frames: kind | header | body | buffers. The only place that makes or reads frames; knows no socket.

Reading is tolerant, for peers that are trusted (a client's daemon, a daemon's engine): unknown fields are
dropped. What a daemon reads from clients goes through daemon/admission.py, which is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgpack

from sa3_daw.errors import ProtocolMismatch, RequestError
from sa3_daw.protocol.messages import KIND_OF, KINDS, Header, Message
from sa3_daw.protocol.version import PROTOCOL_VERSION


@dataclass(frozen=True)
class Received:
    """One decoded message with its header and raw buffer frames."""

    header: Header
    message: Message
    buffers: tuple[bytes, ...] = ()


def encode(
    message: Message, *, job: str = "", seq: int = 0, credit: int = 0, buffer: bytes | None = None
) -> list[bytes]:
    """Return the frames of a message. ``buffer`` is sent as it is; it must never change afterwards.

    Raises RequestError on what msgpack cannot carry (integers beyond 64 bits, texts with lone surrogates).
    """
    header: dict[str, Any] = {"v": PROTOCOL_VERSION, "job": job, "seq": seq}
    if credit:
        header["credit"] = credit
    kind = KIND_OF[type(message)]
    try:
        frames = [kind.encode("ascii"), msgpack.packb(header), msgpack.packb(asdict(message))]
    except (OverflowError, TypeError, ValueError) as error:
        raise RequestError(f"{kind} holds a value that cannot be sent: {error}", field=kind) from error
    return frames if buffer is None else [*frames, buffer]


def decode(frames: Sequence[bytes]) -> Received | None:
    """Read frames from a trusted peer; None when the kind is unknown (a newer peer's: to be ignored).

    Raises ProtocolMismatch on another version, RequestError on anything unreadable.
    """
    if len(frames) < 3:
        raise RequestError(f"a message has at least 3 frames (kind, header, body), this one {len(frames)}")
    message_type = KINDS.get(frames[0].decode("ascii", "replace"))
    if message_type is None:
        return None
    header = _convert(_unpack(frames[1], "header"), Header, "header")
    check_version(header.v)
    message = _convert(_unpack(frames[2], "body"), message_type, "body")
    return Received(header, message, tuple(frames[3:]))


def check_version(version: object) -> None:
    """Raise ProtocolMismatch, naming both versions, unless ``version`` is ours."""
    if version != PROTOCOL_VERSION:
        raise ProtocolMismatch(
            f"the other side speaks protocol version {version!r:.20}, this side version {PROTOCOL_VERSION}",
            field="v",
            value=f"{version!r:.20}",
            allowed=str(PROTOCOL_VERSION),
        )


def _unpack(frame: bytes, what: str) -> object:
    try:
        return msgpack.unpackb(frame)
    except (ValueError, msgpack.UnpackException) as error:
        raise RequestError(f"the {what} frame is not msgpack: {error}", field=what) from error


def _convert(value: object, wanted: Any, path: str) -> Any:
    """Turn plain msgpack data into ``wanted``: a dataclass, a tuple of one type, a union with None, or a scalar."""
    if is_dataclass(wanted):
        return _convert_map(value, wanted, path)
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        if not isinstance(value, list):
            raise RequestError(f"{path} is not a list", field=path)
        return tuple(_convert(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(value))
    if origin in (Union, UnionType):
        return None if value is None else _convert(value, arguments[0], path)
    plain = origin or wanted
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise RequestError(f"{path} is not {plain.__name__}", field=path)
    return value


def _convert_map(value: object, wanted: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise RequestError(f"{path} is not a map", field=path)
    hints = _hints(wanted)
    for field in fields(wanted):
        if field.name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise RequestError(f"{path} lacks {field.name}", field=f"{path}.{field.name}")
    known = {name: _convert(value[name], hint, f"{path}.{name}") for name, hint in hints.items() if name in value}
    return wanted(**known)


@cache
def _hints(wanted: type) -> dict[str, Any]:
    return get_type_hints(wanted)
