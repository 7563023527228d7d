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

/// Take the tempo map of the range from what was played there; false: the plan stays as it is.
bool follow_memory(const TempoMemory& memory, double bpm, Plan& plan) {
    const auto& range = plan.selection;
    const auto known = memory.points(range.start_ppq, range.end_ppq);
    if (known && known->size() > 1) {
        plan.tempo_map = *known;
        return true;
    }
    if (!known && memory.has_other_tempo(range.start_ppq, range.end_ppq, bpm))
        plan.warning = "The tempo changes here: play the range through once.";
    return false;
}

TempoPoint tempo_at(const Plan& plan) {
    return TempoMap(plan.tempo_map).point_at(Rational::exactly(plan.selection.start_ppq));
}

}  // namespace

std::int64_t job_rate(double host_rate, const std::vector<std::int64_t>& rates) {
    const auto rounded = static_cast<std::int64_t>(std::llround(host_rate));
    return std::find(rates.begin(), rates.end(), rounded) != rates.end() ? rounded : kFallbackRate;
}

Plan make_plan(const Recipe& recipe, const Transport& transport, const TempoMemory& memory, double anchor_ppq,
               std::int64_t sample_rate, const CapturedPlace& captured) {
    const bool is_captured = recipe.mode() == RangeMode::kCaptured && captured.num_samples > 0;
    Plan plan;
    plan.sample_rate = is_captured ? captured.sample_rate : sample_rate;
    plan.tempo_map = {is_captured ? TempoPoint{0.0, captured.bpm, captured.numerator, captured.denominator}
                                  : TempoPoint{0.0, transport.bpm, transport.numerator, transport.denominator}};
    const auto fill = [&] {
        const auto result =
            select(recipe, transport, anchor_ppq, TempoMap(plan.tempo_map), plan.sample_rate, captured);
        plan.selection = result.selection;
        plan.problem = result.problem;
    };
    try {
        fill();
        if (!is_captured && plan.problem.empty() && follow_memory(memory, transport.bpm, plan)) fill();
    } catch (const std::exception& error) {
        plan.problem = error.what();
    }
    if (plan.problem.empty() && plan.selection.start_sample < 0)
        plan.problem = "The range starts before the timeline's beginning.";
    return plan;
}

std::string describe(const Plan& plan) {
    if (!plan.problem.empty()) return plan.problem;
    char place[160], length[80], tempo[60];
    const auto& selection = plan.selection;
    const auto& last = plan.tempo_map.back();
    const auto at_start = tempo_at(plan);
    if (last.bpm == at_start.bpm)
        std::snprintf(tempo, sizeof tempo, "%.6g BPM", at_start.bpm);
    else
        std::snprintf(tempo, sizeof tempo, "%.6g to %.6g BPM", at_start.bpm, last.bpm);
    std::snprintf(place, sizeof place, "Bar %.4g to %.4g  |  %.4g bars of %d/%d at %s", selection.start_bar + 1.0,
                  selection.start_bar + 1.0 + selection.num_bars, selection.num_bars, static_cast<int>(at_start.numerator),
                  static_cast<int>(at_start.denominator), tempo);
    std::snprintf(length, sizeof length, "%.3f s  |  %lld samples at %lld Hz", selection.seconds,
                  static_cast<long long>(selection.num_samples), static_cast<long long>(plan.sample_rate));
    return place + ("\n" + (plan.warning.empty() ? std::string(length) : plan.warning));
}

}  // namespace sa3::plugin
