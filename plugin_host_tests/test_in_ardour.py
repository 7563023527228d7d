"""The plugin on a track of a real Ardour without a window: tempo, metre and loop reach the job, the take the tape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from plugin_host_tests.ardour import Ardour, SessionFile, home, scan
from plugin_host_tests.own_host import Samples
from sa3_daw.job import Job
from tests.running_daemon import RunningDaemon, environment, wait_for

RATE = 48000
BPM = 127.49999954825681  # what Ardour makes of 127.5
FIRST_PPQ, END_PPQ = 3.5, 10.5  # bars 2 and 3 of 7/8
LEAD_SAMPLES = 24000
GENERATE = 6
RECIPE = {"prompt": "house drums", "seed": 5, "seed_locked": True, "steps": 2, "range_mode": 0}
MAKE = (
    'session = create_session("{folder}", "session", 48000)',
    "map = Temporal.TempoMap.write_copy()",
    "map:set_tempo(Temporal.Tempo(127.5, 127.5, 4), Temporal.timepos_t(0))",
    "map:set_meter(Temporal.Meter(7, 8), Temporal.timepos_t(0))",
    "Temporal.TempoMap.update(map)",
    "where, mode = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal",
    'for _, name in ipairs({{"Source", "Tape"}}) do session:new_audio_track(2, 2, nil, 1, name, where, mode) end',
    'plugin = ARDOUR.LuaAPI.new_plugin(session, "sa3-daw", ARDOUR.PluginType.VST3, "")',
    'for track in session:get_tracks():iter() do if track:name() == "Source" then source = track end end',
    "assert(source:add_processor_by_index(plugin, 0, nil, true) == 0)",
)
OPEN = (
    'session = load_session("{folder}", "session")',
    "tracks = {{}}",
    "for track in session:get_tracks():iter() do tracks[track:name()] = track end",
    "plugin = tracks.Source:nth_plugin(0)",
)
RECORD = (
    "for c = 0, 1 do tracks.Source:output():audio(c):connect(tracks.Tape:input():audio(c):name()) end",
    "tracks.Tape:to_track():rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)",
    "session:maybe_enable_record(false)",
)


class Recording:
    """What one run of a session left: the job, the daemon's audio and the tape."""

    def __init__(self, job: Job, made: Samples, folder: Path) -> None:
        self.job, self.made = job, made
        self.session = SessionFile(folder)
        files = sorted(folder.rglob("Take*.wav"))
        self.tape = np.stack([soundfile.read(file, dtype="float32")[0] for file in files])


def make_session(plugin: Path, folder: Path, variables: dict[str, str]) -> Path:
    scan(plugin, variables)
    place = folder / "session"
    ardour = Ardour(folder, variables)
    ardour.tell(*(line.format(folder=place) for line in MAKE))
    ardour.close()
    return place


@pytest.fixture(scope="module")
def recording(plugin: Path, daemon: RunningDaemon, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Generate over the loop of a session, then record the plugin's track onto another."""
    folder = tmp_path_factory.mktemp("ardour")
    variables = {**environment(daemon.runtime_dir), **home(folder)}
    place = make_session(plugin, folder, variables)
    file = SessionFile(place)
    state = file.plugin_state()
    parameters = {**state["parameters"], "match_loudness": 0}
    file.set_plugin_state({**state, "recipe": {**state["recipe"], **RECIPE}, "parameters": parameters})
    file.set_loop(FIRST_PPQ * 60 / BPM, END_PPQ * 60 / BPM)
    file.save()

    daemon.engine_pid()
    ardour = Ardour(folder, variables)
    with daemon.client() as client:
        ardour.tell(*(line.format(folder=place) for line in OPEN))
        ardour.tell("session:request_play_loop(true, false)")
        wait_for("loop", lambda: ardour.place() > FIRST_PPQ * 60 / BPM * RATE + RATE)
        ardour.tell(f"ARDOUR.LuaAPI.set_processor_param(plugin, {GENERATE}, 1)")
        wait_for("take", lambda: bool(client.list_takes()))
        ardour.stop()
        ardour.tell(*RECORD)
        ardour.roll(round(FIRST_PPQ * 60 / BPM * RATE) - LEAD_SAMPLES)
        wait_for("end of the loop", lambda: ardour.place() > END_PPQ * 60 / BPM * RATE + LEAD_SAMPLES)
        ardour.stop()
        ardour.close()
        take, job = client.get_take(client.list_takes()[0].take_id)
        return Recording(job, client.get_audio(take.audio), place)


def test_tempo_metre_and_loop_of_ardour_are_the_jobs(recording: Recording) -> None:
    tempo = recording.job.tempo_map[0]
    first, end = (round(ppq * 60 / BPM * RATE) for ppq in (FIRST_PPQ, END_PPQ))
    assert (tempo.bpm, tempo.numerator, tempo.denominator) == (BPM, 7, 8)
    assert (recording.job.start_sample, recording.job.num_samples) == (first, end - first)
    assert recording.job.prompt == "house drums"


def test_the_recorded_track_holds_the_take_sample_for_sample(recording: Recording) -> None:
    """Ardour tells positions in ticks of 12 samples; the take lies where the job said nevertheless, in one piece."""
    (start, _), *_ = recording.session.regions_of("Tape")
    at = recording.job.start_sample - start
    assert np.array_equal(recording.tape[:, at : at + recording.job.num_samples], recording.made)
    assert not recording.tape[:, : at - 480].any()


def test_the_saved_session_knows_the_take(recording: Recording) -> None:
    state = recording.session.plugin_state()
    assert len(state["takes"]) == 1 and state["recipe"]["prompt"] == "house drums"
