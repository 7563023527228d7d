"""Golden fixtures against this build: `sa3-daw conformance DIR`. Knows no daemon, no job and no plugin.

A folder holds families ``<name>.io.safetensors`` with, where a family has weights, ``<name>.weights.safetensors``
and ``<name>.config.json``, of any sizes. Every tensor of a fixture must be used by some case; what no case
knows is reported and fails the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from sa3_daw.conformance.cases import Case, Fixture
from sa3_daw.conformance.dit import dit_cases, number_conditioner_cases
from sa3_daw.conformance.generate import generate_cases
from sa3_daw.conformance.lora import lora_cases
from sa3_daw.conformance.same import same_cases
from sa3_daw.conformance.sampling import sampler_cases, schedule_cases
from sa3_daw.errors import invalid

Family = Callable[[Fixture], Iterator[Case]]

FAMILIES: tuple[tuple[str, Family], ...] = (
    ("same_", same_cases),
    ("dit_", dit_cases),
    ("number_conditioner", number_conditioner_cases),
    ("generate_", generate_cases),
    ("lora", lora_cases),
    ("schedules", schedule_cases),
    ("samplers", sampler_cases),
)
"""Families by the beginning of their file name."""


def check(fixture: Fixture) -> Iterator[Case]:
    """Yield every case of one fixture, then one unknown case for each tensor that nothing looked at."""
    for prefix, family in FAMILIES:
        if fixture.name.startswith(prefix):
            yield from family(fixture)
            break
    for key in fixture.untouched():
        yield Case.unknown(key)


@torch.inference_mode()
def main(directory: Path) -> int:
    """Run every fixture of a folder, print one line per case, and return the exit code.

    0: every case is within its tolerance. 1: one is not, or is unknown. Raises InvalidField without any fixture.
    """
    paths = sorted(directory.glob("*.io.safetensors"))
    if not paths:
        raise invalid("directory", str(directory), "a folder of fixtures, *.io.safetensors")
    counts = {"ok": 0, "noted": 0, "FAILED": 0, "UNKNOWN": 0}
    for path in paths:
        fixture = Fixture.open(path)
        for case in check(fixture):
            counts[case.verdict] += 1
            print(f"{case.verdict:8}{fixture.name}  {case.name}  {case.detail}")
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["FAILED"] or counts["UNKNOWN"] else 0
