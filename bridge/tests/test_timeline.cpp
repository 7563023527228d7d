// Exact tempo arithmetic by hand; tests/test_bridge_probe.py compares thousands of cases with Python. Knows no host.
#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>

#include "sa3/timeline.h"

using sa3::Rational;
using sa3::TempoMap;

TEST_CASE("whole numbers of any size divide downwards") {
    const auto big = sa3::BigInt::power_of_two(200);
    const auto odd = sa3::BigInt(3) * sa3::BigInt::power_of_two(90) + sa3::BigInt(7);
    const auto quotient = floor_divide(big, odd);
    CHECK(compare(quotient * odd, big) <= 0);
    CHECK(compare((quotient + sa3::BigInt(1)) * odd, big) > 0);
    CHECK(floor_divide(sa3::BigInt(-7), sa3::BigInt(2)).to_int64() == -4);
    CHECK(sa3::BigInt(INT64_MIN).to_int64() == INT64_MIN);
}

TEST_CASE("halves round up at any sign") {
    CHECK(Rational::exactly(2.5).round_half_up() == 3);
    CHECK(Rational::exactly(-2.5).round_half_up() == -2);
    CHECK_THROWS_AS(Rational::exactly(1e300).round_half_up(), std::overflow_error);
}

TEST_CASE("a bar of 7/8 at 90.25 BPM is exact to the sample") {
    const auto result = sa3::select_bars(TempoMap::constant(90.25, 7, 8), 0.0, 1, 48000);
    CHECK(result.problem.empty());
    CHECK(result.selection.num_samples == 111690);  // 3.5 * 60 / 90.25 * 48000 = 111 689.75
}

TEST_CASE("adjacent ranges tile") {
    const auto map = TempoMap::constant(127.3);
    std::int64_t end = 0;
    for (int bar = 0; bar < 500; ++bar) {
        const auto selection = sa3::select_ppq(map, 4.0 * bar, 4.0 * (bar + 1), 44100).selection;
        REQUIRE(selection.start_sample == end);
        end = selection.start_sample + selection.num_samples;
    }
}

TEST_CASE("a metre change starts a bar and cuts the one before short") {
    const TempoMap map({{0.0, 120.0, 4, 4}, {6.0, 120.0, 3, 4}});
    CHECK(map.bar_at(Rational(6)).to_double() == 2.0);
    CHECK(map.ppq_of_bar(Rational(2)).to_double() == 6.0);
    CHECK(map.ppq_of_bar(Rational(3)).to_double() == 9.0);
}

TEST_CASE("unusable maps and ranges are told in words") {
    CHECK_THROWS_AS(TempoMap({}), std::invalid_argument);
    CHECK_THROWS_AS(TempoMap::constant(0.0), std::invalid_argument);
    CHECK_THROWS_AS(TempoMap::constant(120.0, 4, 3), std::invalid_argument);
    const auto map = TempoMap::constant(120.0);
    CHECK_FALSE(sa3::select_ppq(map, 4.0, 4.0, 48000).problem.empty());
    CHECK_FALSE(sa3::select_ppq(map, -4.0, 4.0, 48000).problem.empty());
    CHECK_FALSE(sa3::select_ppq(map, 0.0, std::numeric_limits<double>::quiet_NaN(), 48000).problem.empty());
    CHECK_FALSE(sa3::select_bars(map, 0.0, -1, 48000).problem.empty());
    CHECK(sa3::select_seconds(map, 2.0, 1.0, 48000).selection.num_samples == 48000);
}
