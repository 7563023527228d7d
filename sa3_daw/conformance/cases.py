"""A fixture on disk and one comparison of it. Knows no model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

TOLERANCE = 1e-4
"""Largest absolute error over the largest expected magnitude, float32. An independent build reached 1e-5
or better everywhere (SPEC 10); ours measures below 3e-6."""


@dataclass(frozen=True)
class Case:
    """One line of the report."""

    name: str
    verdict: str
    detail: str

    @classmethod
    def compare(cls, name: str, actual: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> Case:
        """Judge ``actual`` by its largest error relative to the largest expected magnitude."""
        if actual.shape != expected.shape:
            return cls(name, "FAILED", f"shape {list(actual.shape)}, expected {list(expected.shape)}")
        actual, expected = actual.double().cpu(), expected.double().cpu()
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        error = float((actual - expected).abs().max()) if expected.numel() else 0.0
        error = error / scale if scale > 0 else error
        verdict = "ok" if error <= tolerance else "FAILED"
        return cls(name, verdict, f"error {error:.1e}  tolerance {tolerance:.0e}")

    @classmethod
    def noted(cls, name: str, reason: str) -> Case:
        """Name a fixture that records a defect of the original which we do not copy."""
        return cls(name, "noted", reason)

    @classmethod
    def unknown(cls, name: str) -> Case:
        """Name a tensor that no case uses."""
        return cls(name, "UNKNOWN", "no case knows this tensor")


def _metadata(path: Path) -> dict[str, dict[str, Any]]:
    """Return the arguments that a fixture file records per case, as JSON in its header."""
    with safe_open(path, "pt") as file:
        header: dict[str, str] = file.metadata() or {}
    return {case: json.loads(arguments) for case, arguments in header.items() if arguments.startswith("{")}


class Fixture:
    """The inputs and outputs of one family; remembers which tensors were looked at."""

    def __init__(
        self,
        name: str,
        config: dict[str, Any],
        weights: dict[str, Tensor],
        io: dict[str, Tensor],
        metadata: dict[str, dict[str, Any]],
        folder: Path,
    ) -> None:
        self.name = name
        self.folder = folder
        self.config = config
        self.weights = weights
        self.metadata = metadata
        self._io = io
        self._touched: set[str] = set()

    @classmethod
    def open(cls, path: Path) -> Fixture:
        """Open ``<name>.io.safetensors`` with the weights and config beside it, where they exist."""
        name = path.name.removesuffix(".io.safetensors")
        config_path = path.with_name(f"{name}.config.json")
        weights_path = path.with_name(f"{name}.weights.safetensors")
        return cls(
            name,
            json.loads(config_path.read_text("utf-8")) if config_path.exists() else {},
            load_file(weights_path) if weights_path.exists() else {},
            load_file(path),
            _metadata(path),
            path.parent,
        )

    def __getitem__(self, key: str) -> Tensor:
        self._touched.add(key)
        return self._io[key]

    def __contains__(self, key: str) -> bool:
        return key in self._io

    def keys(self, prefix: str = "", suffix: str = "") -> list[str]:
        """Return the sorted keys with this beginning and end."""
        return sorted(key for key in self._io if key.startswith(prefix) and key.endswith(suffix))

    def numbered(self, stem: str) -> list[Tensor]:
        """Return ``stem00``, ``stem01``, ... as far as they go."""
        return [self[key] for key in self.keys(stem) if key[len(stem) :].isdigit()]

    def untouched(self) -> list[str]:
        """Return the keys that were never read."""
        return sorted(self._io.keys() - self._touched)
