"""musicnn in torch: tags and an embedding of music, from its package's weights. For evaluation only, never shipped.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019; the package (ISC
licence) holds TensorFlow checkpoints, which are read without TensorFlow. Knows no model of ours. Shapes: B patches,
T windows, M mel bands, F features, C channels, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import soxr
import torch
from torch import Tensor, nn

from sa3_training.evaluation.tensorflow_files import read_checkpoint

HINT = "musicnn is not installed; run 'pip install --no-deps musicnn==0.1.0'"
RATE, WINDOW_SAMPLES, HOP_SAMPLES, BANDS = 16_000, 512, 256, 96
PATCH_WINDOWS = 187
LEVEL_RMS = 0.1
"""Clips are brought to one level first: the judge shall hear what they are, not how loud they are."""

NORM_EPSILON = 1e-3
FIRST_CONVOLUTIONS = ("conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4")
"""Two that are high in frequency, for timbre, and three that are long in time."""

MIDDLE_CONVOLUTIONS = ("conv2d_5", "conv2d_6", "conv2d_7")
TAGS_OF_CLIPS = (
    "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,female,"
    "indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,"
    "sitar,solo,man,classic,choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,"
    "country,metal,female voice,choral"
)
TAGS_OF_SONGS = (
    "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,"
    "chillout,male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,"
    "oldies,blues,hard rock,ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,"
    "easy listening,sexy,catchy,funk,electro,heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy"
)
TAGS = {"MTT_musicnn": tuple(TAGS_OF_CLIPS.split(",")), "MSD_musicnn": tuple(TAGS_OF_SONGS.split(","))}
"""The tags each network was taught, in the order of its outputs."""


@dataclass(frozen=True)
class Heard:
    """What musicnn hears in a clip: a probability per tag, and one embedding [B, 200] per three seconds."""

    tags: dict[str, float]
    embeddings_BF: Tensor


class Musicnn(nn.Module):
    """One of the package's two small networks, as plain functions over its named tensors."""

    def __init__(self, name: str, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.tags = TAGS[name]
        self._names = {key.replace("/", "_"): key for key in tensors if "Adam" not in key and "_power" not in key}
        for flat, key in self._names.items():
            self.register_buffer(flat, tensors[key])

    def forward(self, log_mel_BTM: Tensor) -> tuple[Tensor, Tensor]:
        """Return tag probabilities [B, 50] and embeddings [B, 200]."""
        x = self._norm(log_mel_BTM[:, None], "batch_normalization")
        heard = [self._heard(x, name, f"batch_normalization_{i + 1}") for i, name in enumerate(FIRST_CONVOLUTIONS)]
        features = [torch.cat(heard, dim=1)]
        for index, name in enumerate(MIDDLE_CONVOLUTIONS):
            weight = getattr(self, f"{name}_kernel")[:, :, 0].permute(2, 1, 0)
            made = torch.conv1d(features[-1], weight, getattr(self, f"{name}_bias"), padding="same").relu()
            normed = self._norm(made, f"batch_normalization_{index + 6}")
            features.append(normed + features[-1] if index else normed)
        all_BFT = torch.cat(features, dim=1)
        pooled = torch.stack((all_BFT.amax(-1), all_BFT.mean(-1)), dim=-1).flatten(1)
        dense = self._dense(self._norm(pooled, "batch_normalization_9"), "dense").relu()
        embedding = self._norm(dense, "batch_normalization_10")
        return torch.sigmoid(self._dense(embedding, "dense_1")), embedding

    def _heard(self, x_B1TM: Tensor, name: str, norm: str) -> Tensor:
        """Convolve, rectify, norm, and keep the strongest frequency, [B, F, T]."""
        weight = getattr(self, f"{name}_kernel").permute(3, 2, 0, 1)
        before, after = (weight.shape[2] - 1) // 2, weight.shape[2] // 2
        padded = torch.nn.functional.pad(x_B1TM, (0, 0, before, after))
        made = torch.conv2d(padded, weight, getattr(self, f"{name}_bias")).relu()
        return self._norm(made, norm).amax(-1)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance, gamma, beta = (
            getattr(self, f"{name}_{part}") for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=NORM_EPSILON)

    def _dense(self, x: Tensor, name: str) -> Tensor:
        return x @ getattr(self, f"{name}_kernel") + getattr(self, f"{name}_bias")


@cache
def network(name: str) -> Musicnn:
    """Return one of the package's networks. Raises ModuleNotFoundError, with what mends it."""
    spec = find_spec("musicnn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(HINT)
    return Musicnn(name, read_checkpoint(Path(spec.origin).parent / name)).eval()


@torch.inference_mode()
def hear(audio_CS: Tensor, sample_rate: int) -> Heard:
    """Return the tags of both networks (of a tag both know, the mean) and the embedding of the one taught by
    listeners' words for short clips."""
    patches = log_mel_patches(audio_CS, sample_rate)
    found: dict[str, list[float]] = {}
    for name in TAGS:
        probabilities, embeddings = network(name)(patches)
        for tag, value in zip(TAGS[name], probabilities.mean(0).tolist(), strict=True):
            found.setdefault(tag, []).append(value)
        if name == "MTT_musicnn":
            kept = embeddings
    return Heard({tag: sum(values) / len(values) for tag, values in found.items()}, kept)


def log_mel_patches(audio_CS: Tensor, sample_rate: int) -> Tensor:
    """Return the log-mel spectrogram in patches of three seconds, [B, T, M]; shorter clips are repeated."""
    mono = torch.from_numpy(soxr.resample(audio_CS.mean(0).numpy(), sample_rate, RATE))
    mono = mono * (LEVEL_RMS / mono.square().mean().sqrt().clamp(min=1e-6))
    while len(mono) < PATCH_WINDOWS * HOP_SAMPLES:
        mono = torch.cat((mono, mono))
    window = torch.hann_window(WINDOW_SAMPLES)
    spectrum = torch.stft(mono, WINDOW_SAMPLES, HOP_SAMPLES, window=window, return_complex=True).abs().square()
    log_mel = torch.log10(1 + 10_000 * mel_filters() @ spectrum)
    return log_mel.unfold(1, PATCH_WINDOWS, PATCH_WINDOWS).permute(1, 2, 0)


@cache
def mel_filters() -> Tensor:
    """Return triangular filters of unit area [M, bins]: linear below 1 kHz, logarithmic above (Slaney 1998)."""
    top = _to_mel(torch.tensor(RATE / 2))
    edges = _to_hertz(torch.linspace(0, 1, BANDS + 2) * top)
    bins = torch.linspace(0, RATE / 2, WINDOW_SAMPLES // 2 + 1)
    left, centre, right = (edges[start : start + BANDS, None] for start in range(3))
    rise, fall = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rise, fall).clamp(min=0) * 2 / (right - left)


LOG_STEP = torch.log(torch.tensor(6.4)) / 27


def _to_mel(hertz: Tensor) -> Tensor:
    return torch.where(hertz < 1000, hertz * 3 / 200, 15 + torch.log(hertz.clamp(min=1) / 1000) / LOG_STEP)


def _to_hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp(LOG_STEP * (mel - 15)))
