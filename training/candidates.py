"""The finished models of one run: each is measured once, and the best so far lies whole in one folder. Trains nothing.

A run that is ended at any moment leaves the best of what it had finished, ready to be shipped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from sa3_daw.errors import BadOutput
from sa3_daw.generation.model import load_model
from sa3_training.checkpoints import write_json
from sa3_training.evaluation.families import Families, share_first
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.material import clips_of_families
from sa3_training.evaluation.nano import generated
from sa3_training.shared_work import pieces, shared

SEEDS_PER_PIECE = 3


class Candidates:
    """Scores in ``out/candidates.json``, the best one's copy in ``out/nano``. ``teach`` makes the judge of instrument
    families, and is asked for it only when something has to be measured."""

    def __init__(self, out: Path, teach: Callable[[], Families], num_seeds: int, num_processes: int) -> None:
        self._out = out
        self._teach = teach
        self._judge: Families | None = None
        self._seeds = range(num_seeds)
        self._num_processes = num_processes

    @property
    def _path(self) -> Path:
        return self._out / "candidates.json"

    def add(self, name: str, folder: Path) -> None:
        """Measure a model folder, unless that was done with the same content and seeds, and keep the best of all.

        A model whose clips are no audio scores nothing.
        """
        scores: dict[str, Any] = json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}
        heard = {"content": digest(folder), "num_seeds": len(self._seeds)}
        known = scores.get(name, {})
        if any(known.get(key) != value for key, value in heard.items()):
            known = heard | self._scored(folder)
        scores[name] = known | {"folder": str(folder)}
        write_json(scores, self._path)
        kept = self._out / "nano"
        content = digest(kept) if kept.exists() else ""
        there = [found for found in scores.values() if found["content"] == content or Path(found["folder"]).exists()]
        best = max(there, key=lambda found: found["score"])
        if best["content"] != content:
            replace_folder(Path(best["folder"]), kept)

    def _scored(self, folder: Path) -> dict[str, Any]:
        try:
            measured = self._measured(folder)
        except BadOutput as error:
            return {"score": 0.0, "measured": {"refused": error.message}}
        return {"score": score(measured), "measured": measured}

    def _measured(self, folder: Path) -> dict[str, Any]:
        self._judge = self._judge or self._teach()
        parts = pieces(self._seeds, SEEDS_PER_PIECE)
        return mean_of(
            shared(partial(measured_with, self._judge, folder), parts, self._num_processes), list(map(len, parts))
        )


def measured_with(judge: Families, folder: Path, seeds: range) -> dict[str, Any]:
    """Return what is heard in a model's clips of some seeds."""
    maker = Maker(load_model(folder, "nano"))
    asked = [(clip.family, clip.audio_CS) for clip in clips_of_families(maker, seeds)]
    families = {"right_family_first": share_first(judge, asked)}
    return generated(maker, seeds) | {"families": families}


def mean_of(found: list[Any], weights: list[int]) -> Any:
    """Return the weighted means of equally shaped nested numbers."""
    if isinstance(found[0], dict):
        return {key: mean_of([part[key] for part in found], weights) for key in found[0]}
    return sum(value * weight for value, weight in zip(found, weights, strict=True)) / sum(weights)


def score(measured: dict[str, Any]) -> float:
    """Return the mean of what can be heard: the right instrument, on tempo, brightness in order, bass, pads in tune."""
    return fmean(
        (
            measured["families"]["right_family_first"],
            measured["tempo"]["on_tempo_asked"],
            measured["centroid"]["whole_order"],
            measured["bass"]["in_tune"],
            measured["pad"]["in_tune"],
        )
    )


def digest(folder: Path) -> str:
    """Return a name for the content of a model folder: its weights and its config."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


def replace_folder(source: Path, target: Path) -> None:
    """Put a copy of ``source`` in place of ``target`` by renames: what lies there is whole at every moment.

    Between the two renames, an instant, the old one lies beside it as ``target.old``.
    """
    new, old = (target.with_name(f"{target.name}.{state}") for state in ("new", "old"))
    if old.exists() and not target.exists():
        old.rename(target)
    for stale in (new, old):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(source, new)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
