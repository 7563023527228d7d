// Tempo maps and selections in exact fractions. Knows no audio and no host.
#include "sa3/timeline.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace sa3 {
namespace {

constexpr double kMaxBpm = 1000.0;
constexpr std::int64_t kMaxNumerator = 64;
constexpr std::size_t kMaxPoints = 2000;
constexpr std::int64_t kMaxStartSample = std::int64_t{1} << 53;

std::optional<std::string> check_point(const TempoPoint& point, const std::string& where) {
    if (!(std::isfinite(point.bpm) && point.bpm > 0 && point.bpm <= kMaxBpm))
        return where + ".bpm must be above 0, at most 1000";
    if (point.numerator < 1 || point.numerator > kMaxNumerator) return where + " numerator must be 1 to 64";
    for (const std::int64_t denominator : {1, 2, 4, 8, 16, 32})
        if (point.denominator == denominator) return std::nullopt;
    return where + " denominator must be 1, 2, 4, 8, 16 or 32";
}

SelectionResult problem(std::string text) { return {{}, std::move(text)}; }

SelectionResult select(const TempoMap& map, const Rational& start, const Rational& end, std::int64_t sample_rate) {
    if (end <= start) return problem("The range is empty.");
    try {
        Selection selection;
        selection.start_ppq = start.to_double();
        selection.end_ppq = end.to_double();
        selection.start_sample = map.sample_at(start, sample_rate);
        selection.num_samples = map.sample_at(end, sample_rate) - selection.start_sample;
        selection.start_bar = map.bar_at(start).to_double();
        selection.num_bars = (map.bar_at(end) - map.bar_at(start)).to_double();
        selection.seconds = static_cast<double>(selection.num_samples) / static_cast<double>(sample_rate);
        if (selection.start_sample < 0) return problem("The range starts before the song does.");
        if (selection.start_sample > kMaxStartSample) return problem("The range lies too far out in the song.");
        if (selection.num_samples < 1) return problem("The range is shorter than one sample.");
        return {selection, ""};
    } catch (const std::overflow_error&) {
        return problem("The range lies too far out in the song.");
    }
}

}  // namespace

std::optional<std::string> check_tempo_map(const std::vector<TempoPoint>& points) {
    if (points.empty() || points.size() > kMaxPoints) return "tempo_map must have 1 to 2000 points";
    for (std::size_t i = 0; i < points.size(); ++i) {
        const auto where = "tempo_map[" + std::to_string(i) + "]";
        const auto ppq = points[i].position_ppq;
        if (!std::isfinite(ppq) || (i == 0 && ppq != 0))
            return where + ".position_ppq must be 0 for the first point, finite for all";
        if (i > 0 && ppq <= points[i - 1].position_ppq)
            return where + ".position_ppq must be above the previous point's";
        if (auto found = check_point(points[i], where)) return found;
    }
    return std::nullopt;
}

TempoMap::TempoMap(std::vector<TempoPoint> points) : points_(std::move(points)) {
    if (const auto found = check_tempo_map(points_)) throw std::invalid_argument(*found);
    for (const auto& point : points_) {
        Segment segment;
        segment.ppq = Rational::exactly(point.position_ppq);
        segment.seconds_per_quarter = Rational(60) / Rational::exactly(point.bpm);
        segment.quarters_per_bar = Rational(4 * point.numerator) / Rational(point.denominator);
        if (!segments_.empty()) {
            const auto& last = segments_.back();
            const auto& before = points_[segments_.size() - 1];
            const auto quarters = segment.ppq - last.ppq;
            const auto bars = quarters / last.quarters_per_bar;
            const bool same_metre = point.numerator == before.numerator && point.denominator == before.denominator;
            segment.seconds = last.seconds + quarters * last.seconds_per_quarter;
            segment.bar = last.bar + (same_metre ? bars : Rational(bars.ceil(), 1));
        }
        segments_.push_back(std::move(segment));
    }
}

TempoMap TempoMap::constant(double bpm, std::int64_t numerator, std::int64_t denominator) {
    return TempoMap({TempoPoint{0.0, bpm, numerator, denominator}});
}

const TempoMap::Segment& TempoMap::in_force(Rational Segment::*start, const Rational& position) const {
    const auto after =
        std::upper_bound(segments_.begin(), segments_.end(), position,
                         [start](const Rational& wanted, const Segment& segment) { return wanted < segment.*start; });
    return after == segments_.begin() ? segments_.front() : *std::prev(after);
}

Rational TempoMap::seconds_at(const Rational& ppq) const {
    const auto& segment = in_force(&Segment::ppq, ppq);
    return segment.seconds + (ppq - segment.ppq) * segment.seconds_per_quarter;
}

Rational TempoMap::ppq_at(const Rational& seconds) const {
    const auto& segment = in_force(&Segment::seconds, seconds);
    return segment.ppq + (seconds - segment.seconds) / segment.seconds_per_quarter;
}

std::int64_t TempoMap::sample_at(const Rational& ppq, std::int64_t sample_rate) const {
    return (seconds_at(ppq) * Rational(sample_rate)).round_half_up();
}

std::int64_t TempoMap::sample_at(double ppq, std::int64_t sample_rate) const {
    return sample_at(Rational::exactly(ppq), sample_rate);
}

const TempoPoint& TempoMap::point_at(const Rational& ppq) const {
    return points_[static_cast<std::size_t>(&in_force(&Segment::ppq, ppq) - segments_.data())];
}

Rational TempoMap::bar_at(const Rational& ppq) const {
    const auto& segment = in_force(&Segment::ppq, ppq);
    return segment.bar + (ppq - segment.ppq) / segment.quarters_per_bar;
}

Rational TempoMap::ppq_of_bar(const Rational& bar) const {
    const auto& segment = in_force(&Segment::bar, bar);
    auto ppq = segment.ppq + (bar - segment.bar) * segment.quarters_per_bar;
    const auto next = static_cast<std::size_t>(&segment - segments_.data()) + 1;
    return next < segments_.size() && segments_[next].ppq < ppq ? segments_[next].ppq : ppq;
}

SelectionResult select_ppq(const TempoMap& map, double start_ppq, double end_ppq, std::int64_t sample_rate) {
    if (!std::isfinite(start_ppq) || !std::isfinite(end_ppq)) return problem("The host's range is not a number.");
    return select(map, Rational::exactly(start_ppq), Rational::exactly(end_ppq), sample_rate);
}

SelectionResult select_bars(const TempoMap& map, double from_ppq, double num_bars, std::int64_t sample_rate) {
    if (!std::isfinite(from_ppq) || !std::isfinite(num_bars)) return problem("The number of bars is not a number.");
    const Rational first_bar(map.bar_at(Rational::exactly(from_ppq)).floor(), 1);
    const auto end_bar = first_bar + Rational::exactly(num_bars);
    return select(map, map.ppq_of_bar(first_bar), map.ppq_of_bar(end_bar), sample_rate);
}

SelectionResult select_seconds(const TempoMap& map, double from_ppq, double seconds, std::int64_t sample_rate) {
    if (!std::isfinite(from_ppq) || !std::isfinite(seconds)) return problem("The number of seconds is not a number.");
    const auto start = Rational::exactly(from_ppq);
    return select(map, start, map.ppq_at(map.seconds_at(start) + Rational::exactly(seconds)), sample_rate);
}

}  // namespace sa3
