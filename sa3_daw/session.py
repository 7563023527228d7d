"""The Python API: a Session makes Clips of exact musical lengths. Knows no model; everything is a Client's job.

    from sa3_daw.session import Session

    with Session(bpm=127.5, sample_rate=48_000) as session:
        clip = session.generate("house drums", bars=4, seed=1)
        clip = session.inpaint(clip, regions=["2:3bars"])
        clip.save("drums.wav")

In a notebook a clip shows itself: a player and its picture.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
from numpy.typing import NDArray

from sa3_daw import edits
from sa3_daw.adapter_words import adapter_use
from sa3_daw.audio.files import read_wav, stereo
from sa3_daw.client import Client, JobEvent, Stream, Take, collect, new_job_id, random_seed
from sa3_daw.errors import invalid
from sa3_daw.job import AdapterUse, Job, Region
from sa3_daw.music import places
from sa3_daw.music.timeline import TempoMap, check_bpm, parse_meter, round_half_up
from sa3_daw.protocol.messages import Accepted, Finished
from sa3_daw.recipe import job_of_take, with_accepted, write_take
from sa3_daw.render.maker import Maker
from sa3_daw.render.picture import draw_picture

__all__ = ["Clip", "RunningJob", "Session"]

Length = int | float | Fraction
RegionLike = str | tuple[int, int]
"""Samples from the clip's start, half-open; or text such as "1:2bars", "0.5s:2s", "3beats:"."""
PlaceLike = str | int
"""Samples from the timeline's origin; or text such as "8bars", "2.5s", "3beats"."""
AdapterLike = str | AdapterUse
"""An adapter's use; or text such as "warmth", "warmth:0.8"."""


@dataclass(frozen=True)
class Clip:
    """Audio with the job that makes it again. ``take`` is what the daemon stored; None for a clip from elsewhere."""

    samples: NDArray[np.float32]
    """float32 [2, n]."""
    job: Job
    take: Take | None = None

    @property
    def sample_rate(self) -> int:
        return self.job.sample_rate

    @property
    def num_samples(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    def save(self, path: str | Path) -> None:
        """Write a 32-bit float WAV with the clip's place and recipe."""
        take_id, audio = (self.take.take_id, self.take.audio) if self.take else ("", "")
        write_take(Path(path), self.samples, self.job, take_id, audio)

    def region(self, place: RegionLike) -> Region:
        """Return a place in this clip as a range of samples. Raises InvalidField outside the clip."""
        text = place if isinstance(place, str) else f"{place[0]}:{place[1]}"
        tempo = TempoMap(self.job.tempo_map)
        return places.read_region(text, places.Clip(tempo, self.job.start_sample, self.num_samples, self.sample_rate))

    def picture_png(self) -> bytes:
        """Return waveform and spectrogram over the beat grid."""
        file = io.BytesIO()
        title = self.job.prompt or "clip"
        draw_picture(file, self.samples, self.sample_rate, TempoMap(self.job.tempo_map), self.job.start_sample, title)
        return file.getvalue()

    def _repr_html_(self) -> str:
        """Return a player and a picture for notebooks, complete in itself."""
        wav = io.BytesIO()
        soundfile.write(wav, self.samples.T, self.sample_rate, subtype="PCM_16", format="WAV")
        sound, picture = (base64.b64encode(each).decode() for each in (wav.getvalue(), self.picture_png()))
        return (
            f"<div><b>{html.escape(self.job.prompt)}</b> seed {self.job.seed}, {self.num_samples} samples at "
            f'{self.sample_rate} Hz<br><audio controls src="data:audio/wav;base64,{sound}"></audio><br>'
            f'<img style="max-width:100%" src="data:image/png;base64,{picture}"></div>'
        )


class RunningJob:
    """A job at the daemon. Several may run at once; leaving the ``with`` block cancels one that is not read out."""

    def __init__(self, stream: Stream) -> None:
        self.job = stream.job
        """With the model's own steps and guidance once the daemon has accepted it."""
        self.finished: Finished | None = None
        """The daemon's last word, with the time that each stage took."""
        self._stream = stream

    def clips(self) -> tuple[Clip, ...]:
        """Wait for the end; return the variations, each with the job that makes it again. Raises the job's Sa3Error."""
        result = collect(self._stream, self._hear)
        self.finished = result.finished
        return tuple(Clip(made.samples, job_of_take(self.job, made.take.made), made.take) for made in result.takes)

    def close(self) -> None:
        """Cancel the job if it still lives."""
        self._stream.close()

    def __enter__(self) -> RunningJob:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _hear(self, event: JobEvent) -> None:
        if isinstance(event, Accepted):
            self.job = with_accepted(self.job, event)


class Session:
    """A tempo map, a rate, a model with its adapters, and the verbs. The user's daemon is found, or started.

    Every verb blocks until its clip is whole, and raises Sa3Error when the job cannot be done. A seed of None is any.
    An edit without a prompt uses its clip's. For what the verbs do not offer, make a ``job``, ``replace`` its fields
    and ``run`` it, or ``start`` several.
    """

    def __init__(
        self,
        bpm: float = 120.0,
        meter: str = "4/4",
        sample_rate: int = 44_100,
        model: str = "nano",
        adapters: Sequence[AdapterLike] = (),
        tempo: TempoMap | None = None,
        client: Maker | None = None,
    ) -> None:
        """Connect; a ``client`` that is handed in stays open at the end. A ``tempo`` replaces bpm and meter."""
        check_bpm("bpm", bpm)
        if sample_rate < 1:
            raise invalid("sample_rate", sample_rate, "1 or more")
        self.tempo = tempo or TempoMap.constant(bpm, *parse_meter(meter))
        self.sample_rate = sample_rate
        self.model = model
        self.adapters = tuple(adapter_use(each) if isinstance(each, str) else each for each in adapters)
        self.client: Maker = client or Client.connect()
        self._owns_client = client is None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; the daemon stays."""
        if self._owns_client:
            self.client.close()

    def generate(
        self,
        prompt: str,
        bars: Length | None = None,
        seconds: Length | None = None,
        samples: int | None = None,
        at: PlaceLike = 0,
        seed: int | None = None,
        steps: int = 0,
        negative_prompt: str = "",
        guidance_scale: float = 0.0,
    ) -> Clip:
        """Make a clip at a place on the timeline; exactly one length. A negative prompt needs guidance above 1."""
        start_sample = self.place(at)
        num_samples = self.length_samples(start_sample, bars, seconds, samples)
        job = replace(self.job(prompt, num_samples, seed), start_sample=start_sample)
        guided = replace(job, negative_prompt=negative_prompt, guidance_scale=guidance_scale)
        return self.run(replace(guided, steps=steps))[0]

    def inpaint(
        self, clip: Clip, regions: Sequence[RegionLike], prompt: str | None = None, seed: int | None = None
    ) -> Clip:
        """Make regions anew; every sample outside them stays, which is checked."""
        ranges = sorted((clip.region(place) for place in regions), key=lambda region: region.start_sample)
        job, audio = self._edit(clip, prompt, seed)
        return self.run(edits.inpaint(job, audio, clip.num_samples, ranges))[0]

    def continue_after(
        self,
        clip: Clip,
        bars: Length | None = None,
        seconds: Length | None = None,
        samples: int | None = None,
        prompt: str | None = None,
        seed: int | None = None,
    ) -> Clip:
        """Let a clip run on; the result is the clip, sample for sample, and the new part."""
        num_samples = self.length_samples(clip.job.start_sample + clip.num_samples, bars, seconds, samples)
        job, audio = self._edit(clip, prompt, seed)
        return self.run(edits.continue_after(job, audio, clip.num_samples, num_samples))[0]

    def continue_before(
        self,
        clip: Clip,
        bars: Length | None = None,
        seconds: Length | None = None,
        samples: int | None = None,
        prompt: str | None = None,
        seed: int | None = None,
    ) -> Clip:
        """Lead into a clip; the result is the new part and the clip, sample for sample.

        It starts that much earlier. A clip too close to the origin is moved on by whole bars first.
        """
        place = places.Clip(TempoMap(clip.job.tempo_map), clip.job.start_sample, clip.num_samples, clip.sample_rate)
        if bars is not None and seconds is None and samples is None:
            samples, bars = places.bars_before_samples(place, exact("bars", bars)), None
        num_samples = self.length_samples(0, bars, seconds, samples)
        job, audio = self._edit(clip, prompt, seed)
        job = replace(job, start_sample=places.led_into(place, num_samples))
        return self.run(edits.continue_before(job, audio, clip.num_samples, num_samples))[0]

    def restyle(self, clip: Clip, noise_level: float, prompt: str | None = None, seed: int | None = None) -> Clip:
        """Make the whole clip anew from what it is; the lower ``noise_level``, the closer to it."""
        job, audio = self._edit(clip, prompt, seed)
        return self.run(edits.restyle(job, audio, clip.num_samples, noise_level))[0]

    def loop(self, clip: Clip, prompt: str | None = None, seed: int | None = None) -> Clip:
        """Make the joint of a clip's end and start anew, so that it repeats without a seam."""
        job, audio = self._edit(clip, prompt, seed)
        return self.run(edits.loop(job, audio, clip.num_samples))[0]

    def open(self, path: str | Path, prompt: str = "") -> Clip:
        """Read a WAV as a clip; mono is doubled. Raises InvalidField at another rate than the session's."""
        samples, sample_rate, _, start_sample = read_wav(Path(path))
        if sample_rate != self.sample_rate:
            raise invalid("sample rate", sample_rate, f"{self.sample_rate}, the session's, in {path}")
        samples = stereo(Path(path), samples)
        return Clip(samples, replace(self.job(prompt, samples.shape[1], 0), start_sample=start_sample))

    def job(self, prompt: str, num_samples: int, seed: int | None = None) -> Job:
        """Return a generate job with the session's tempo, rate, model and adapters."""
        return Job(
            job_id=new_job_id(),
            prompt=prompt,
            num_samples=num_samples,
            sample_rate=self.sample_rate,
            seed=random_seed() if seed is None else seed,
            tempo_map=self.tempo.points,
            model=self.model,
            adapters=self.adapters,
        )

    def run(self, job: Job) -> tuple[Clip, ...]:
        """Run any job; return its variations, each with the job that makes it again."""
        with self.start(job) as running:
            return running.clips()

    def start(self, job: Job) -> RunningJob:
        """Send any job and return at once; its clips are then read from what is returned."""
        return RunningJob(self.client.submit(job))

    def place(self, at: PlaceLike) -> int:
        """Return a place on the timeline as a sample. Raises InvalidField."""
        return places.read_place(str(at), places.Clip(self.tempo, 0, 0, self.sample_rate))

    def length_samples(
        self, start_sample: int, bars: Length | None, seconds: Length | None, samples: int | None
    ) -> int:
        """Return the one length that is given, from a place on the timeline on. Raises InvalidField."""
        if sum(length is not None for length in (bars, seconds, samples)) != 1:
            raise invalid("length", f"bars={bars}, seconds={seconds}, samples={samples}", "exactly one of the three")
        if bars is not None:
            start = places.ppq_of_sample(self.tempo, start_sample, self.sample_rate)
            end = places.ppq_after_bars(self.tempo, start, exact("bars", bars))
            num_samples = self.tempo.sample_at(end, self.sample_rate) - start_sample
        elif seconds is not None:
            num_samples = round_half_up(exact("seconds", seconds) * self.sample_rate)
        else:
            num_samples = samples or 0
        if num_samples < 1:
            raise invalid("length", num_samples, "1 sample or more")
        return num_samples

    def _edit(self, clip: Clip, prompt: str | None, seed: int | None) -> tuple[Job, str]:
        """Store a clip; return a plain job at its place, and its address. Raises InvalidField without any prompt."""
        if clip.sample_rate != self.sample_rate:
            raise invalid("sample rate", clip.sample_rate, f"{self.sample_rate}, the session's")
        words = clip.job.prompt if prompt is None else prompt
        if not words:
            raise invalid("prompt", words, "what to play; the clip has none of its own")
        job = replace(self.job(words, clip.num_samples, seed), start_sample=clip.job.start_sample)
        return replace(job, tempo_map=clip.job.tempo_map), self.client.put_audio(clip.samples)


def exact(field: str, length: Length) -> Fraction:
    """Return a length without rounding. Raises InvalidField on NaN and infinity."""
    if not isinstance(length, int | Fraction) and not math.isfinite(length):
        raise invalid(field, float(length), "a finite number")
    return Fraction(length)
