"""The two Ardour scripts inside Ardour's real window: dialog, daemon, and the region where the saved session has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plugin_host_tests.ardour import Ardour, SessionFile, home
from plugin_host_tests.ardour_window import ArdourWindow
from plugin_host_tests.own_host import Samples
from sa3_daw.job import Job
from tests.running_daemon import ROOT, RunningDaemon, environment, wait_for

SCRIPTS = [ROOT / "bridge" / "scripts" / "ardour" / name for name in ("sa3_generate.lua", "sa3_repaint.lua")]
FIRST, LAST = 79059, 237176
MAKE = (
    'session = create_session("{folder}", "session", 48000)',
    "map = Temporal.TempoMap.write_copy()",
    "map:set_tempo(Temporal.Tempo(127.5, 127.5, 4), Temporal.timepos_t(0))",
    "map:set_meter(Temporal.Meter(7, 8), Temporal.timepos_t(0))",
    "Temporal.TempoMap.update(map)",
    "where, mode = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal",
    'for _, name in ipairs({{"Other", "Chosen"}}) do session:new_audio_track(2, 2, nil, 1, name, where, mode) end',
)
CHOOSE_TRACK = """
    for _ = 1, 5 do
        local names = ""
        for route in Editor:get_selection().tracks:routelist():iter() do names = names .. route:name() end
        if names == "Chosen" then break end
        Editor:access_action("Editor", "select-next-route")
    end
"""
CHOOSE_REGION = """
    local chosen = ArdourUI.SelectionList()
    for track in Session:get_tracks():iter() do
        for region in track:to_track():playlist():region_list():iter() do
            chosen:push_back(Editor:regionview_from_region(region))
        end
    end
    Editor:set_selection(chosen, ArdourUI.SelectionOp.Set)
"""


class Outcome:
    """The saved session, and the two jobs with what the daemon made of them: generated, then repainted."""

    def __init__(self, folder: Path, jobs: list[Job], made: list[Samples]) -> None:
        self.session, self.jobs, self.made = SessionFile(folder), jobs, made
        stems = sorted({file.name[:-6] for file in folder.rglob("audiofiles/take-*%L.wav")})
        self.imported = [self.read(folder, stem) for stem in stems]

    def read(self, folder: Path, stem: str) -> Samples:
        files = [next(folder.rglob(f"audiofiles/{stem}%{side}.wav")) for side in "LR"]
        return np.stack([soundfile.read(file, dtype="float32")[0] for file in files])


@pytest.fixture(scope="module")
def outcome(screen: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    folder = tmp_path_factory.mktemp("ardour")
    program = folder / "bin" / "sa3-daw"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sa3_daw "$@"\n')
    program.chmod(0o755)
    session = folder / "session"
    with RunningDaemon(folder / "run") as daemon, daemon.client() as client:
        variables = {**environment(daemon.runtime_dir), **home(folder)}
        variables["PATH"] = f"{program.parent}:{os.environ['PATH']}"
        ardour = Ardour(folder, variables)
        ardour.tell(*(line.format(folder=session) for line in MAKE))
        ardour.close()
        file = SessionFile(session)
        file.set_loop(FIRST / 48000, LAST / 48000)
        file.save()

        with ArdourWindow(session, variables, screen, SCRIPTS, [CHOOSE_TRACK, CHOOSE_REGION]) as window:
            window.help(1)
            window.fill_in(1, "sa3-daw: generate", "house drums", 4)
            wait_for("first take", lambda: len(client.list_takes()) == 1)
            window.help(2)  # runs once the script has ended
            window.fill_in(2, "sa3-daw: repaint", "other drums", 2)
            wait_for("second take", lambda: len(client.list_takes()) == 2)
            window.help(0)
            window.close()
        found = sorted(client.list_takes(), key=lambda take: take.created_seconds)
        yield Outcome(
            session, [client.get_take(take.take_id)[1] for take in found], [client.get_audio(t.audio) for t in found]
        )


def test_the_loop_becomes_a_region_on_the_chosen_track_at_the_exact_sample(outcome: Outcome) -> None:
    generated = outcome.jobs[0]
    assert generated.prompt  # a busy machine loses letters of the simulated keyboard
    assert (generated.num_samples, generated.sample_rate) == (LAST - FIRST, 48000)
    tempo = generated.tempo_map[0]
    assert (tempo.numerator, tempo.denominator) == (7, 8) and tempo.bpm == pytest.approx(127.5, rel=1e-8)
    assert outcome.session.regions_of("Chosen") == [(FIRST, LAST)] and not outcome.session.regions_of("Other")
    assert np.array_equal(outcome.imported[0], outcome.made[0])


def test_the_selected_region_is_repainted_as_a_new_region_at_the_same_place(outcome: Outcome) -> None:
    repainted = outcome.jobs[1]
    assert repainted.prompt
    assert [(region.start_sample, region.end_sample) for region in repainted.regions] == [(0, LAST - FIRST)]
    assert outcome.session.regions_of("take-") == [(FIRST, LAST)]
    assert np.array_equal(outcome.imported[1], outcome.made[1])
