// Musical time -> samples, exactly: equal to sa3_daw/music/timeline.py on every input. Knows no audio and no host.
//
// Positions are quarter notes (ppq) from the timeline's origin. Every double is taken at its exact binary value and
// every sample position is rounded once, half up, so that adjacent ranges tile without gap or overlap.
// Everything here may allocate: [thread-safe, not audio-thread].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sa3/job.h"
#include "sa3/rational.h"

namespace sa3 {

/// Say in one sentence why a tempo map cannot be used (empty, unordered, absurd), naming point and field; nullopt:
/// fine.
std::optional<std::string> check_tempo_map(const std::vector<TempoPoint>& points);

/// Tempo and metre over the timeline; constant between points, the last one in force for ever. Immutable.
class TempoMap {
public:
    /// Throws std::invalid_argument with check_tempo_map's sentence.
    explicit TempoMap(std::vector<TempoPoint> points);

    static TempoMap constant(double bpm, std::int64_t numerator = 4, std::int64_t denominator = 4);

    const std::vector<TempoPoint>& points() const { return points_; }

    /// The exact time of a position; before the origin the first tempo holds.
    Rational seconds_at(const Rational& ppq) const;
    /// The exact position of a time, the inverse of seconds_at.
    Rational ppq_at(const Rational& seconds) const;
    /// The sample of a position, rounded once, half up. Throws std::overflow_error beyond 64 bits.
    std::int64_t sample_at(const Rational& ppq, std::int64_t sample_rate) const;
    std::int64_t sample_at(double ppq, std::int64_t sample_rate) const;
    /// Tempo and metre in force at a position.
    const TempoPoint& point_at(const Rational& ppq) const;
    /// Which bar a position lies in, counted from 0, with its share of that bar.
    Rational bar_at(const Rational& ppq) const;
    /// Where a bar (counted from 0, fractions allowed) starts.
    Rational ppq_of_bar(const Rational& bar) const;

private:
    struct Segment {
        Rational ppq, seconds, bar, seconds_per_quarter, quarters_per_bar;
    };
    const Segment& in_force(Rational Segment::*start, const Rational& position) const;

    std::vector<TempoPoint> points_;
    std::vector<Segment> segments_;
};

/// What a selection comes to: exactly what a job made from it will be.
struct Selection {
    double start_ppq = 0.0;
    double end_ppq = 0.0;
    std::int64_t start_sample = 0;
    std::int64_t num_samples = 0;
    double num_bars = 0.0;
    double seconds = 0.0;
    double start_bar = 0.0;  // counted from 0
};

/// A selection, or why there is none: one sentence for a person in `problem`, empty when `selection` can be used.
struct SelectionResult {
    Selection selection;
    std::string problem;
};

/// The range [start_ppq, end_ppq), for example the host's cycle.
SelectionResult select_ppq(const TempoMap& map, double start_ppq, double end_ppq, std::int64_t sample_rate);
/// `num_bars` bars (fractions allowed) from the bar line at or before `from_ppq`.
SelectionResult select_bars(const TempoMap& map, double from_ppq, double num_bars, std::int64_t sample_rate);
/// `seconds` from `from_ppq` on.
SelectionResult select_seconds(const TempoMap& map, double from_ppq, double seconds, std::int64_t sample_rate);

}  // namespace sa3
