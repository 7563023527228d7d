"""Every error sa3-daw raises on purpose, each with its wire code. Knows no protocol bytes and no model.

Sa3Error
├─ RequestError            invalid_request       the caller mends it; never retried
│  ├─ InvalidField         invalid_field         field, value and what is allowed
│  ├─ Unsupported          unsupported           this model or machine has no such feature
│  ├─ LimitExceeded        limit_exceeded        too long, too many, too large
│  ├─ UnknownModel         unknown_model         the models that exist are listed
│  └─ ProtocolMismatch     protocol_mismatch     both versions are named
├─ ModelError              model_error           the operator mends it
│  ├─ CheckpointMissing    checkpoint_missing    the path looked at
│  └─ CheckpointMismatch   checkpoint_mismatch   missing, unexpected and misshapen keys, all of them
├─ EngineError             engine_error          one job failed, the daemon lives
│  ├─ OutOfMemory          out_of_memory
│  ├─ BadOutput            bad_output            non-finite, silent or noise: never delivered as audio
│  └─ EngineDead           engine_dead           the engine process ended; it is started again
└─ DaemonUnreachable       daemon_unreachable    no daemon answers; raised by clients only

Cancelled is an outcome, not an error. A test compares this tree, the classes and docs/protocol.md.
"""

from __future__ import annotations


class Sa3Error(Exception):
    """Base of the tree. ``field``, ``value`` and ``allowed`` travel on the wire beside the message."""

    code = "error"

    def __init__(self, message: str, *, field: str = "", value: str = "", allowed: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.allowed = allowed


class RequestError(Sa3Error):
    """The request cannot be carried out as it stands."""

    code = "invalid_request"


class InvalidField(RequestError):
    """One field has a value outside what is allowed."""

    code = "invalid_field"


class Unsupported(RequestError):
    """The chosen model or machine lacks the feature."""

    code = "unsupported"


class LimitExceeded(RequestError):
    """A length, size or count is above the limit that ``hello`` announces."""

    code = "limit_exceeded"


class UnknownModel(RequestError):
    """No model of that name is installed."""

    code = "unknown_model"


class ProtocolMismatch(RequestError):
    """Client and daemon speak different protocol versions."""

    code = "protocol_mismatch"


class ModelError(Sa3Error):
    """A model folder cannot be used."""

    code = "model_error"


class CheckpointMissing(ModelError):
    """A file of the model is not there."""

    code = "checkpoint_missing"


class CheckpointMismatch(ModelError):
    """Checkpoint keys or shapes differ from what the model's spec asks for."""

    code = "checkpoint_mismatch"


class EngineError(Sa3Error):
    """The engine could not finish one job."""

    code = "engine_error"


class OutOfMemory(EngineError):
    """The job needs more memory than the device has."""

    code = "out_of_memory"


class BadOutput(EngineError):
    """The result failed the output gate: not finite, silent, or noise."""

    code = "bad_output"


class EngineDead(EngineError):
    """The engine process ended while the job ran."""

    code = "engine_dead"


class DaemonUnreachable(Sa3Error):
    """No daemon answers, and none could be started."""

    code = "daemon_unreachable"


OUT_OF_MEMORY = ("not enough memory", "out of memory", "ALLOC_FAILED")
"""Of torch's allocators on the CPU and on a GPU, and of libraries that take GPU memory beside it."""


def invalid(field: str, value: object, allowed: str) -> InvalidField:
    """Return the InvalidField whose message names ``field``, the (shortened) ``value`` and ``allowed``."""
    shown = shorten(value)
    return InvalidField(f"{field} is {shown}; allowed: {allowed}", field=field, value=shown, allowed=allowed)


def shorten(value: object, limit: int = 80) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters, so that no error echoes a megabyte."""
    text = repr(value[: limit + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell want of memory by what torch says, also where it hides behind an error that it caused.

    What our own errors say may be a user's words.
    """
    while error is not None:
        if isinstance(error, MemoryError | OutOfMemory):
            return True
        if not isinstance(error, Sa3Error) and any(words in str(error) for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def _tree(root: type[Sa3Error]) -> dict[str, type[Sa3Error]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE = _tree(Sa3Error)


def from_wire(code: str, message: str, field: str, value: str, allowed: str) -> Sa3Error:
    """Rebuild the error a ``failed`` message carries; an unknown code becomes a plain Sa3Error."""
    return BY_CODE.get(code, Sa3Error)(message, field=field, value=value, allowed=allowed)
