// A host that changes its tempo while it plays, followed block by block. Knows no host API.
#include <doctest/doctest.h>

#include <cmath>

#include "calm_guard.h"
#include "sa3/tempo_trail.h"
#include "sa3/timeline.h"

namespace {

constexpr double kRate = 48000;

/// Plays a song of two tempos: 120 up to `change_ppq`, then 90.
struct Song {
    sa3::TempoTrail trail;
    double change_ppq = 12.0;

    double bpm_at(double ppq) const { return ppq < change_ppq ? 120.0 : 90.0; }
    double further(double ppq, double seconds) const {
        const double before = std::max(0.0, (change_ppq - ppq) * 60.0 / 120.0);
        if (seconds <= before) return ppq + seconds * 2.0;
        return std::max(ppq, change_ppq) + (seconds - before) * 1.5;
    }
    void play(double from_ppq, double to_ppq, int block) {
        sa3::HostPosition position;
        position.is_playing = true;
        for (double ppq = from_ppq; ppq < to_ppq; ppq = further(ppq, block / kRate)) {
            position.ppq = ppq;
            position.bpm = bpm_at(ppq);
            trail.note(position, kRate, block);
        }
        trail.note({}, kRate, block);
    }
};

}  // namespace

TEST_CASE("a tempo change is found at its place, whatever the blocks") {
    for (const int block : {64, 512, 8193}) {
        Song song;
        sa3::TempoMemory memory;
        song.play(8.0, 16.0, block);
        song.trail.teach(memory);
        const auto points = memory.points(8.0, 16.0);
        REQUIRE(points);
        REQUIRE(points->size() == 2);
        CHECK((*points)[0].position_ppq == 0.0);
        CHECK((*points)[0].bpm == 120.0);
        CHECK((*points)[1].position_ppq == 12.0);
        CHECK((*points)[1].bpm == 90.0);
        const sa3::TempoMap map(*points);
        CHECK(map.sample_at(16.0, 48000) - map.sample_at(8.0, 48000) == 48000 * 2 + 48000 * 8 / 3);
    }
}

TEST_CASE("a range that was played in part has no map, but the other tempo is known") {
    Song song;
    sa3::TempoMemory memory;
    song.play(10.0, 14.0, 256);
    song.trail.teach(memory);
    CHECK_FALSE(memory.points(8.0, 16.0));
    CHECK(memory.has_other_tempo(8.0, 16.0, 120.0));
    CHECK_FALSE(memory.has_other_tempo(8.0, 12.0, 120.0));
    CHECK(memory.bpm_at(13.0) == 90.0);
}

TEST_CASE("what is played again replaces what was known") {
    Song song;
    sa3::TempoMemory memory;
    song.play(8.0, 16.0, 512);
    song.change_ppq = 100.0;
    song.play(7.0, 17.0, 512);
    song.trail.teach(memory);
    const auto points = memory.points(8.0, 16.0);
    REQUIRE(points);
    CHECK(points->size() == 1);
}

TEST_CASE("a ramp becomes few points of the same length") {
    sa3::TempoMemory memory;
    double seconds = 0.0;
    for (int i = 0; i < 2000; ++i) {
        const double bpm = 120.0 + 0.01 * i;
        memory.learn({i / 250.0, (i + 1) / 250.0, bpm, 4, 4});
        seconds += 60.0 / bpm / 250.0;
    }
    const auto points = memory.points(0.0, 8.0);
    REQUIRE(points);
    CHECK(points->size() <= sa3::TempoMemory::kMaxPoints);
    CHECK(sa3::TempoMap(*points).seconds_at(sa3::Rational::exactly(8.0)).to_double() == doctest::Approx(seconds));
}

TEST_CASE("noting the tempo neither allocates nor locks") {
    Song song;
    sa3::HostPosition position;
    position.is_playing = true;
    std::int64_t num_violations = 0;
    {
        const CalmGuard guard;
        for (int block = 0; block < 10000; ++block) {
            position.ppq = block * 0.01;
            position.bpm = block % 3 ? 60.0 : 61.0;
            song.trail.note(position, kRate, 480);
        }
        num_violations = guard.num_violations();
    }
    CHECK(num_violations == 0);
}
