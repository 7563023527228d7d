// Hosts that tell the truth, nonsense and lies. Knows no host API.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "sa3/transport.h"

namespace {

constexpr double kRate = 48000;

sa3::HostPosition at(double ppq, double bpm = 120.0) {
    sa3::HostPosition position;
    position.is_playing = true;
    position.ppq = ppq;
    position.bpm = bpm;
    position.numerator = 4;
    position.denominator = 4;
    return position;
}

}  // namespace

TEST_CASE("the last valid cycle stays when the host drops it") {
    sa3::TransportLatch latch;
    auto position = at(0.0);
    position.is_looping = true;
    position.cycle_start_ppq = 8.0;
    position.cycle_end_ppq = 24.0;
    latch.update(position, kRate, 64);
    CHECK(latch.read().cycle_is_live);
    latch.update(at(0.1), kRate, 64);
    const auto now = latch.read();
    CHECK(now.has_cycle);
    CHECK_FALSE(now.cycle_is_live);
    CHECK(now.cycle_start_ppq == 8.0);
    CHECK(now.cycle_end_ppq == 24.0);
}

TEST_CASE("absurd values never get through and are told") {
    sa3::TransportLatch latch;
    latch.update(at(0.0, 90.0), kRate, 64);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double bpm : {0.0, -1.0, 5e-324, 0.5, 1e9, nan, std::numeric_limits<double>::infinity()}) {
        auto position = at(nan, bpm);
        position.numerator = 0;
        position.is_looping = true;
        position.cycle_start_ppq = 4.0;
        position.cycle_end_ppq = 4.0;
        const auto clean = latch.update(position, kRate, 64);
        CHECK(*clean.bpm == 90.0);
        CHECK_FALSE(clean.ppq.has_value());
        CHECK_FALSE(clean.is_looping);
        const auto now = latch.read();
        CHECK((now.problems & (sa3::kTempoAbsurd | sa3::kMetreAbsurd | sa3::kCycleEmpty | sa3::kPositionAbsurd)) ==
              (sa3::kTempoAbsurd | sa3::kMetreAbsurd | sa3::kCycleEmpty | sa3::kPositionAbsurd));
        CHECK_FALSE(sa3::describe_problems(now.problems).empty());
    }
}

TEST_CASE("a host whose position stands still while it plays is caught, and believed again when it moves") {
    sa3::TransportLatch latch;
    for (int block = 0; block < 40; ++block) latch.update(at(1.0), kRate, 512);
    CHECK((latch.read().problems & sa3::kPositionLies) != 0);
    CHECK_FALSE(latch.update(at(1.0), kRate, 512).ppq.has_value());
    double ppq = 1.0;
    for (int block = 0; block < 100; ++block) latch.update(at(ppq += 512 * 2.0 / kRate), kRate, 512);
    CHECK(latch.read().problems == 0);
    CHECK(latch.read().has_position);
}

TEST_CASE("an honest host is never accused, at any block size") {
    for (const int size : {1, 64, 65, 512, 8192}) {
        sa3::TransportLatch latch;
        double ppq = 0.0;
        for (int block = 0; block < 200; ++block) {
            latch.update(at(ppq), kRate, size);
            ppq += size * 2.0 / kRate;
            REQUIRE(latch.read().problems == 0);
        }
    }
}

TEST_CASE("a host that rounds its position to ticks is followed to the sample") {
    constexpr double kBpm = 127.49999954825681;  // Ardour's 127.5
    for (const double origin_ppq : {0.0, 3.71}) {  // 3.71: a tempo change lies before, so samples and ppq do not match
        for (const int size : {64, 256, 1024}) {
            sa3::TransportLatch latch;
            double first_off = 0.0;
            for (int block = 0; block < 400; ++block) {
                const std::int64_t time = 55058 + block * size;
                const double exact = origin_ppq + static_cast<double>(time) * kBpm / (60 * kRate);
                auto position = at(std::round(exact * sa3::kTicksPerQuarter) / sa3::kTicksPerQuarter, kBpm);
                position.time_samples = time;
                const double off = *latch.update(position, kRate, size).ppq - exact;
                if (block == 0) first_off = off;
                REQUIRE(std::abs(off - first_off) < 1e-9);
            }
            CHECK(std::abs(first_off) < (origin_ppq == 0.0 ? 1e-9 : 1.0 / sa3::kTicksPerQuarter));
        }
    }
}

TEST_CASE("a jump on a host that rounds to ticks is taken at once") {
    sa3::TransportLatch latch;
    latch.update(at(4.0), kRate, 512);
    CHECK(*latch.update(at(12.5), kRate, 512).ppq == 12.5);
}

TEST_CASE("saved state comes back checked") {
    sa3::Transport saved;
    saved.has_cycle = true;
    saved.bpm = 99.0;
    saved.cycle_start_ppq = 4.0;
    saved.cycle_end_ppq = 8.0;
    sa3::TransportLatch latch;
    latch.restore(saved);
    CHECK(latch.read().cycle_end_ppq == 8.0);
    saved.bpm = std::numeric_limits<double>::quiet_NaN();
    sa3::TransportLatch other;
    other.restore(saved);
    CHECK(other.read().bpm == 120.0);
}
