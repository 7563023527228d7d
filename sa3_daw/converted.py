"""Converted weights kept on disk, so that only the first load of a checkpoint converts. Knows no arithmetic, no layer.

One file for each checkpoint and form, named by the SHA-256 of the checkpoint's files, so a changed checkpoint never
meets weights that were made of another. Its own SHA-256 lies beside it: a load maps the file and reads no more of it
than it needs, ``verify`` reads all. A damaged file is made anew; a disk that takes nothing costs time only.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sa3_daw.errors import ModelError
from sa3_daw.tensor_files import TensorFile, file_sha256

log = logging.getLogger(__name__)

FORMAT = 1
"""Raise it when what the converters of models/precision.py return comes to mean something else."""

DIGESTS_NAME = "digests.json"
HEX_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ConvertedCopies:
    """The converted weights of one model, in a folder of their own."""

    folder: Path

    def read(self, sources: Sequence[Path], form: str) -> dict[str, Tensor] | None:
        """Map the weights made of these files; None when there are none, or none that are whole."""
        path = self._path(sources, form)
        if not path.exists():
            return None
        try:
            TensorFile.open(path)
            return load_file(path)
        except (ModelError, SafetensorError, OSError) as error:
            log.warning("converted weights are made anew: %s", error)
            return None

    def write(self, sources: Sequence[Path], form: str, convert: Callable[[], Mapping[str, Tensor]]) -> bool:
        """Convert and keep the result in place of older ones of that form; False when the disk takes nothing."""
        path = self._path(sources, form)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for older in self.folder.glob(f"*-{form}-*"):
                with suppress(OSError):  # another engine on Windows may have it mapped
                    older.unlink()
            save_file(dict(convert()), part)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())  # a name must never stand for what a power cut left unwritten
            _digest_path(path).write_text(file_sha256(part), "utf-8")
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            log.warning("converted weights cannot be kept in %s: %s", self.folder, error)
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return False
        return True

    def verify(self) -> Iterator[str]:
        """Compare every copy with its SHA-256 and delete those that differ; yield one sentence for each."""
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                is_whole = _digest_path(path).read_bytes() == file_sha256(path).encode()
            except OSError:
                is_whole = False
            if not is_whole:
                path.unlink(missing_ok=True)
            deleted = "has not the SHA-256 that lies beside it and is deleted; the next load makes it anew"
            yield f"{path.name} {'is as it was converted' if is_whole else deleted}"

    def _path(self, sources: Sequence[Path], form: str) -> Path:
        digests = [self._digest(path.resolve()) for path in sources]
        digest = digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()
        return self.folder / f"{digest[:32]}-{form}-{FORMAT}.safetensors"

    def _digest(self, path: Path) -> str:
        """Return a file's SHA-256: its name in a Hugging Face cache, else remembered for its path, size and time."""
        if HEX_DIGEST.fullmatch(path.name):
            return path.name
        state = path.stat()
        known, seen = self._known_digests(), [state.st_size, state.st_mtime_ns]
        entry = known.get(str(path))
        if isinstance(entry, list) and len(entry) == 3 and entry[:2] == seen:
            return str(entry[2])
        digest = file_sha256(path)
        self._remember(known | {str(path): [*seen, digest]})
        return digest

    def _known_digests(self) -> dict[str, object]:
        try:
            known = json.loads((self.folder / DIGESTS_NAME).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _remember(self, known: Mapping[str, object]) -> None:
        part = self.folder / f"{DIGESTS_NAME}.{os.getpid()}.part"
        with suppress(OSError):  # then it is computed again
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(known), "utf-8")
            os.replace(part, self.folder / DIGESTS_NAME)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
