"""The DAW scripts: pure logic in lua5.3, Ardour's session maths in Ardour itself, REAPER's flow on a stand-in API."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sa3_daw.cli.request import read_points
from sa3_daw.music.timeline import TempoMap
from tests.bridge_build import ROOT, need
from tests.running_daemon import RunningDaemon, environment, wait_for

SCRIPTS = ROOT / "bridge" / "scripts"
COMMON = SCRIPTS / "sa3_common.lua"
TO_JSON = """
local function json(value)
    if type(value) == "table" then
        local parts = {}
        if #value > 0 or next(value) == nil then
            for i, item in ipairs(value) do parts[i] = json(item) end
            return "[" .. table.concat(parts, ",") .. "]"
        end
        for key, item in pairs(value) do parts[#parts + 1] = string.format("%q:", key) .. json(item) end
        return "{" .. table.concat(parts, ",") .. "}"
    end
    if type(value) == "string" then
        return '"' .. value:gsub('[%c"\\\\]', function(c) return string.format("\\\\u%04x", c:byte()) end) .. '"'
    end
    return tostring(value == nil and "null" or value)
end
"""


@pytest.fixture(scope="session", autouse=True)
def lua() -> None:
    need({"lua5.3": "/usr/bin/lua5.3"})


def run_lua(body: str, *arguments: str, variables: dict[str, str] | None = None) -> Any:
    """Run Lua that returns a value; give the value back."""
    program = (
        f"local sa3 = dofile({json.dumps(str(COMMON))})\n{TO_JSON}\nprint(json((function(...)\n{body}\nend)(...)))"
    )
    done = subprocess.run(
        ["lua5.3", "-", *arguments],
        input=program,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=variables,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_neighbouring_ranges_tile() -> None:
    edges = run_lua(
        """
        local edges = {}
        for bar = 0, 200 do
            local first, count = sa3.range_samples(bar * 240 / 127.3, (bar + 1) * 240 / 127.3, 44100)
            edges[#edges + 1] = {first, first + count}
        end
        return edges"""
    )
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))


def test_start_bar_is_an_exact_fraction() -> None:
    assert run_lua(
        "return {sa3.start_bar(0, 1920, 4, 4), sa3.start_bar(6720, 1920, 7, 8), sa3.start_bar(-5, 1920, 4, 4)}"
    ) == [
        "7680/7680",
        "13440/6720",
        "7680/7680",
    ]


def test_commands_hold_every_word() -> None:
    words = run_lua(
        """
        return sa3.generate_words{num_samples = 361412, sample_rate = 48000, bpm = 127.5, numerator = 7,
            denominator = 8, start_bar = "8/4", prompt = "it's", negative_prompt = "", seed = 5, output = "/a b.wav"}"""
    )
    assert " ".join(words) == (
        "sa3-daw generate --samples 361412 --rate 48000 --start-bar 8/4 --prompt it's --seed 5"
        " --bpm 127.5 --meter 7/8 -o /a b.wav --json"
    )
    words = run_lua(
        "return sa3.inpaint_words{input = 'in.wav', regions = {{0, 10}, {20, 30}}, prompt = 'x', output = 'o'}"
    )
    assert " ".join(words) == "sa3-daw inpaint in.wav --region 0:10 --region 20:30 --prompt x -o o --json"


def test_numbers_are_written_exactly() -> None:
    numbers = [127.5, 1 / 3 * 300, 90.25, 61.7, 173.001, 0.1 + 0.2, 5]
    texts = run_lua(
        f"local t = {{}} for i, n in ipairs{{{','.join(map(repr, numbers))}}} do t[i] = sa3.number_text(n) end return t"
    )
    assert [float(text) for text in texts] == numbers
    assert texts[0] == "127.5"


def test_json_is_decoded_as_python_writes_it() -> None:
    value = {"text": 'é "quoted" \\ \n \U0001f3b5', "list": [1, -2.5e-3, True, False, []], "inner": {"a": {}}}
    assert run_lua("return sa3.decode_json((...))", json.dumps(value)) == {**value, "inner": {"a": []}}
    for broken in ('{"a":', "[1,", '"x', "{a:1}", "", "nul"):
        assert run_lua("return sa3.decode_json((...)) == nil", broken) is True


def test_progress_follows_the_lines_and_leaves_half_a_line_for_later() -> None:
    states = run_lua(
        """
        local p, states = sa3.new_progress(), {}
        local log = '{"event": "accepted", "position": 1}\\n'
        log = log .. '{"event": "progress", "stage": "sampling", "step": 4, "num_st'
        p:feed(log) states[1] = p.text
        log = log .. 'eps": 8}\\nnot json\\n'
        p:feed(log) p:feed(log) states[2] = p.share
        log = log .. '{"event": "written", "path": "/x.wav"}\\n'
        p:feed(log) p:ended(0, "") states[3] = p.state states[4] = p.written[1]
        return states"""
    )
    assert states == ["waiting", 0.4, "done", "/x.wav"]


@pytest.mark.parametrize(
    ("code", "errors", "text"),
    [(127, "", "sa3-daw was not found"), (1, "a\nno daemon\n", "no daemon"), (3, "", "ended with code 3")],
)
def test_a_command_that_ends_without_a_take_is_told_in_words(code: int, errors: str, text: str) -> None:
    state, told = run_lua(
        "local p = sa3.new_progress() p:ended(tonumber((...)), select(2, ...)) return {p.state, p.text}",
        str(code),
        errors,
    )
    assert state == "failed" and text in told


def test_quoting_survives_the_shell() -> None:
    word = 'it\'s $HOME `x` "y" \\ ;|&'
    quoted = run_lua("return sa3.quote((...))", word)
    assert (
        subprocess.run(["/bin/sh", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True).stdout
        == word
    )


def test_wav_files_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    assert run_lua(
        """
        local function read(channel, start, count)
            local list = {}
            for i = 1, count do list[i] = (start + i - 1) / 8192 * (channel == 0 and 1 or -1) end
            return list
        end
        return sa3.write_wav((...), 2, 5000, 48000, read)""",
        str(path),
    )
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 48000
    assert np.array_equal(
        samples, np.stack([np.arange(5000) / 8192, -np.arange(5000) / 8192], axis=1).astype(np.float32)
    )


def test_razor_edits_of_envelopes_are_left_out() -> None:
    assert run_lua("""return sa3.razor_areas('1.5 2.25 "" 0 9 "{GUID}" 3 4 ""')""") == [[1.5, 2.25], [3.0, 4.0]]


# REAPER ----------------------------------------------------------------------------------------------------------

STAND_IN = """
local calls, pending, at_exit = {}, nil, nil
local function note(name) return function(...) calls[#calls + 1] = {name, ...} return name end end
local numbers = {D_POSITION = 2.0, D_LENGTH = 4.0, D_STARTOFFS = 0.5, D_PLAYRATE = 1}
reaper = {
    GetOS = function() return "Other" end,
    get_action_context = function() return "", SCRIPT end,
    CountTracks = function() return 1 end,
    GetTrack = function() return "track" end,
    GetSetMediaTrackInfo_String = function() return true, RAZOR end,
    GetSet_LoopTimeRange = function() return 0, 0 end, GetSelectedTrack = function() return "track" end,
    GetSetProjectInfo = function() return 48000 end,
    TimeMap_GetTimeSigAtTime = function() return 7, 8, 127.5 end,
    TimeMap2_timeToBeats = function(_, seconds)
        local eighths = seconds * 127.5 / 60 * 2
        return eighths % 7, eighths // 7, 7, eighths, 8
    end,
    TimeMap2_timeToQN = function(_, seconds) return seconds * 127.5 / 60 end,
    CountTempoTimeSigMarkers = function() return 0 end,
    GetProjectPath = function() return FOLDER end,
    RecursiveCreateDirectory = function() end,
    file_exists = function(path) return sa3.read_file(path) ~= nil end,
    GetUserInputs = function() return true, ANSWERS end,
    ShowMessageBox = note("message"),
    ExecProcess = function(command, wait_ms)
        calls[#calls + 1] = {"started", wait_ms}
        os.execute(command .. " &")
    end,
    defer = function(step) pending = step end, atexit = function(step) at_exit = step end, time_precise = os.time,
    ValidatePtr2 = function() return true end, Main_OnCommand = function() end,
    Undo_BeginBlock = note("begin"), Undo_EndBlock = note("end"), UpdateArrange = note("update"),
    AddMediaItemToTrack = note("item"), SetMediaItemInfo_Value = note("item value"),
    AddTakeToMediaItem = note("take"), PCM_Source_CreateFromFile = function(path) return path end,
    SetMediaItemTake_Source = note("source"), SetMediaItemTakeInfo_Value = note("take value"),
    GetSetMediaItemTakeInfo_String = note("name"), SetActiveTake = note("active"),
    GetSelectedMediaItem = function() return "item" end, GetActiveTake = function() return "take" end,
    TakeIsMIDI = function() return false end,
    GetMediaItemTakeInfo_Value = function(_, name) return numbers[name] end,
    GetMediaItemInfo_Value = function(_, name) return numbers[name] end,
    GetMediaItemTake_Source = function() return "source" end,
    GetMediaSourceSampleRate = function() return 48000 end, GetMediaSourceLength = function() return 5.0, false end,
    GetMediaSourceFileName = function() return SOURCE end,
}
gfx = {init = note("window"), quit = note("closed"), getchar = function() return 0 end, set = function() end,
    rect = function() end, drawstr = note("shown"), update = function() end}
load(CHANGES)()
dofile(SCRIPT)
note("returned")()
while pending do
    local step = pending
    pending = nil
    os.execute("sleep 0.05")
    step()
end
if at_exit then at_exit() end
return calls
"""


def with_path(folder: Path, program: str) -> dict[str, str]:
    """Return an environment in which `sa3-daw` is this line of shell."""
    path = folder / "bin" / "sa3-daw"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{path.parent}:{os.environ['PATH']}"}


def with_program(folder: Path, daemon: RunningDaemon) -> dict[str, str]:
    """Return an environment in which `sa3-daw` is this checkout's, speaking with that daemon."""
    found = with_path(folder, f'exec "{sys.executable}" -m sa3_daw "$@"')
    return environment(daemon.runtime_dir, PATH=found["PATH"])


def run_in_reaper(script: str, folder: Path, variables: dict[str, str] | None = None, **given: str) -> list[list[Any]]:
    """Run a ReaScript on the stand-in, which ``CHANGES`` changes; give back what it asked of REAPER."""
    installed = folder / "scripts"
    installed.mkdir()
    for path in (COMMON, *sorted((SCRIPTS / "reaper").glob("*.lua"))):
        shutil.copy(path, installed)
    names = {
        "SCRIPT": str(installed / script),
        "FOLDER": str(folder),
        "SOURCE": "",
        "RAZOR": "",
        "CHANGES": "",
        **given,
    }
    settings = "".join(f"{name} = {json.dumps(text)}\n" for name, text in names.items())
    calls: list[list[Any]] = run_lua(settings + STAND_IN, variables=variables)
    return calls


def messages(calls: list[list[Any]]) -> list[str]:
    return [call[1] for call in calls if call[0] == "message"]


def traces(folder: Path) -> list[str]:
    """Return what a job left in the project's folder, by endings."""
    return sorted(path.suffix for path in folder.glob("sa3-*"))


@pytest.fixture
def daemon(tmp_path: Path) -> Any:
    with RunningDaemon(tmp_path / "run") as running:
        yield running


def test_reaper_generates_into_a_razor_edit_as_one_item_with_an_undo_point(
    tmp_path: Path, daemon: RunningDaemon
) -> None:
    variables = with_program(tmp_path, daemon)
    prompt = "-drums|it's $HOME steps=5 step_ms=100"
    calls = run_in_reaper(
        "sa3_generate.lua", tmp_path, variables, RAZOR='1.5 2.25 ""', ANSWERS=f"{prompt}\nvocals\n2.5\n7"
    )
    names = [call[0] for call in calls]
    assert names.index("begin") < names.index("item") < names.index("take") < names.index("end")
    assert ["item value", "item", "D_POSITION", 1.5] in calls and ["item value", "item", "D_LENGTH", 0.75] in calls
    written = Path(next(call for call in calls if call[0] == "source")[2])
    found = soundfile.info(written)
    assert (found.frames, found.samplerate) == (36000, 48000)
    assert traces(tmp_path) == [".wav"]
    with daemon.client() as client:
        _, job = client.get_take(client.list_takes()[0].take_id)
    assert (job.prompt, job.negative_prompt, job.guidance_scale) == (prompt, "vocals", 2.5)
    assert (job.seed, job.start_sample) == (7, 72000)


TEMPO_MARKERS = """
local markers = {{0, 120, 4, 4, false}, {3, 60, 3, 4, false}, {5, 60, 3, 4, true}, {7, 120, 3, 4, false}}
local quarters = {0, 6, 8, 11}
reaper.CountTempoTimeSigMarkers = function() return #markers end
reaper.GetTempoTimeSigMarker = function(_, index)
    local at, bpm, numerator, denominator, is_slope = table.unpack(markers[index + 1])
    return true, at, 0, 0, bpm, numerator, denominator, is_slope
end
local function last_before(seconds)
    local index = 1
    while markers[index + 1] and markers[index + 1][1] <= seconds do index = index + 1 end
    return index, seconds - markers[index][1]
end
reaper.TimeMap_GetTimeSigAtTime = function(_, seconds)
    local marker = markers[last_before(seconds)]
    return marker[3], marker[4], marker[2]
end
reaper.TimeMap2_timeToQN = function(_, seconds)
    local index, since = last_before(seconds)
    local slope = markers[index][5] and 60 / 2 or 0
    return quarters[index] + (markers[index][2] * since + slope * since * since / 2) / 60
end
reaper.TimeMap2_timeToBeats = function(_, seconds) return 0, 1, 4, 4, 4 end
"""


def test_reaper_gives_the_tempo_changes_inside_the_selection(tmp_path: Path, daemon: RunningDaemon) -> None:
    """120 BPM, from 3 s on 60 in 3/4, from 5 to 7 s a slope up to 120: it becomes steps of the same length."""
    run_in_reaper(
        "sa3_generate.lua",
        tmp_path,
        with_program(tmp_path, daemon),
        CHANGES=TEMPO_MARKERS,
        RAZOR='2 7 ""',
        ANSWERS="drums\n\n\n",
    )
    with daemon.client() as client:
        _, job = client.get_take(client.list_takes()[0].take_id)
    tempo = TempoMap(job.tempo_map)
    assert [(point.position_ppq, point.bpm, point.numerator) for point in job.tempo_map[:2]] == [
        (0, 120, 4),
        (6, 60, 3),
    ]
    assert (job.start_sample, job.num_samples) == (2 * 48000, 5 * 48000)
    seconds = [float(tempo.seconds_at(Fraction(ppq))) for ppq in (4, 6, 8, 11)]
    assert seconds == pytest.approx([2, 3, 5, 7])
    slope = [point.bpm for point in job.tempo_map[2:]]
    assert len(slope) == 8 and slope == sorted(slope) and slope[0] == pytest.approx(63.75)
    assert traces(tmp_path) == [".wav"]


def test_reaper_goes_on_while_a_job_runs_and_shows_its_progress(tmp_path: Path, daemon: RunningDaemon) -> None:
    calls = run_in_reaper(
        "sa3_generate.lua",
        tmp_path,
        with_program(tmp_path, daemon),
        CHANGES="reaper.GetSet_LoopTimeRange = function() return 2.25, 3.0000001 end",
        ANSWERS="steps=5 step_ms=150\n\n\n",
    )
    names = [call[0] for call in calls]
    assert calls[0] == ["started", -2] and names.index("returned") < names.index("begin")  # -2: it waits for nothing
    assert any("sampling" in call[1] for call in calls if call[0] == "shown")
    assert ["item", "track"] in calls and ["item value", "item", "D_POSITION", 2.25] in calls
    assert names.index("closed") < names.index("begin")
    with daemon.client() as client:
        take, job = client.get_take(client.list_takes()[0].take_id)
    assert (job.start_sample, take.made.num_samples) == (108000, 36000)


def test_reaper_repaints_the_part_of_an_item_under_the_razor_edit_as_a_new_take(
    tmp_path: Path, daemon: RunningDaemon
) -> None:
    source = tmp_path / "item.wav"
    soundfile.write(source, np.zeros((48000 * 5, 2), dtype=np.float32), 48000, subtype="FLOAT")
    variables = with_program(tmp_path, daemon)
    calls = run_in_reaper(
        "sa3_repaint.lua", tmp_path, variables, RAZOR='3 4 ""', ANSWERS="steps=1\n", SOURCE=str(source)
    )
    names = [call[0] for call in calls]
    assert names.index("begin") < names.index("take") < names.index("end") and "item" not in names
    assert ["take value", "take", "D_STARTOFFS", 0.5] in calls and ["active", "take"] in calls
    with daemon.client() as client:
        take, job = client.get_take(client.list_takes()[0].take_id)
    assert [(region.start_sample, region.end_sample) for region in job.regions] == [(72000, 120000)]
    assert take.made.num_samples == 48000 * 5


def test_reaper_tells_why_a_job_failed(tmp_path: Path, daemon: RunningDaemon) -> None:
    variables = with_program(tmp_path, daemon)
    calls = run_in_reaper("sa3_generate.lua", tmp_path, variables, RAZOR='0 1 ""', ANSWERS="fail=bad_output\n\n\n")
    assert len(messages(calls)) == 1 and "failed as asked" in messages(calls)[0]
    assert not any(call[0] == "begin" for call in calls) and not traces(tmp_path)


ESC_AT_ONCE = "gfx.getchar = function() gfx.getchar = function() return 0 end return 27 end"
WINDOW_CLOSED = "gfx.getchar = function() return -1 end"
SCRIPT_ENDED = 'gfx.drawstr = function(text) if text:find("sampling") then reaper.defer = function() end end end'


@pytest.mark.parametrize("changes", [ESC_AT_ONCE, WINDOW_CLOSED, SCRIPT_ENDED], ids=["Esc", "window", "script ended"])
def test_reaper_stops_the_job_without_a_word(tmp_path: Path, daemon: RunningDaemon, changes: str) -> None:
    variables = with_program(tmp_path, daemon)
    calls = run_in_reaper(
        "sa3_generate.lua", tmp_path, variables, RAZOR='0 1 ""', CHANGES=changes, ANSWERS="steps=1000 step_ms=50\n\n\n"
    )
    assert not messages(calls) and not any(call[0] == "begin" for call in calls)
    with daemon.client() as client:
        wait_for("no job left", lambda: not client.status().jobs)
        assert not client.list_takes()


def test_reaper_tells_that_the_daemon_cancelled_the_job(tmp_path: Path, daemon: RunningDaemon) -> None:
    stop = 'gfx.drawstr = function(text) if text:find("sampling") then os.execute("sa3-daw stop >/dev/null") end end'
    variables = with_program(tmp_path, daemon)
    calls = run_in_reaper(
        "sa3_generate.lua", tmp_path, variables, RAZOR='0 1 ""', CHANGES=stop, ANSWERS="steps=1000 step_ms=50\n\n\n"
    )
    assert messages(calls) == ["The job was cancelled on the daemon; nothing was written."]
    assert not traces(tmp_path)


NO_ITEM = "reaper.GetSelectedMediaItem = function() end"
NO_TRACK = "reaper.GetSelectedTrack = function() end reaper.GetSet_LoopTimeRange = function() return 0, 1 end"
NO_START = (
    "local now = 0 reaper.time_precise = function() now = now + 30 return now end reaper.ExecProcess = function() end"
)


@pytest.mark.parametrize(
    ("script", "changes", "razor", "answers", "told"),
    [
        ("generate", "", "", "", "Make a time selection or a razor edit"),
        ("generate", NO_TRACK, "", "", "Select the track"),
        ("generate", "", "0 1", "\n\n\n", "Write a prompt"),
        ("generate", "", "0 1", "drums\n\n\n1.5", "The seed is a whole number"),
        ("generate", "", "0 1", "drums\n\nhigh\n", "The guidance is a number"),
        ("generate", 'FOLDER = FOLDER .. "/none"', "0 1", "drums\n\n\n", "cannot be written"),
        ("generate", NO_START, "0 1", "drums\n\n\n", "could not start sa3-daw"),
        ("repaint", NO_ITEM, "", "", "Select an audio item"),
        ("repaint", "reaper.TakeIsMIDI = function() return true end", "", "", "Select an audio item"),
        ("repaint", "reaper.GetMediaItemTakeInfo_Value = function() return 2 end", "", "", "plays at another rate"),
        ("repaint", "", "6 7", "", "outside the selected item"),
        ("repaint", "", "3 4", "", "repeats, reverses or outlasts"),
        ("repaint", 'SOURCE = "a.wav" reaper.GetMediaSourceLength = function() return 1 end', "3 4", "", "glue it"),
        ("repaint", 'SOURCE = "a.wav"', "3 4", "\n", "Write a prompt"),
    ],
)
def test_reaper_tells_what_is_missing(
    tmp_path: Path, script: str, changes: str, razor: str, answers: str, told: str
) -> None:
    calls = run_in_reaper(
        f"sa3_{script}.lua", tmp_path, CHANGES=changes, RAZOR=razor and f'{razor} ""', ANSWERS=answers
    )
    assert len(messages(calls)) == 1 and told in messages(calls)[0]
    assert not any(call[0] in ("begin", "started") for call in calls) and not traces(tmp_path)


def test_reaper_says_nothing_when_its_dialog_is_closed(tmp_path: Path) -> None:
    closed = "reaper.GetUserInputs = function() return false end"
    assert run_in_reaper("sa3_generate.lua", tmp_path, RAZOR='0 1 ""', CHANGES=closed) == [["returned"]]


@pytest.mark.parametrize(
    ("program", "told"),
    [("exit 127", "sa3-daw was not found"), ("echo 'sa3-daw: the daemon did not start' >&2; exit 1", "did not start")],
)
def test_reaper_tells_that_a_program_or_daemon_is_missing(tmp_path: Path, program: str, told: str) -> None:
    variables = with_path(tmp_path, program)
    calls = run_in_reaper("sa3_generate.lua", tmp_path, variables, RAZOR='0 1 ""', ANSWERS="drums\n\n\n")
    assert len(messages(calls)) == 1 and told in messages(calls)[0] and not traces(tmp_path)


@pytest.mark.parametrize("script", ["generate", "repaint"])
def test_reaper_tells_where_the_audio_is_when_its_place_has_gone(tmp_path: Path, script: str) -> None:
    variables = with_path(tmp_path, """echo '{"event": "written", "path": "/made.wav"}'""")
    gone = "reaper.ValidatePtr2 = function() return false end"
    names = {"CHANGES": gone, "RAZOR": '3 4 ""', "ANSWERS": "drums\n\n\n", "SOURCE": "a.wav"}
    calls = run_in_reaper(f"sa3_{script}.lua", tmp_path, variables, **names)
    assert len(messages(calls)) == 1 and "/made.wav" in messages(calls)[0]
    assert not any(call[0] == "begin" for call in calls)


# Ardour ----------------------------------------------------------------------------------------------------------

ARDOUR_STAND_IN = """
local quote, read_file = sa3.quote, sa3.read_file
dofile, require, package, debug, rawget, rawset, coroutine, os.exit = nil  -- as Ardour does for scripts
local calls = {}
local function note(name, ...) calls[#calls + 1] = {name, ...} end
local function samples(value) return {samples = function() return value end} end
local function list(items) return {iter = function()
    local i = 0
    return function() i = i + 1 return items[i] end
end} end
local readable = {n_channels = function() return 2 end, readable_length = function() return 48000 end,
    read = function() return 4096 end}
local region = {isnil = function() return false end, position = function() return samples(96000) end,
    length = function() return samples(48000) end, to_readable = function() return readable end}
region.to_audioregion = function() return region end
ardour = function() end
os.forkexec = function(shell, flag, script) os.execute(shell .. " " .. flag .. " " .. quote(script) .. " &") end
ARDOUR = {user_config_directory = function() return FOLDER end, SrcQuality = {}, MidiTrackNameSource = {},
    MidiTempoMapDisposition = {}, PluginInfo = function() end, Track = function() end,
    LuaAPI = {usleep = function() os.execute("sleep 0.05") end},
    DSP = {DspShm = function() return {to_float = function() return {get_table = function(_, count)
        local zeros = {} for i = 1, count do zeros[i] = 0.25 end return zeros
    end} end} end}}
C = {StringVector = function()
    return {paths = {}, push_back = function(self, path) table.insert(self.paths, path) end}
end}
Editing = {ImportToTrack = "to track", ImportAsTrack = "as track"}
local TICKS_PER_SAMPLE = 127.5 / 60 * 1920 / 48000
local function place(at) return {ticks = function() return math.floor(at * TICKS_PER_SAMPLE) end,
    samples = function() return at end, at = at} end
Temporal = {timepos_t = setmetatable({from_ticks = function(ticks) return place(ticks // TICKS_PER_SAMPLE) end},
        {__call = function(_, at) return place(at) end}),
    TempoMap = {read = function() return {meter_at = function() return {divisions_per_bar = function() return 4 end,
        note_value = function() return 4 end} end, quarters_per_minute_at = function() return 127.5 end,
        tempo_at = function() return {time = function() return place(0) end} end,
        bbt_at = function() return {bars = 2, beats = 1, ticks = 0} end} end}}
Session = {nominal_sample_rate = function() return 48000.0 end, path = function() return FOLDER end,
    locations = function() return {auto_loop_location = function() return nil end} end}
Editor = {get_selection = function() return {
    time = {start_sample = function() return RANGE[1] end, end_sample = function() return RANGE[2] end},
    tracks = {routelist = function() return list({"track"}) end},
    regions = {regionlist = function() return list({region}) end}} end,
    do_import = function(_, files, _, mode, _, _, _, position)
        note("import", mode, position.at, table.unpack(files.paths))
    end}
LuaDialog = {MessageType = {}, ButtonType = {},
    Message = function(_, text) note("message", text) return {run = function() end} end,
    Dialog = function() return {run = function()
        return {prompt = PROMPT, negative_prompt = "", guidance = 0.0, seed = 7.0}
    end} end,
    ProgressWindow = function() return {canceled = function() return CANCEL end, progress = function() end,
        done = function() note("closed") end} end}
loadfile(SCRIPT)()
factory()()
return calls
"""


def run_in_ardour(
    script: str, folder: Path, daemon: RunningDaemon, span: tuple[int, int], prompt: str, cancel: bool = False
) -> list[list[Any]]:
    """Run an EditorAction on a stand-in of Ardour's API, with the real command line and daemon."""
    scripts = folder / "scripts"
    scripts.mkdir()
    for path in (COMMON, *(SCRIPTS / "ardour").glob("*.lua")):
        shutil.copy(path, scripts)
    texts = {"SCRIPT": str(scripts / script), "FOLDER": str(folder), "PROMPT": prompt}
    settings = "".join(f"{name} = {json.dumps(text)}\n" for name, text in texts.items())
    settings += f"RANGE, CANCEL = {{{span[0]}, {span[1]}}}, {str(cancel).lower()}\n"
    calls: list[list[Any]] = run_lua(settings + ARDOUR_STAND_IN, variables=with_program(folder, daemon))
    return calls


def test_ardour_generates_a_range_and_imports_it_at_its_sample(tmp_path: Path, daemon: RunningDaemon) -> None:
    calls = run_in_ardour("sa3_generate.lua", tmp_path, daemon, (96000, 100001), "drums")
    assert [call[0] for call in calls] == ["closed", "import"]
    _, mode, place, path = calls[1]
    assert (mode, place) == ("to track", 96000)
    assert soundfile.info(path).frames == 4001
    assert [found.name for found in (tmp_path / "sa3").iterdir()] == [Path(path).name]  # no traces left


def test_ardour_repaints_the_part_of_a_region_in_the_range(tmp_path: Path, daemon: RunningDaemon) -> None:
    calls = run_in_ardour("sa3_repaint.lua", tmp_path, daemon, (100000, 120000), "drums")
    assert calls[-1][:3] == ["import", "to track", 96000]
    with daemon.client() as client:
        take, job = client.get_take(client.list_takes()[0].take_id)
        assert job.source is not None
        assert np.all(client.get_audio(job.source.audio) == 0.25)
    assert [(region.start_sample, region.end_sample) for region in job.regions] == [(4000, 24000)]
    assert (take.made.num_samples, take.sample_rate, job.seed) == (48000, 48000, 7)


def test_ardour_stops_the_job_when_its_window_is_closed(tmp_path: Path, daemon: RunningDaemon) -> None:
    calls = run_in_ardour("sa3_generate.lua", tmp_path, daemon, (0, 48000), "steps=1000 step_ms=50", cancel=True)
    assert [call[0] for call in calls] == ["closed"]
    with daemon.client() as client:
        wait_for("no job left", lambda: not client.status().jobs)


def test_ardour_asks_for_a_range_when_there_is_none(tmp_path: Path, daemon: RunningDaemon) -> None:
    calls = run_in_ardour("sa3_generate.lua", tmp_path, daemon, (0, 0), "drums")
    assert calls == [["message", "Select a range, or set a loop range, and start this again."]]


ARDOUR_SESSION = """
local sa3 = dofile("{common}")
sa3.ardour = dofile("{ardour}")(sa3)
AudioEngine:set_backend("None (Dummy)", "", "")
local session = create_session("{folder}/session", "session", 48000)
local map = Temporal.TempoMap.write_copy()
map:set_tempo(Temporal.Tempo(127.5, 127.5, 4), Temporal.timepos_t(0))
map:set_meter(Temporal.Meter(7, 8), Temporal.timepos_t(0))
Temporal.TempoMap.update(map)
local file = io.open("{folder}/told", "w")
local function tell(first, last)
    local base = sa3.ardour.new_base(session)
    local request, start_ppq = sa3.ardour.request(session, first, last)
    sa3.ardour.follow_tempo(request, base, first, last, start_ppq)
    request.prompt, request.output = "it's", base .. ".wav"
    file:write(table.concat(sa3.generate_words(request), "\\n"), "\\n\\n")
end
for _, first in ipairs({{0, 79059}}) do tell(first, first + 361412) end
session:new_audio_track(2, 2, nil, 1, "Track", ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal)
local track
for found in session:get_tracks():iter() do track = found:to_track() end
local region = track:bounce_range(0, 10000, ARDOUR.InterThreadInfo(), ARDOUR.LuaAPI.nil_proc(), false, "x")
region = region:to_audioregion()
assert(region:position():samples() == 0 and region:length():samples() == 10000)
sa3.ardour.write_region(region, "{folder}/region.wav", session:nominal_sample_rate())
assert(sa3.ardour.loop_range(session) == nil)
local quarter = function(number) return Temporal.timepos_t.from_ticks(1920 * number) end
map = Temporal.TempoMap.write_copy()
map:set_tempo(Temporal.Tempo(60, 60, 4), quarter(14))
map:set_meter(Temporal.Meter(3, 4), quarter(21))
local slope = map:set_tempo(Temporal.Tempo(90, 90, 4), quarter(24))
map:set_tempo(Temporal.Tempo(120, 120, 4), quarter(30))
map:set_ramped(slope, true)
Temporal.TempoMap.update(map)
tell(quarter(14):samples(), quarter(20):samples())
tell(quarter(7):samples(), quarter(33):samples())
for _, number in ipairs({{7, 14, 24, 27, 30, 33}}) do file:write(quarter(number):samples(), " ") end
file:write("\\n\\nregion written")
file:close()
close_session()
quit()
"""


def test_ardour_gives_the_selections_samples_tempo_metre_and_bar(tmp_path: Path) -> None:
    need({"ardour": "/usr/bin/ardour7-lua"})
    script = tmp_path / "script.lua"
    names = {"common": COMMON, "ardour": SCRIPTS / "ardour" / "sa3_ardour.lua", "folder": tmp_path}
    script.write_text(ARDOUR_SESSION.format(**names))
    variables = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    subprocess.run(["ardour7-lua", str(script)], capture_output=True, env=variables, check=False, timeout=120)
    first, second, third, fourth, places, last = ((tmp_path / "told").read_text()).split("\n\n")
    assert last == "region written" and soundfile.info(tmp_path / "region.wav").frames == 10000
    words = first.split("\n")
    assert " ".join(words[:10]) == "sa3-daw generate --samples 361412 --rate 48000 --start-bar 6720/6720 --prompt it's"
    assert words[10] == "--bpm" and float(words[11]) == pytest.approx(127.5, rel=1e-8)  # as Ardour keeps tempos
    assert words[12:14] == ["--meter", "7/8"] and str(tmp_path / "session" / "sa3") in first
    assert "13440/6720" in second  # 3.5 quarters are one bar of 7/8: 79 058.8 samples
    assert "33600/6720" in third and third.split("\n")[12:14] == ["--meter", "7/8"]
    assert float(third.split("\n")[11]) == pytest.approx(60)  # the change at its start holds, not what was before
    words = fourth.split("\n")
    points = read_points(Path(words[words.index("--tempo-map") + 1]))
    assert "20160/6720" in words and "--bpm" not in words
    assert [(point.position_ppq, point.numerator, point.denominator) for point in points[:4]] == [
        (0, 7, 8), (14, 7, 8), (21, 3, 4), (24, 3, 4),
    ]  # fmt: skip
    assert [point.bpm for point in points[:3]] == pytest.approx([127.5, 60, 60], rel=1e-8)
    slope = [point.bpm for point in points[3:-1]]
    assert len(slope) > 8 and slope == sorted(slope) and 90 < slope[0] < slope[-1] < 120
    assert (points[-1].position_ppq, points[-1].bpm) == (30, 120)
    tempo, start = TempoMap(tuple(points)), int(places.split()[0])
    for number, place in zip((14, 24, 27, 30, 33), places.split()[1:], strict=True):
        made = float(tempo.seconds_at(Fraction(number)) - tempo.seconds_at(Fraction(7)))
        assert made == pytest.approx((int(place) - start) / 48000, abs=5e-5), number
