// The arithmetic of plans. Knows no daemon and no window.
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>

namespace sa3::plugin {

namespace {

constexpr std::int64_t kFallbackRate = 48000;

SelectionResult select(const Recipe& recipe, const Transport& transport, double anchor_ppq, const TempoMap& map,
                       std::int64_t rate, const CapturedPlace& captured) {
    switch (recipe.mode()) {
        case RangeMode::kCycle:
            if (!transport.has_cycle) return {{}, "The host has shown no cycle yet: set its loop, or choose Bars."};
            return select_ppq(map, transport.cycle_start_ppq, transport.cycle_end_ppq, rate);
        case RangeMode::kBars: return select_bars(map, anchor_ppq, recipe.num_bars, rate);
        case RangeMode::kSeconds: return select_seconds(map, anchor_ppq, recipe.seconds, rate);
        case RangeMode::kCaptured: break;
    }
    if (captured.num_samples == 0) return {{}, "Nothing is captured yet: press Capture and let the track play."};
    const double quarters = static_cast<double>(captured.num_samples) / static_cast<double>(rate) * captured.bpm / 60.0;
    auto result = select_ppq(map, captured.start_ppq, captured.start_ppq + quarters, rate);
    result.selection.num_samples = captured.num_samples;
    return result;
}

}  // namespace

std::int64_t job_rate(double host_rate, const std::vector<std::int64_t>& rates) {
    const auto rounded = static_cast<std::int64_t>(std::llround(host_rate));
    return std::find(rates.begin(), rates.end(), rounded) != rates.end() ? rounded : kFallbackRate;
}

Plan make_plan(const Recipe& recipe, const Transport& transport, double anchor_ppq, std::int64_t sample_rate,
               const CapturedPlace& captured) {
    const bool is_captured = recipe.mode() == RangeMode::kCaptured && captured.num_samples > 0;
    Plan plan;
    plan.sample_rate = is_captured ? captured.sample_rate : sample_rate;
    plan.bpm = is_captured ? captured.bpm : transport.bpm;
    plan.numerator = is_captured ? captured.numerator : transport.numerator;
    plan.denominator = is_captured ? captured.denominator : transport.denominator;
    try {
        const auto map = TempoMap::constant(plan.bpm, plan.numerator, plan.denominator);
        const auto result = select(recipe, transport, anchor_ppq, map, plan.sample_rate, captured);
        plan.selection = result.selection;
        plan.problem = result.problem;
    } catch (const std::exception& error) {
        plan.problem = error.what();
    }
    if (plan.problem.empty() && plan.selection.start_sample < 0)
        plan.problem = "The range starts before the timeline's beginning.";
    return plan;
}

std::string describe(const Plan& plan) {
    if (!plan.problem.empty()) return plan.problem;
    char text[200];
    const auto& selection = plan.selection;
    std::snprintf(text, sizeof text, "Bar %.4g to %.4g  |  %.4g bars of %d/%d at %.6g BPM  |  %.3f s  |  %lld samples at %lld Hz",
                  selection.start_bar + 1.0, selection.start_bar + 1.0 + selection.num_bars, selection.num_bars,
                  static_cast<int>(plan.numerator), static_cast<int>(plan.denominator), plan.bpm, selection.seconds,
                  static_cast<long long>(selection.num_samples), static_cast<long long>(plan.sample_rate));
    return text;
}

}  // namespace sa3::plugin
