"""What every model of a report is held against: real clips and what is heard in them, found once. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor

from sa3_training.corpus.sounds import Renderer
from sa3_training.evaluation import musicnn
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation.likeness import rows, stretches
from sa3_training.evaluation.material import Real, clips_of_corpus, clips_of_folder


class Reference:
    """Real clips at one rate: of a folder, else of nano's corpus where its sound font is given, else none."""

    def __init__(self, rate: int, folder: Path | None, sound_font: Path | None) -> None:
        self.rate = rate
        self._folder = folder
        self._sound_font = sound_font

    @cached_property
    def renderer(self) -> Renderer | None:
        """What renders nano's corpus, if that is to be measured: opening a sound font takes two seconds."""
        return Renderer(self._sound_font) if self._sound_font else None

    @cached_property
    def real(self) -> Sequence[Real]:
        """The clips."""
        if self._folder:
            return clips_of_folder(self._folder, self.rate)
        return clips_of_corpus(self.renderer) if self.renderer else ()

    @cached_property
    def heard(self) -> list[musicnn.Heard]:
        """What musicnn hears in them. Raises ModuleNotFoundError, with what mends it."""
        return [musicnn.hear(clip.audio_CS, self.rate) for clip in self.real]

    @cached_property
    def rows_NF(self) -> Tensor:
        """Their features."""
        return rows([clip.audio_CS for clip in self.real], self.rate)

    @cached_property
    def stretches(self) -> list[Tensor]:
        """Their stretches, to be compared with others'."""
        return [stretches(clip.audio_CS, self.rate) for clip in self.real]

    @cached_property
    def corpus(self) -> dict[str, float]:
        """Nano's measures of its own corpus; nothing where that is not to be measured."""
        return nano_measures.corpus(self.renderer) if self.renderer else {}
