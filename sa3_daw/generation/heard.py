"""Latents of sources that were heard before, so that an edit made again encodes nothing. Knows no sampler.

Encoding is deterministic, so what is remembered is what would be encoded: results never depend on it. It lives in the
engine's memory, where the least recently used goes first, and in files, where there are any.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from sa3_daw import __version__
from sa3_daw.generation.edit_plan import EditPlan
from sa3_daw.generation.latent_files import LatentFiles
from sa3_daw.models.same import Same

MAX_BYTES = 8 << 20

Key = tuple[str, str]
"""Address of the audio; hash of everything else that decides the latents."""


class Heard:
    """Encoded stretches of sources, by what decides them."""

    def __init__(self, files: LatentFiles | None = None, max_bytes: int = MAX_BYTES) -> None:
        self._files = files
        self._max_bytes = max_bytes
        self._latents: OrderedDict[Key, Tensor] = OrderedDict()
        self._identities: WeakKeyDictionary[Same, str] = WeakKeyDictionary()

    def latents(self, plan: EditPlan, same: Same, start: int, end: int, encode: Callable[[], Tensor]) -> Tensor:
        """Return the latents of frames [start, end) of the plan's source; ``encode`` makes them when need be."""
        if plan.job.source is None or not plan.job.source.audio:
            return encode()
        found = self.find(plan, same, start, end)
        if found is None:
            found = encode()
            self.keep(plan, same, start, end, found)
        return found

    def find(self, plan: EditPlan, same: Same, start: int, end: int) -> Tensor | None:
        """Return what is remembered of those frames of a stored source."""
        key = self._key(plan, same, start, end)
        found = self._latents.get(key)
        if found is not None:
            self._latents.move_to_end(key)
        elif self._files is not None:
            found = self._files.read(*key, (plan.spec.dit.latent_dim, end - start))
            if found is not None:
                self._remember(key, found)
        return found

    def keep(self, plan: EditPlan, same: Same, start: int, end: int, latents: Tensor) -> None:
        """Remember what was encoded of those frames of a stored source."""
        key = self._key(plan, same, start, end)
        self._remember(key, latents)
        if self._files is not None:
            self._files.write(*key, latents)

    @property
    def num_bytes(self) -> int:
        """Memory that is held."""
        return sum(latents.numel() * latents.element_size() for latents in self._latents.values())

    def _remember(self, key: Key, latents: Tensor) -> None:
        self._latents[key] = latents
        while self.num_bytes > self._max_bytes:
            self._latents.popitem(last=False)

    def _key(self, plan: EditPlan, same: Same, start: int, end: int) -> Key:
        job = plan.job
        assert job.source is not None
        rates = job.sample_rate, plan.spec.sample_rate
        where = plan.num_samples, plan.rotation, plan.grid, job.loop, start, end
        said = repr((self._identity(same), rates, job.source.start_sample, where))
        return job.source.audio, hashlib.sha256(said.encode()).hexdigest()[:32]

    def _identity(self, same: Same) -> str:
        if same not in self._identities:
            self._identities[same] = encoder_identity(same)
        return self._identities[same]


def encoder_identity(same: Same) -> str:
    """Return a hash of all that decides what an autoencoder encodes, to the bit: weights, code, machine."""
    first = next(same.parameters())
    device = torch.cuda.get_device_name(first.device) if first.is_cuda else torch.backends.cpu.get_cpu_capability()
    where = __version__, torch.__version__, torch.get_num_threads(), first.device.type, device
    digest = hashlib.sha256(repr((same.spec, where)).encode())
    for name, module in same.named_modules():
        if not name.startswith("decoder"):
            how = getattr(module, "attention_dtype", None), module._compiled_call_impl is not None
            digest.update(repr((name, type(module).__name__, how)).encode())
    for name, tensor in (*same.named_parameters(), *same.named_buffers()):
        if not name.startswith("decoder"):
            digest.update(repr((name, tensor.dtype, tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
