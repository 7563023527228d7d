"""Where torch keeps what it compiled, so that the next engine need not do it again. Knows no model and no torch."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from sa3_daw.config import DaemonConfig, set_variable

log = logging.getLogger(__name__)

LARGEST_BYTES = 1 << 30
"""Beyond it everything is compiled anew: torch never deletes, and each version of it leaves its own."""


def keep_what_is_compiled(config: DaemonConfig, largest_bytes: int = LARGEST_BYTES) -> None:
    """Point torch's compiler at a folder of bounded size in the data folder; before the first model is compiled."""
    if not config.compile:
        return
    folder = config.data_dir / "cache" / "compiled"
    if _num_bytes(folder) > largest_bytes:
        log.info("compiled code in %s is deleted: it grew beyond %d bytes", folder, largest_bytes)
        shutil.rmtree(folder, ignore_errors=True)
    set_variable("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _num_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # another engine compiles at this moment
            total += path.stat().st_size
    return total
