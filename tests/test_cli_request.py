"""Arguments become one exact job; what cannot is refused in one sentence, before any daemon is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa3_daw.cli import main
from sa3_daw.cli.parser import build_parser
from sa3_daw.cli.request import job_from
from sa3_daw.errors import InvalidField
from sa3_daw.job import AdapterUse, Job, TempoPoint


def job(*words: str) -> Job:
    command = ["generate", "--prompt", "drums", "-o", "out.wav", *words]
    return job_from(build_parser().parse_args(command), "id", 11)


def test_defaults_are_four_four_at_120_and_the_models_own_values() -> None:
    expected = Job("id", "drums", 88_200, 44_100, 11, (TempoPoint(0.0, 120.0, 4, 4),))
    assert job("--bars", "1") == expected
    assert job("--seconds", "2") == expected
    assert job("--samples", "88200") == expected
    assert job("--samples", "88200", "--seed", "3") == replace(expected, seed=3)


def test_every_option_reaches_the_job() -> None:
    words = (
        "--samples 100 --negative-prompt vocals --steps 5 --sampler euler --guidance 2.5 --apg 0.5 --headroom 3 --loop "
        "--variations 3 --best-of 2 --draft --loudness -14.5 --warp --priority audible --durable "
        "--model other --seed 9 --adapter warmth:0.5:0.25-1:-to_q --adapter dust --rate 48000"
    )
    assert job(*words.split()) == Job(
        job_id="id",
        prompt="drums",
        num_samples=100,
        sample_rate=48_000,
        seed=9,
        tempo_map=(TempoPoint(0.0, 120.0),),
        model="other",
        negative_prompt="vocals",
        steps=5,
        guidance_scale=2.5,
        apg_scale=0.5,
        sampler="euler",
        headroom_seconds=3.0,
        loop=True,
        num_variations=3,
        best_of=2,
        draft=True,
        loudness_lufs=-14.5,
        warp=True,
        adapters=(AdapterUse("warmth", 0.5, 0.25, 1.0, "-to_q"), AdapterUse("dust")),
        priority="audible",
        durable=True,
    )
    assert job("--samples", "1", "--ending").headroom_seconds == 0.0


def test_seven_eight_at_127_5_bpm_from_bar_two() -> None:
    made = job("--bars", "1", "--bpm", "127.5", "--meter", "7/8", "--rate", "48000", "--start-bar", "2")
    assert (made.start_sample, made.num_samples) == (79_059, 79_059)
    assert made.tempo_map == (TempoPoint(0.0, 127.5, 7, 8),)


def test_part_of_a_bar_is_exact() -> None:
    assert job("--bars", "3/4", "--bpm", "127.5").num_samples == 62_259
    assert job("--bars", "0.75", "--bpm", "127.5").num_samples == 62_259


@settings(max_examples=200, deadline=None)
@given(digits=st.integers(1, 10**9), rate=st.sampled_from((44_100, 48_000, 192_000)))
def test_decimal_seconds_are_rounded_once(digits: int, rate: int) -> None:
    exact = Fraction(digits, 10**6) * rate
    expected = (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
    if expected > 0:
        seconds = f"{digits // 10**6}.{digits % 10**6:06d}"
        assert job("--seconds", seconds, "--rate", str(rate)).num_samples == expected


def test_a_tempo_map_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "song.json"
    points = [{"position_ppq": 0, "bpm": 120}, {"position_ppq": 4, "bpm": 60.5, "numerator": 3, "denominator": 4}]
    path.write_text(json.dumps(points), encoding="utf-8")
    made = job("--bars", "2", "--tempo-map", str(path))
    assert made.tempo_map == (TempoPoint(0.0, 120.0), TempoPoint(4.0, 60.5, 3, 4))
    assert made.num_samples == round(44_100 * (2 + Fraction(180) / Fraction(60.5)))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[1]",
        "[" * 100_000,
        '[{"bpm": 120}]',
        '[{"position_ppq": 0, "bpm": "fast"}]',
        '[{"position_ppq": 0, "bpm": NaN}]',
        '[{"position_ppq": 0, "bpm": true}]',
        '[{"position_ppq": 0, "bpm": 1' + "0" * 400 + "}]",
        '[{"position_ppq": 1, "bpm": 120}]',
        '[{"position_ppq": 0, "bpm": 120, "numerator": 3.5}]',
        '[{"position_ppq": 0, "bpm": 120, "swing": 1}]',
        '[{"position_ppq": 0, "bpm": 120}, {"position_ppq": 0, "bpm": 90}]',
        "[" + " " * (1 << 20) + "]",
    ],
)
def test_a_tempo_map_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "song.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidField, match="tempo_map") as caught:
        job("--bars", "1", "--tempo-map", str(path))
    assert len(str(caught.value)) < 400


REFUSED = [
    (["--bars", "0"], "bars is 0.0; allowed: above 0"),
    (["--bars", "-4"], "bars is -4.0; allowed: above 0"),
    (["--bars", "1", "--bpm", "0"], "bpm is 0.0; allowed: above 0, at most 1000"),
    (["--bars", "1", "--bpm", "-120"], "bpm is -120.0; allowed: above 0, at most 1000"),
    (["--bars", "1", "--bpm", "nan"], "bpm is nan; allowed: above 0, at most 1000"),
    (["--bars", "1", "--bpm", "inf"], "bpm is inf; allowed: above 0, at most 1000"),
    (["--bars", "1", "--meter", "7/3"], "meter denominator is 3; allowed: 1, 2, 4, 8, 16, 32"),
    (["--bars", "1", "--meter", "seven"], "meter is 'seven'; allowed: NUMERATOR/DENOMINATOR, for example 7/8"),
    (["--bars", "1", "--start-bar", "0"], "start_bar is 0.0; allowed: 1 or more; bars count from 1"),
    (["--bars", "1", "--rate", "0"], "rate is 0; allowed: 1 or more"),
    (["--bars", "1", "--seed", "-1"], "seed is -1; allowed: 0 or more"),
    (["--samples", "0"], "samples is 0; allowed: 1 or more"),
    (["--samples", "-5"], "samples is -5; allowed: 1 or more"),
    (["--seconds", "0"], "seconds is 0.0; allowed: at least one sample, 2.27e-05"),
    (["--seconds", "-1"], "seconds is -1.0; allowed: at least one sample, 2.27e-05"),
    (
        ["--bars", "1", "--bpm", "120", "--tempo-map", "x"],
        "tempo_map is 'x'; allowed: either --tempo-map, or --bpm and",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_bad_values_are_one_sentence_and_exit_code_two(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "--prompt", "drums", "-o", str(tmp_path / "out.wav"), *words]
    assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"sa3-daw: {sentence}")
    assert (shown.out, shown.err.count("\n")) == ("", 1)


UNREADABLE = [
    ["--bars", "four"],
    ["--bars", "1e99999999"],
    ["--bars", "1/0"],
    ["--seconds", "nan"],
    ["--samples", "1.5"],
    ["--samples", "9" * 5000],
    ["--bars", "1", "--seconds", "1"],
    ["--bars", "1", "--bpm", "fast"],
    [],
    ["--bars", "1", "--loud"],
]


@pytest.mark.parametrize("words", UNREADABLE, ids=lambda words: " ".join(words)[:30] or "no length")
def test_unreadable_arguments_are_one_sentence_and_exit_code_two(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", "--prompt", "drums", "-o", "out.wav", *words])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("sa3-daw")
    assert shown.count("\n") == 1
    assert len(shown) < 300


def test_an_argument_that_a_command_lacks_is_said_with_the_nearest_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (("generate --prompt x --bars 4 -o a.wav --bmp 120", "; did you mean --bpm?"), ("demo -f", "")):
        with pytest.raises(SystemExit):
            main(words.split())
        name, wrong = words.split()[0], "-f" if not told else "--bmp"
        assert capsys.readouterr().err == f"sa3-daw {name}: no argument {wrong}{told} (see sa3-daw {name} --help)\n"


@pytest.mark.parametrize("target", ["", "nowhere/out.wav"])
def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--prompt", "drums", "--bars", "1", "-o", str(tmp_path / target)]) == 2
    assert capsys.readouterr().err.startswith("sa3-daw: output is ")


def test_broken_bytes_in_a_prompt_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--prompt", "b\udcffd", "--bars", "1", "-o", str(tmp_path / "out.wav")]) == 2
    assert "prompt is 'b\\udcffd'; allowed: text in UTF-8" in capsys.readouterr().err
