"""Which models are in memory: loaded at first use, the one used longest ago unloaded for room. Knows no socket."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import torch
from torch import nn

from sa3_daw import spare_memory
from sa3_daw.catalogue import converted_dir, find_model
from sa3_daw.config import DaemonConfig
from sa3_daw.converted import ConvertedCopies
from sa3_daw.errors import Sa3Error, is_out_of_memory
from sa3_daw.generation.events import Event, Progress
from sa3_daw.generation.heard import Heard
from sa3_daw.generation.latent_files import LatentFiles
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_daw.generation.run import hear_ahead, run
from sa3_daw.generation.source_store import SourceStore
from sa3_daw.job import Job
from sa3_daw.models.gpu import is_lost
from sa3_daw.models.precision import PrecisionChoice, call_before_layers, choose_precision
from sa3_daw.protocol.messages import ResidentModel

log = logging.getLogger(__name__)


@dataclass
class Resident:
    """One model in memory."""

    model: LoadedModel
    info: ResidentModel
    used_at: float
    keep_until: float


class Residents:
    """Loaded models by name, and jobs run with them."""

    def __init__(self, config: DaemonConfig) -> None:
        torch.set_num_threads(config.engine_threads)
        self._config = config
        self._chosen: PrecisionChoice | None = None
        self.latent_files = LatentFiles(config.data_dir)
        self._store = SourceStore(config.data_dir, Heard(self.latent_files))
        self._residents: dict[str, Resident] = {}
        self._look = look_nowhere

    def preload(self) -> None:
        """Load the configured model, if any. What is wrong with it is told to the first job that wants it."""
        if not self._config.preload:
            return
        try:
            self._resident(self._config.preload)
        except (Sa3Error, RuntimeError, MemoryError) as error:
            log.error("cannot preload %r: %s", self._config.preload, error)

    def run(self, job: Job, look: Callable[[], None]) -> Iterator[Event]:
        """Run a job, loading its model first when it is not resident; closing the iterator cancels.

        On a CPU, uncompiled, ``look`` is called before every layer: what it raises need not wait for the step to end.

        Raises MemoryError when memory ran out, after all that can be was given back. Ends the process when the GPU is
        lost to it.
        """
        if job.model not in self._residents:
            yield Progress("loading", 0, 1)
            self._resident(job.model)
            yield Progress("loading", 1, 1)
        resident = self._resident(job.model)
        ran_out: str | None = None
        self._look = look
        try:
            yield from run(job, resident.model, self._store)
        except Exception as error:
            if is_out_of_memory(error):
                ran_out = str(error)
            elif is_lost(resident.info.device):
                raise SystemExit(f"the GPU answers this process no longer: {error}") from error
            else:
                raise
        finally:
            self._look = look_nowhere
            resident.used_at = monotonic()
        if ran_out is not None:  # and not above: the error holds on to the job's tensors
            resident.model.graphed.forget()
            give_memory_back()
            raise MemoryError(ran_out)

    def hear_ahead(self, job: Job) -> Iterator[None]:
        """Encode what a job would hear of its source, piece by piece; nothing when its model is not resident."""
        resident = self._residents.get(job.model)
        if resident is not None:
            yield from hear_ahead(job, resident.model, self._store)

    def load(self, name: str, keep_alive_seconds: float) -> None:
        """Make a model resident and keep it so for at least that long."""
        resident = self._resident(name)
        resident.keep_until = max(resident.keep_until, monotonic() + keep_alive_seconds)

    def unload(self, name: str) -> None:
        """Free a model's memory, if it is resident."""
        if self._residents.pop(name, None) is not None:
            log.info("model %r is unloaded", name)
            give_memory_back()

    def models(self) -> tuple[ResidentModel, ...]:
        """Return the models in memory, the one used last at the end."""
        return tuple(each.info for each in sorted(self._residents.values(), key=lambda each: each.used_at))

    def _resident(self, name: str) -> Resident:
        """Return a model, loaded if need be."""
        found = self._residents.get(name)
        if found is None:
            entry = find_model(name, self._config)
            self._make_room(sum(path.stat().st_size for path in entry.directory.glob("*.safetensors")))
            choice = self._choice()
            copies = ConvertedCopies(converted_dir(name, self._config))
            model = self._load(lambda: load_model(entry.directory, name, self._config.adapters_dir, choice, copies))
            if choice.device == "cpu" and not choice.compile:
                call_before_layers(model.dit, model.same, lambda: self._look())
            info = ResidentModel(name, choice.device, choice.precision, num_weight_bytes(model), choice.reason)
            found = Resident(model, info, monotonic(), 0.0)
            self._make_room(info.num_bytes)  # In memory they may be wider than in their file.
            self._residents[name] = found
            log.info("model %r is loaded: %d bytes", name, info.num_bytes)
        found.used_at = monotonic()
        return found

    def _choice(self) -> PrecisionChoice:
        """Return how models run here, chosen before the first is loaded. Raises Unsupported, told to who wants it."""
        if self._chosen is None:
            config = self._config
            self._chosen = choose_precision(config.precision, config.device, config.compile)
            log.info("precision %s on %s: %s", self._chosen.precision, self._chosen.device, self._chosen.reason)
        return self._chosen

    def _load(self, load: Callable[[], LoadedModel]) -> LoadedModel:
        """Load a model; while memory runs out, unload another and try again."""
        while True:
            try:
                return load()
            except (RuntimeError, MemoryError) as error:
                others = self._expendable()
                if not others or not is_out_of_memory(error):
                    raise
            self.unload(others[0])

    def _make_room(self, num_bytes: int) -> None:
        """Unload models until as many bytes fit the budget; those that are to be kept stay."""
        budget = self._config.memory_budget_mb << 20
        for name in self._expendable():
            used = sum(each.info.num_bytes for each in self._residents.values())
            if not budget or used + num_bytes <= budget:
                return
            self.unload(name)

    def _expendable(self) -> list[str]:
        """Return the models that may go, the one used longest ago first."""
        by_age = sorted(self._residents, key=lambda name: self._residents[name].used_at)
        return [name for name in by_age if self._residents[name].keep_until < monotonic()]


def look_nowhere() -> None:
    """No job runs, so there is none to stop."""


def num_weight_bytes(model: LoadedModel) -> int:
    """Return the memory that a model's parts take."""
    modules = [part for part in vars(model).values() if isinstance(part, nn.Module)]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def give_memory_back() -> None:
    """Return freed memory to the device and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    spare_memory.give_back()
