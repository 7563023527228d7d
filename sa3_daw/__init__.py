"""sa3-daw: audio generated into a DAW selection. Importing the package loads neither torch nor ZeroMQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sa3_daw.job import Job, TempoPoint

if TYPE_CHECKING:
    from sa3_daw.session import Session

__all__ = ["Job", "Session", "TempoPoint", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load Session, and with it numpy and ZeroMQ, when it is asked for."""
    if name == "Session":
        from sa3_daw.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
