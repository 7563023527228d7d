"""Measures know repetitions, seams, tempo and family; the report is one page that holds everything it shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation import report, timing
from sa3_training.evaluation.families import learn, share_first, solo_clips
from sa3_training.evaluation.likeness import frechet, likeness, share_nearest
from sa3_training.evaluation.page import Page
from sa3_training.evaluation.probes import seam_jump
from sa3_training.evaluation.report import ReportRecipe, write_report
from sa3_training.evaluation.timing import Asked
from tests.test_training_data import RATE, sound, write
from tests.test_training_lora import squares
from tests.test_training_losses import clicks
from tests.test_training_nano import Beeps


def test_likeness_finds_a_repetition_and_style_ignores_the_notes() -> None:
    clips = [torch.from_numpy(squares(120, 3.0, seed).T.copy()) for seed in range(4)]
    tones = [torch.from_numpy(sound(3.0, level=0.1 + 0.1 * index).T.copy()) for index in range(4)]
    assert likeness(clips[0], clips[0], RATE) > 0.999
    assert likeness(clips[0], tones[0], RATE) < 0.9
    assert share_nearest(clips[:2], clips[2:], tones, RATE) == 1
    assert frechet(clips, clips, RATE) == pytest.approx(0, abs=1e-6)
    assert frechet(clips, tones, RATE) > 1


def test_a_hard_cut_is_heard_as_a_seam() -> None:
    audio = torch.from_numpy(sound(3.0).T.copy())
    cut = audio.clone()
    cut[:, RATE : 2 * RATE] = torch.from_numpy(squares(120, 1.0, 0).T.copy())
    assert seam_jump(cut, (RATE, 2 * RATE), RATE) > 2 * seam_jump(audio, (RATE, 2 * RATE), RATE)


def test_a_page_holds_everything_it_shows() -> None:
    page = Page("A & B")
    page.section("Clips", "note")
    page.table(("name", "value"), [("<b>", 0.123456)])
    page.clip("clip", torch.from_numpy(sound(0.5).T.copy()), RATE)
    text = page.text
    assert "A &amp; B" in text and "&lt;b&gt;" in text and "0.1235" in text
    assert "data:audio/mpeg;base64," in text and "data:image/png;base64," in text
    assert "http" not in text


def test_clicks_keep_their_tempo_and_not_another() -> None:
    bpms = (90.0, 117.0, 140.0)
    clips = [Asked(clicks(bpm, 6.0).expand(2, -1), bpm) for bpm in bpms]
    numbers = timing.adherence(clips, RATE)
    assert (numbers["with_a_clear_beat"], numbers["tempo_kept"]) == (1, 1)
    assert numbers["tempo_kept_of_another_clip"] < 1 and numbers["median_phase_error_ms"] < 10
    chord = sum(np.sin(2 * np.pi * 440 * 2 ** (note / 12) * np.arange(3 * RATE) / RATE) for note in (0, 3, 7, 12))
    audio = torch.from_numpy((0.1 * np.repeat(np.asarray(chord)[None], 2, axis=0)).astype(np.float32))
    assert timing.key_of(audio, RATE) == "A minor"


def test_the_family_classifier_knows_its_corpus() -> None:
    solo = list(solo_clips(Beeps(), range(60)))
    half = len(solo) // 2
    families = learn(solo[:half])
    assert share_first(families, solo[half:]) > 2 / len(families.names)
    assert sorted(families.rank(solo[0][1])) == sorted(families.names)


def test_the_report_holds_every_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SECONDS", 2.5)
    monkeypatch.setattr(nano_measures, "SECONDS", 1.5)
    for seed in range(4):
        write(tmp_path / "data" / f"square arp 120bpm {seed}.wav", squares(120, 2.5, seed))
    out = write_report(ReportRecipe("nano", tmp_path / "report.html", tmp_path / "data", num_seeds=1))
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert {
        "clock",
        "reconstruction",
        "predicted",
        "seams",
        "kept",
        "frechet",
        "closest",
        "adherence",
    } <= numbers.keys()
    assert numbers["clock"]["numbers_per_second"] == pytest.approx(2756.25)
    assert numbers["closest"] < numbers["closest_among_real"] <= 1.001
    page = out.read_text()
    assert page.count("<audio") >= 3 * 3 + 1 and page.count("<h2>") == len(set(page.split("<h2>")[1:]))
