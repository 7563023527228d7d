"""How log lines look: time, level, module, the job they are about, text. Knows no daemon.

``log.info(text, extra=about(job_id))`` names the job; ``grep job=ID`` then shows its life.
"""

from __future__ import annotations

import logging
import sys
from time import gmtime

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s%(job)s %(message)s"


def about(job_id: str) -> dict[str, str]:
    """Return what names a log line's job."""
    return {"job": f" job={job_id}"}


def set_up_logging(level: str) -> None:
    """Write log lines of at least that level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(FORMAT, "%Y-%m-%dT%H:%M:%S", defaults={"job": ""})
    formatter.converter = gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler])
