"""Adapters of a warm model: found by name, put on for one job, taken off after it. Knows no schedule and no audio.

Base weights are never touched, so a job without adapters gives the same bytes before and after one with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from sa3_daw.adapter_files import XS_SUFFIX, AdapterEntry, find_adapter
from sa3_daw.checkpoint import read_adapter
from sa3_daw.converted import ConvertedCopies
from sa3_daw.errors import CheckpointMismatch, invalid
from sa3_daw.job import AdapterUse
from sa3_daw.models.adapted import LISTED_LAYERS, AdaptableLayers, AdapterStack
from sa3_daw.models.conditioner import Conditioning
from sa3_daw.models.dit import Prepared
from sa3_daw.models.graphed import GraphedDiT
from sa3_daw.models.lora import Adapter, Use
from sa3_daw.sampling.samplers import Velocity

log = logging.getLogger(__name__)

KEPT_ADAPTERS = 8
"""Adapters that stay in memory; one of rank 16 for the small model takes 80 MB in float32."""


@dataclass(frozen=True)
class Adapted:
    """A model with a job's adapters on."""

    stack: AdapterStack | None

    def velocity(self, graphed: GraphedDiT, conditioning: Conditioning) -> Velocity:
        """Return the DiT under a job's conditioning, prepared again for each set of adapters that noise levels select.

        Without intervals no noise level is read, so nothing waits for a device.
        """
        dit, by_set = graphed.dit, dict[tuple[bool, ...], Prepared]()
        forward = graphed if self.stack is None else dit
        stack = self.stack if self.stack is not None and self.stack.depends_on_t else None

        @torch.inference_mode()
        def velocity(x_BDT: Tensor, t_B: Tensor) -> Tensor:
            active = () if stack is None else stack.switch_to(float(t_B[0]))
            if active not in by_set:
                by_set[active] = dit.prepare(conditioning)
            velocity_BDT: Tensor = forward(x_BDT, t_B, by_set[active])
            return velocity_BDT

        return velocity


@dataclass(frozen=True)
class KeptBases:
    """Where the singular bases of one model's weights lie on disk; ``sources`` are the files of those weights."""

    copies: ConvertedCopies
    sources: Sequence[Path]
    precision: str


class AdapterRack:
    """The adapters that one loaded model has used."""

    def __init__(
        self,
        roots: Mapping[str, nn.Module],
        model_name: str,
        adapters_dir: Path | None,
        kept_bases: KeptBases | None = None,
    ) -> None:
        """``roots`` as AdaptableLayers takes them. Without ``adapters_dir`` every adapter is refused."""
        self._layers = AdaptableLayers(roots)
        self._model_name = model_name
        self._adapters_dir = adapters_dir
        self._kept_bases = kept_bases
        self._adapters: dict[tuple[Path, int, int], Adapter] = {}
        self._last: tuple[list[Use], AdapterStack] | None = None

    @contextmanager
    def use(self, uses: Sequence[AdapterUse]) -> Iterator[Adapted]:
        """Put adapters on for a ``with`` block, in order; leaving it takes them off, also by closing a generator.

        Raises InvalidField for an unknown name, CheckpointMismatch for an adapter that cannot be read or does not
        fit this model. Switching strengths or intervals reads no file and makes no pass over the weights.
        """
        if not uses:
            yield Adapted(None)
            return
        stack = self._stack([self._use(use) for use in uses])
        stack.switch_to(1.0)
        stack.put_on()
        try:
            yield Adapted(stack)
        finally:
            stack.take_off()

    def _use(self, use: AdapterUse) -> Use:
        if self._adapters_dir is None:
            raise invalid("adapters.name", use.name, "none; this model was loaded without a folder of adapters")
        adapter = self._load(find_adapter(use.name, self._adapters_dir))
        return Use(adapter, use.strength, (use.min_noise, use.max_noise), use.layer_filter)

    def _load(self, entry: AdapterEntry) -> Adapter:
        """Read an adapter, or take it from memory while its file is unchanged; refused when it does not fit."""
        status = entry.tensors_path.stat()
        key = (entry.path, status.st_mtime_ns, status.st_size)
        if key not in self._adapters:
            adapter = read_adapter(entry)
            if faults := self._layers.faults(adapter):
                made_for = f", which was made for {entry.base_model!r}," if entry.base_model else ""
                raise CheckpointMismatch(
                    f"adapter {entry.name!r}{made_for} does not fit model {self._model_name!r}: "
                    f"{len(faults)} faults: {'; '.join(faults[:LISTED_LAYERS])}",
                    field="adapters.name",
                    value=entry.name,
                )
            if len(self._adapters) >= KEPT_ADAPTERS:
                self._adapters.clear()
                self._layers.forget_adapters()
                self._last = None
            if adapter.kind.endswith(XS_SUFFIX):
                self._know_bases(sorted(adapter.layers), adapter.rank)
            self._adapters[key] = self._layers.beside(adapter)
        return self._adapters[key]

    def _know_bases(self, paths: Sequence[str], rank: int) -> None:
        """Take the layers' singular bases from disk; the first adapter that needs them has them computed."""
        kept = self._kept_bases
        if kept is None:
            return
        form = f"{kept.precision}bases{rank}x{sha256(' '.join(paths).encode()).hexdigest()[:8]}"
        found = kept.copies.read(kept.sources, form)
        if found is not None:
            self._layers.know_bases(paths, found)
            return
        log.info("computing the singular bases of %d layers, once for this model", len(paths))
        kept.copies.write(kept.sources, form, lambda: self._layers.bases(paths, rank))

    def _stack(self, uses: list[Use]) -> AdapterStack:
        if self._last is None or self._last[0] != uses:
            self._last = (uses, AdapterStack(self._layers, uses))
        return self._last[1]
