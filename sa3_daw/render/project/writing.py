"""One mix or stem as a file: rate, loudness, ceiling, word length, dither. Knows no project.

Everything in the file follows from the audio and what is asked: the dither's noise too, whose seed is the audio's hash.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw.audio.files import write_wav
from sa3_daw.audio.loudness import loudness_lufs, true_peak_db
from sa3_daw.audio.resample import StreamResampler
from sa3_daw.client import audio_address
from sa3_daw.music.timeline import round_half_up
from sa3_daw.render.project.values import Output

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF"}
NO_DATE = datetime(1970, 1, 1)
"""A file's bytes depend on the project alone, so no file says when it was written."""
FULL_SCALE_BITS = 32


@dataclass(frozen=True)
class Measured:
    """What was written. ``notes`` say where it is not what was asked for."""

    num_samples: int
    gain_db: float
    loudness_lufs: float | None
    true_peak_db: float
    notes: tuple[str, ...]


def at_rate(samples_CS: NDArray[np.float32], rate: int, wanted_rate: int) -> NDArray[np.float32]:
    """Return audio at another rate, exactly as many samples as its time takes, rounded half up."""
    num_samples = round_half_up(Fraction(samples_CS.shape[1] * wanted_rate, rate))
    stream = StreamResampler(rate, wanted_rate, len(samples_CS))
    out = np.concatenate((stream.process(samples_CS), stream.finish()), axis=1)[:, :num_samples]
    return np.pad(out, ((0, 0), (0, num_samples - out.shape[1])))


def levelled(
    samples_CS: NDArray[np.float32], rate: int, output: Output
) -> tuple[NDArray[np.float32], float, tuple[str, ...]]:
    """Return audio at the loudness asked for, its gain in dB, and a note where the ceiling holds it back.

    Only a gain, never a limiter: what dynamics a mix has is the master chain's affair.
    """
    gain_db, notes = 0.0, []
    if output.loudness_lufs is not None:
        measured = loudness_lufs(samples_CS, rate)
        if measured is None:
            notes.append("too short or too quiet to have a loudness; its level was left alone")
        else:
            gain_db = output.loudness_lufs - measured
    if output.true_peak_db is not None:
        room_db = output.true_peak_db - true_peak_db(samples_CS, rate)
        if gain_db > room_db:
            target = "as it is" if output.loudness_lufs is None else f"for {output.loudness_lufs:g} LUFS"
            notes.append(f"{gain_db - room_db:.1f} dB quieter than {target}: held by {output.true_peak_db:g} dBTP")
            gain_db = room_db
    if not gain_db:
        return samples_CS, 0.0, tuple(notes)
    return samples_CS * np.float32(10 ** (gain_db / 20)), gain_db, tuple(notes)


def write_output(samples_CS: NDArray[np.float32], rate: int, path: Path, output: Output) -> Measured:
    """Write audio as asked; the file appears whole or not at all. Raises OSError."""
    samples, gain_db, notes = levelled(at_rate(samples_CS, rate, output.rate), output.rate, output)
    path.parent.mkdir(parents=True, exist_ok=True)
    if output.depth:
        words, num_clipped = quantised(samples, output.depth, output.dither)
        if num_clipped:
            notes = (*notes, f"{num_clipped} samples were above full scale and were clipped")
        write_whole(path, words, output)
    else:
        write_wav(path, samples, output.rate, {}, 0, NO_DATE)
    lufs, peak_db = loudness_lufs(samples, output.rate), true_peak_db(samples, output.rate)
    return Measured(samples.shape[1], gain_db, lufs, peak_db, notes)


def quantised(samples_CS: NDArray[np.float32], depth: int, dither: bool) -> tuple[NDArray[np.int32], int]:
    """Return whole numbers of ``depth`` bits in the upper bits of int32, and how many had to be clipped.

    Dither is triangular noise of one step to either side, added before rounding.
    """
    scale = 2.0 ** (depth - 1)
    exact = samples_CS.astype(np.float64) * scale
    if dither:
        random = np.random.Generator(np.random.PCG64(int(audio_address(samples_CS)[:16], 16)))
        exact += random.random(exact.shape) - random.random(exact.shape)
    steps = np.floor(exact + 0.5)
    kept = np.clip(steps, -scale, scale - 1)
    num_clipped = int(np.count_nonzero(np.abs(samples_CS) > 1))
    return (kept * 2.0 ** (FULL_SCALE_BITS - depth)).astype(np.int32), num_clipped


def write_whole(path: Path, words_CS: NDArray[np.int32], output: Output) -> None:
    """Write whole numbers as WAV, FLAC or AIFF under a name of their own, then give the file its name."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            form = FORMATS[path.suffix.lower()]
            soundfile.write(file, words_CS.T, output.rate, subtype=f"PCM_{output.depth}", format=form)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except soundfile.LibsndfileError as error:
        raise OSError(0, error.error_string, str(path)) from error
    finally:
        part.unlink(missing_ok=True)
