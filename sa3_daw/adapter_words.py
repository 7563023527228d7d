"""An adapter's use in words, such as warmth:0.8 -> AdapterUse. Knows no file and no model."""

from __future__ import annotations

import re

from sa3_daw.errors import invalid
from sa3_daw.job import AdapterUse

ADAPTER = re.compile(
    r"(?P<name>[^:]+)(:(?P<strength>[+-]?\d{1,6}(\.\d{1,9})?))?"
    r"(:(?P<low>\d(\.\d{1,9})?)-(?P<high>\d(\.\d{1,9})?))?(:(?P<filter>[^:]+))?"
)
ADAPTER_WORDS = (
    "NAME[:STRENGTH[:MIN-MAX[:LAYERS]]], such as warmth, warmth:0.8, warmth:0.8:0.3-1, warmth:1:0-1:-cross_attn"
)


def adapter_use(text: str) -> AdapterUse:
    """Read the words for one adapter, as after --adapter. Raises InvalidField."""
    found = ADAPTER.fullmatch(text)
    if not found:
        raise invalid("adapter", text, ADAPTER_WORDS)
    low, high = float(found["low"] or 0), float(found["high"] or 1)
    return AdapterUse(found["name"], float(found["strength"] or 1), low, high, found["filter"] or "")
