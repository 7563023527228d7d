"""Measures know repetitions, seams, tempo and family; the report is one page that holds everything it shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa3_daw.catalogue import EMBEDDED
from sa3_daw.generation.model import LoadedModel, load_model
from sa3_training.cli import main
from sa3_training.evaluation import basic_pitch, families, made_sections, material, musicnn, notes, timing, words
from sa3_training.evaluation import maker as maker_module
from sa3_training.evaluation import nano as nano_measures
from sa3_training.evaluation.curves import running_mean
from sa3_training.evaluation.families import learn, share_first, solo_clips
from sa3_training.evaluation.likeness import frechet_of, likeness, rows, share_nearest, stretches
from sa3_training.evaluation.made_sections import judged
from sa3_training.evaluation.maker import Maker
from sa3_training.evaluation.material import Asked
from sa3_training.evaluation.page import Page, beside
from sa3_training.evaluation.probes import seam_jump
from sa3_training.evaluation.report import ReportRecipe, leaves, write_report
from sa3_training.evaluation.tensorflow_files import table
from sa3_training.progress import Reporter
from tests.beeps import Beeps
from tests.test_training_data import RATE, sound, write
from tests.test_training_lora import squares
from tests.test_training_losses import clicks


def chord(pitches: tuple[int, ...], seconds: float) -> torch.Tensor:
    """Return sines with a few overtones at MIDI pitches, stereo."""
    times = np.arange(round(seconds * RATE)) / RATE
    waves = [
        np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * overtone * times) / overtone**2
        for pitch in pitches
        for overtone in (1, 2, 3)
    ]
    mono = 0.1 * np.sum(waves, axis=0) * np.minimum(1, 50 * times)
    return torch.from_numpy(np.repeat(mono[None], 2, axis=0).astype(np.float32))


def test_likeness_finds_a_repetition_and_style_ignores_the_notes() -> None:
    clips = [torch.from_numpy(squares(120, 3.0, seed).T.copy()) for seed in range(4)]
    tones = [torch.from_numpy(sound(3.0, level=0.1 + 0.1 * index).T.copy()) for index in range(4)]
    one, other = stretches(clips[0], RATE), stretches(tones[0], RATE)
    assert likeness(one, one) > 0.999
    assert likeness(one, other) < 0.9
    assert share_nearest(clips[:2], clips[2:], tones, RATE) == 1
    assert frechet_of(rows(clips, RATE), rows(clips, RATE)) == pytest.approx(0, abs=1e-6)
    assert frechet_of(rows(clips, RATE), rows(tones, RATE)) > 1


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
    clips = [Asked(clicks(bpm, 6.0).expand(2, -1), bpm, family="drums") for bpm in bpms]
    numbers = timing.adherence(clips, RATE)
    assert (numbers["with_a_clear_beat"], numbers["tempo_kept"]) == (1, 1)
    assert numbers["tempo_kept_of_another_clip"] < 1 and numbers["median_phase_error_ms"] < 10
    assert numbers["drum_prompts_on_tempo"] == 1 and numbers["drum_prompts_on_another_clips_tempo"] < 1
    late = timing.adherence([Asked(clips[0].audio_CS, 1.3 * bpms[0], family="drums")], RATE)
    assert late["drum_prompts_on_tempo"] == 0
    assert timing.key_of(chord((69, 72, 76, 81), 3.0), RATE) == "A minor"
    assert (timing.relative("A minor"), timing.relative("C# major")) == ("C major", "A# minor")


def test_the_family_classifier_knows_its_corpus() -> None:
    solo = list(solo_clips(Beeps(), range(60)))
    half = len(solo) // 2
    families = learn(solo[:half])
    assert share_first(families, solo[half:]) > 2 / len(families.names)
    assert sorted(families.rank(solo[0][1])) == sorted(families.names)


def test_musicnn_hears_strings_in_a_chord_and_beats_in_clicks() -> None:
    long = musicnn.hear(chord((57, 60, 64), 6.0), RATE)
    beating = musicnn.hear(0.5 * clicks(120, 2.0).expand(2, -1), RATE)
    assert long.tags["slow"] > beating.tags["slow"] and beating.tags["beat"] > long.tags["beat"]
    assert sum(long.tags[tag] for tag in ("strings", "ambient", "slow")) > 3 * sum(
        beating.tags[tag] for tag in ("strings", "ambient", "slow")
    )
    assert (long.embeddings_BF.shape, beating.embeddings_BF.shape) == ((2, 200), (1, 200))
    assert set(long.tags) == set(musicnn.TAGS["MTT_musicnn"]) | set(musicnn.TAGS["MSD_musicnn"])


def test_a_file_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="not a TensorFlow checkpoint"):
        list(table(b"x" * 100))


def test_basic_pitch_finds_the_notes_of_a_chord_and_their_key() -> None:
    pitches = (57, 60, 64)
    sure = basic_pitch.note_strengths(chord(pitches, 3.0), RATE) > notes.SURE
    found = [int(index) + basic_pitch.LOWEST_PITCH for index in torch.nonzero(sure.float().mean(0) > 0.5)[:, 0]]
    assert set(pitches) <= set(found)
    heard = notes.heard(torch.cat([chord((57, 60, 64), 2.0), chord((53, 57, 60, 67), 2.0)], dim=1), RATE)
    assert heard.stable_share > 0.8
    assert notes.in_key(heard.classes_12, "A minor") == 1
    assert sum(notes.in_key(heard.classes_12, key) for key in notes.others("A minor")) <= 2
    noise = notes.heard(0.1 * torch.randn(2, 3 * RATE, generator=torch.Generator().manual_seed(0)), RATE)
    assert noise.stable_share < 0.2
    assert notes.in_key(torch.zeros(12), "A minor") == 0


def test_only_what_is_held_long_enough_is_a_stable_note() -> None:
    on = torch.tensor([[1, 1, 0, 1, 1, 1, 0, 1]]).bool().T
    assert notes.held(on, 3)[:, 0].tolist() == [False, False, False, True, True, True, False, False]
    assert not notes.held(on[:2], 3).any()


def test_obedience_compares_clips_that_were_asked_for_a_tag_with_those_that_were_not() -> None:
    assert words.area(torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([True, True, False, False])) == 0.875
    silent = dict.fromkeys({*musicnn.TAGS["MTT_musicnn"], *musicnn.TAGS["MSD_musicnn"]}, 0.0)
    heard = [musicnn.Heard(silent | {"drums": level}, torch.zeros(1, 200)) for level in (0.9, 0.1)]
    found = words.obedience(("house drums", "soft flute"), heard)
    assert found["drums"] == 1 and found["flute"] == 0.5
    assert words.obedience(("nothing known",), heard[:1]) == {}


def test_a_judge_that_is_not_installed_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("P")
    monkeypatch.setattr(musicnn, "find_spec", lambda name: None)
    musicnn.network.cache_clear()
    found = judged("Words", page, lambda: dict.fromkeys(musicnn.hear(chord((57,), 3.0), RATE).tags, 0.0))
    assert found == {} and "musicnn is not installed; run &#x27;pip install --no-deps" in page.text
    monkeypatch.undo()
    musicnn.network.cache_clear()


def test_two_pages_stand_side_by_side_by_their_sections() -> None:
    one, two, top = Page("v1"), Page("v2"), Page("v1 and v2")
    for page, value in ((one, 1.0), (two, 2.0)):
        page.section("Both", "note")
        page.table(("what", "value"), [("it", value)])
    two.section("Only here", "note")
    text = beside(top, (one, two))
    assert text.count("<h2>Both</h2>") == text.count("<h2>Only here</h2>") == text.count("not measured") == 1
    assert text.index("<h3>v1</h3>") < text.index("<h3>v2</h3>")
    assert dict(leaves({"a": {"b_c": 1.0, "name": "x"}, "d": [{"e": 2}]})) == {"a: b c": 1.0, "d 1: e": 2.0}


def test_curves_are_drawn_of_every_number_of_every_stage(tmp_path: Path) -> None:
    for name, keys in (("dit", ("loss", "unseen_error")), ("post", ("generator",))):
        with Reporter(tmp_path, name) as report:
            for step in range(1, 41):
                report.numbers(step, {key: 2.0 / step for key in keys}, step / 40)
            report.numbers(41, dict.fromkeys(keys, float("nan")), 1.0)
    assert main(["curves", str(tmp_path), "--out", str(tmp_path / "curves.html")]) == 0
    page = (tmp_path / "curves.html").read_text()
    assert page.count("<h2>") == 2 and page.count("<svg") == 3 and page.count("<polyline") == 6
    assert "unseen error: 2 to 0.0506" in page and "nan" not in page
    assert main(["curves", str(tmp_path / "none")]) == 1
    assert running_mean([1.0, 3.0] * 20)[-1] == 2


def test_the_report_holds_every_measure_of_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(material, "SECONDS", 2.5)
    monkeypatch.setattr(material, "PROMPTS_PER_SEED", 2)
    monkeypatch.setattr(made_sections, "LONG_SECONDS", 1.0)
    monkeypatch.setattr(nano_measures, "SECONDS", 1.0)
    few = {family: families.PROMPTS[family][:1] for family in ("drums", "pad")}
    monkeypatch.setattr(material, "FAMILY_PROMPTS", few)
    for seed in range(4):
        write(tmp_path / "data" / f"square arp 120bpm {seed}.wav", squares(120, 2.5, seed))
    other = tmp_path / "folder" / "nano"
    shutil.copytree(EMBEDDED / "nano", other)
    recipe = ReportRecipe("nano", tmp_path / "report.html", tmp_path / "data", num_seeds=1, against=str(other))
    told: list[str] = []
    out = write_report(recipe, told.append)
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report["models"]) == ["nano", "nano (folder)"]
    for numbers in report["models"].values():
        assert {
            "clock", "speed", "reconstruction", "predicted", "seams", "kept", "notes", "musicnn", "against_real",
            "adherence",
        } <= numbers.keys()  # fmt: skip
        assert numbers["clock"]["numbers_per_second"] == pytest.approx(2756.25)
        real = numbers["against_real"]
        assert real["closest"] < real["closest_among_real"] <= 1.001 and real["frechet"] > 0
        assert numbers["musicnn"]["frechet_of_embeddings"] > 0 and "drums" in numbers["musicnn"]["asked"]
        assert {"drum_prompts_on_tempo", "key_or_its_relative_kept", "change_at_the_ends"} <= numbers["kept"].keys()
    one, two = report["models"].values()
    assert one["notes"] == two["notes"] and one["reconstruction"] == two["reconstruction"], "one model twice"
    assert len({found["si_sdr_db"] for found in report["cross_decode"].values()}) == 1
    assert len(report["cross_decode"]) == 4
    assert report["is_finished"] and {line.split(": ")[1] for line in told} >= {"kept", "musicnn", "cross decode"}
    page = out.read_text()
    assert page.count("<audio") >= 2 * (3 * 3 + 2) + 4 and page.count("<h2>") == len(set(page.split("<h2>")[1:]))


def test_a_report_that_is_interrupted_leaves_what_it_had_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(line: str) -> None:
        if line.endswith("nano: seams"):
            raise KeyboardInterrupt

    monkeypatch.setattr(made_sections, "LONG_SECONDS", 0.5)
    write(tmp_path / "data" / "square arp 120bpm.wav", squares(120, 1.0, 0))
    with pytest.raises(KeyboardInterrupt):
        write_report(ReportRecipe("nano", tmp_path / "report.html", tmp_path / "data"), interrupt)
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert list(numbers) == ["is_finished", "model", "clock", "speed", "reconstruction", "predicted"]
    assert not numbers["is_finished"]
    page = (tmp_path / "report.html").read_text()
    assert "<title>Evaluation of nano (unfinished)" in page and "<h2>Predicted latents" in page


def test_what_is_asked_for_twice_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def generate(model: LoadedModel, prompt: str, seed: int, *, bpm: float, seconds: float) -> NDArray[np.float32]:
        made.append(f"{prompt} {seed} {bpm} {seconds}")
        return np.full((2, 8), len(made), np.float32)

    monkeypatch.setattr(maker_module, "generate", generate)
    maker = Maker(load_model(EMBEDDED / "nano", "nano"))
    families_of_two = material.clips_of_families(maker, range(2))
    before = list(made)
    clips = [maker.clip("house drums", seed, bpm, 6.0) for seed, bpm in enumerate(nano_measures.tempi(range(2)))]
    assert made == before and len(set(made)) == len(made) == len(families_of_two)
    assert all(any(clip is asked.audio_CS for asked in families_of_two) for clip in clips)
    maker.clip("house drums", 2, 120.0, 6.0)
    assert len(made) == len(before) + 1
