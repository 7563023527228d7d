"""A project's text: lines of every key, words to samples, and what is refused, each by its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sa3_daw.config import load_config
from sa3_daw.job import TempoPoint
from sa3_daw.music.timeline import TempoMap
from sa3_daw.render.project.lines import lines_of, load_toml
from sa3_daw.render.project.nodes import JobWork
from sa3_daw.render.project.plan import plan_project
from sa3_daw.render.project.problem import Problem
from sa3_daw.render.project.read import read_project
from sa3_daw.render.project.table import Grid

KEYS = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"g\\u0041"', "h.i", 'j."k.l"', "m . n"])
NUMBERS = iter(range(100_000, 10_000_000))
SCALARS = st.one_of(
    st.builds(lambda: str(next(NUMBERS))),
    st.sampled_from(
        ["true", "1979-05-27 07:32:00", "0x1F", "1_000", '"#[}"', "'''a\n# b\n''c'''", '"""x\n\\""" "" ]"""']
    ),
)
BLANKS = st.sampled_from(["", " ", "\n", " # note, ]}\n\n"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(st.tuples(BLANKS, inner, BLANKS), max_size=3).map(
            lambda items: "[" + ",".join("".join(item) for item in items) + "]"
        ),
        st.lists(st.tuples(st.sampled_from("pqr"), inner), max_size=2, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=6,
)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.sampled_from(["# comment = [", "", "  "]),
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield path, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.lists(STATEMENTS, max_size=8))
def test_every_value_is_found_on_the_line_where_it_stands(statements: list[str]) -> None:
    accepted = ""
    for statement in statements:
        try:
            load_toml(f"{accepted}{statement}\n")
        except ValueError:
            continue
        accepted += f"{statement}\n"
    lines = lines_of(accepted)
    found = dict(paths(load_toml(accepted)))
    assert set(found) == set(lines)
    for path, value in found.items():
        if type(value) is int and value >= 100_000:
            assert str(value) in accepted.split("\n")[lines[path] - 1]


@given(
    st.floats(20, 400),
    st.sampled_from([(4, 4), (3, 4), (7, 8), (5, 2)]),
    st.sampled_from([22050, 44100, 48000, 96000]),
    st.integers(0, 40),
    st.integers(1, 40),
)
def test_bars_beats_samples_and_lengths_agree(
    bpm: float, metre: tuple[int, int], rate: int, first: int, count: int
) -> None:
    grid = Grid(TempoMap([TempoPoint(0.0, bpm, *metre)]), rate)
    start, end = grid.place(f"{first}bars", 0), grid.place(f"{first + count}bars", 0)
    assert start == grid.place(f"{first * metre[0]}beats", 0) == grid.place(str(start), 0)
    assert start + grid.place(f"{count}bars", start) == start + grid.place(f"{count * metre[0]}beats", start) == end


HEAD = "[project]\nlength = '4bars'\n[[output]]\nfile = 'mix.wav'\n"
TRACK = HEAD + "[[track]]\nname = 'a'\n"
CLIP = TRACK + "[[track.clip]]\nat = '0bars'\nkind = 'generate'\nprompt = 'x'\nlength = '2bars'\n"
MORE = "[[track.clip]]\nkind = 'generate'\nprompt = 'y'\nlength = '1bars'\n"
EFFECT = CLIP + "[[track.effect]]\n"


def here(text: str) -> str:
    """Mark the line of the last table that the text begins."""
    before, _, after = text.rpartition("]]\n")
    return f"{before}]] # HERE\n{after}"


WRONG = {
    "not TOML": ("[project]\nrate = = 3 # HERE\n", "not TOML"),
    "a rate that no model has": ("[project]\nrate = 12345 # HERE\n", "rate is 12345"),
    "a tempo that is none": ("[[tempo]] # HERE\nbpm = 0\n", "bpm"),
    "tempos out of order": ("[[tempo]]\nbpm=90\n[[tempo]] # HERE\nat='0bars'\nbpm=80\n", "above the previous"),
    "an unknown key": (CLIP + "volume = 3 # HERE\n", "volume means nothing here"),
    "a key of another kind": (CLIP + "regions = ['0:1bars'] # HERE\n", "regions means nothing here"),
    "an unknown table": (CLIP + "[synth] # HERE\n", "synth means nothing here"),
    "a negative place": (CLIP + MORE + "at = '-1bars' # HERE\n", "at is '-1bars'"),
    "a negative length": (TRACK + "[[track.clip]]\nat=0\nkind='generate'\nprompt='x'\nlength=0 # HERE", "length is 0"),
    "overlapping clips": (CLIP + here(MORE) + "at = '1bars'\n", "do not overlap"),
    "a clip beyond the end": (CLIP + here(MORE) + "at = '7/2bars'\n", "the project at"),
    "no place on a track": (CLIP + here(MORE), "at is missing"),
    "a missing file": (TRACK + "[[track.clip]] # HERE\nat = 0\nkind = 'file'\nfile = 'no.wav'\n", "no.wav"),
    "a source that is not there": (
        CLIP + "[[track.clip]] # HERE\nat = '2bars'\nkind = 'loop'\nsource = 'nobody'\n",
        "no clip 'nobody'",
    ),
    "clips made from each other": (
        HEAD + "[[clip]] # HERE\nname='p'\nkind='loop'\nsource='q'\n"
        "[[clip]] # HERE\nname='q'\nkind='loop'\nsource='p'\n"
        "[[track]]\n",
        "made from itself",
    ),
    "two clips of one name": (CLIP + "name = 'n'\n" + here(MORE) + "name='N'\nat='2bars'\n", "name of line"),
    "an unknown model": (here(CLIP) + "model = 'orchestra'\n", "no model 'orchestra'"),
    "a limit of the daemon": (here(CLIP) + "steps = 9999\n", "steps is 9999"),
    "an adapter that is not there": (here(CLIP) + "adapters = ['warmth']\n", "adapters"),
    "a region outside the clip": (
        CLIP + "name='s'\n[[track.clip]] # HERE\nat='2bars'\nkind='inpaint'\nsource='s'\nregions=['1:9bars']\n",
        "region is '1:9bars'",
    ),
    "fades longer than the clip": (here(CLIP) + "fade_in='2bars'\nfade_out='1bars'\n", "fades"),
    "a bus that is not there": (here(TRACK) + "to = 'space'\n", "leads to 'space'"),
    "a send to nowhere": (CLIP + "[[track.send]] # HERE\nto = 'space'\n", "sends to 'space'"),
    "cyclic sends": (
        HEAD + "[[bus]] # HERE\nname='p'\nto='q'\n[[bus]] # HERE\nname='q'\nsend=[{to='p'}]\n",
        "feeds itself",
    ),
    "more than memory holds": (
        "# HERE\n[project]\nlength = 99999999999\n[[output]]\nfile = 'a.wav'\n",
        "the project lasts",
    ),
    "an effect without a name": (here(EFFECT), "either use"),
    "an unknown effect": (EFFECT + "use = 'Magic' # HERE\n", "use is 'Magic'"),
    "an unknown parameter": (EFFECT + "use = 'Gain'\n[track.effect.parameters]\nsize = 1 # HERE\n", "size means"),
    "a missing plugin": (here(EFFECT) + "plugin = 'no.vst3'\n", "no.vst3"),
    "automation out of order": (
        EFFECT + "use='Gain'\n[[track.effect.automation]]\nparameter='gain_db'\n"
        "points=[['1bars', 0],\n['0bars', 1]] # HERE\n",
        "point 2",
    ),
    "an output in a strange place": (HEAD + "[[track]]\n[[output]]\nfile = '../x.wav' # HERE\n", "inside the output"),
    "an output of nothing known": (HEAD + "[[track]]\n[[output]] # HERE\nfile = 'x.wav'\nof = 'y'\n", "no 'y'"),
    "two outputs of one name": (HEAD + "[[track]]\n[[output]] # HERE\nfile = 'MIX.wav'\n", "name of line"),
    "a depth that FLAC lacks": (HEAD + "[[output]]\nfile = 'x.flac'\ndepth = 32 # HERE\n", "depth is 32"),
    "stems in one file": (HEAD + "[[output]]\nfile = 'x.wav' # HERE\nof = 'stems'\n", "{name}"),
    "stems made equally loud": (
        HEAD + "[[output]]\nfile='{name}.wav'\nof='stems'\nloudness_lufs = -14 # HERE\n",
        "sum up",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_by_its_line(what: str, tmp_path: Path) -> None:
    text, words = WRONG[what]
    try:
        problems = plan_project(read_project(text), tmp_path, load_config()).all_problems()
    except Problem as problem:
        problems = [problem]
    lines = [number for number, line in enumerate(text.split("\n"), 1) if "# HERE" in line]
    assert [problem.line for problem in problems] == lines
    assert all(words in problem.message for problem in problems)


def test_clips_are_jobs_in_exact_time_that_know_only_the_tempo_up_to_their_end(tmp_path: Path) -> None:
    text = (
        "[project]\nrate = 48000\n[[tempo]]\nbpm = 120\n[[tempo]]\nat = '2bars'\nbpm = 60\nmeter = '3/4'\n"
        "[[tempo]]\nat = '9bars'\nbpm = 100\n"
        "[[clip]]\nname = 'm'\nkind = 'generate'\nprompt = 'drums'\nat = '1bars'\nlength = '2bars'\n"
        "[[track]]\n[[track.clip]]\nname = 'c'\nat = '1bars'\nkind = 'continue'\nsource = 'm'\nlength = '1bars'\n"
        "part = '2:3bars'\n[[output]]\nfile = 'a.wav'\n"
    )
    plan = plan_project(read_project(text), tmp_path, load_config())
    assert not plan.all_problems()
    made, longer = plan.nodes["clip m"].work, plan.nodes["clip c"].work
    assert isinstance(made, JobWork) and isinstance(longer, JobWork)
    assert (made.job.start_sample, made.job.num_samples) == (2 * 48000, (2 + 3) * 48000)
    assert len(made.job.tempo_map) == 2
    assert (longer.job.prompt, longer.job.num_samples) == ("drums", 8 * 48000)
    assert plan.num_samples == (2 + 3) * 48000


def test_a_later_change_of_tempo_leaves_earlier_clips_as_they_are(tmp_path: Path) -> None:
    def keys(bpm: int) -> dict[str, str]:
        tempo = f"[[tempo]]\nbpm = 120\n[[tempo]]\nat = '2bars'\nbpm = {bpm}\n"
        plan = plan_project(read_project(CLIP + MORE + "at = '3bars'\n" + tempo), tmp_path, load_config())
        assert not plan.all_problems()
        return {name: node.key for name, node in plan.nodes.items()}

    fast, slow = keys(140), keys(100)
    assert fast["clip a 1"] == slow["clip a 1"]
    assert fast["clip a 2"] != slow["clip a 2"]
    assert re.fullmatch("[0-9a-f]{64}", fast["clip a 1"])
