"""The protocol's own version, apart from the package's. Knows nothing else."""

from __future__ import annotations

PROTOCOL_VERSION = 1
"""Goes up only when an old peer could misread a message; new kinds and fields do not raise it."""
