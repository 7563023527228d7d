// Noting stretches on the audio thread, joining them on the message thread. Knows no host API.
#include "sa3/tempo_trail.h"

#include <algorithm>
#include <cmath>

#include "motion.h"

namespace sa3 {
namespace {

constexpr double kJumpSeconds = 0.015;
constexpr double kGapPpq = 1e-6;
constexpr double kGridPpq = 1.0 / 3840.0;
constexpr std::size_t kMaxStretches = 4096;

/// A place computed from rounded positions is put back on the grid it lies on.
double on_grid(double ppq) SA3_NONBLOCKING {
    const double near = std::round(ppq / kGridPpq) * kGridPpq;
    return std::abs(near - ppq) < kGapPpq ? near : ppq;
}

double minutes_of(const TempoStretch& stretch) { return (stretch.end_ppq - stretch.start_ppq) / stretch.bpm; }

/// One stretch as long as all of [first, last) together.
TempoStretch mean_of(std::vector<TempoStretch>::const_iterator first, std::vector<TempoStretch>::const_iterator last) {
    auto mean = *first;
    double minutes = 0.0;
    for (auto each = first; each != last; ++each) minutes += minutes_of(*each);
    mean.end_ppq = std::prev(last)->end_ppq;
    if (last - first > 1) mean.bpm = (mean.end_ppq - mean.start_ppq) / minutes;
    return mean;
}

}  // namespace

void TempoMemory::learn(const TempoStretch& stretch) {
    if (stretch.end_ppq <= stretch.start_ppq) return;
    if (stretches_.size() > kMaxStretches) forget();
    std::vector<TempoStretch> kept;
    for (const auto& old : stretches_) {
        auto before = old, after = old;
        before.end_ppq = std::min(old.end_ppq, stretch.start_ppq);
        after.start_ppq = std::max(old.start_ppq, stretch.end_ppq);
        if (before.end_ppq > before.start_ppq) kept.push_back(before);
        if (after.end_ppq > after.start_ppq) kept.push_back(after);
    }
    const auto place = std::find_if(kept.begin(), kept.end(), [&stretch](const TempoStretch& each) {
        return each.start_ppq >= stretch.end_ppq;
    });
    kept.insert(place, stretch);
    stretches_.clear();
    for (const auto& each : kept) {
        auto* last = stretches_.empty() ? nullptr : &stretches_.back();
        if (last && last->has_tempo_of(each) && each.start_ppq - last->end_ppq < kGapPpq)
            last->end_ppq = each.end_ppq;
        else
            stretches_.push_back(each);
    }
}

std::optional<double> TempoMemory::bpm_at(double ppq) const {
    for (const auto& each : stretches_)
        if (each.start_ppq <= ppq && ppq < each.end_ppq) return each.bpm;
    return std::nullopt;
}

std::vector<TempoStretch> TempoMemory::inside(double start_ppq, double end_ppq) const {
    std::vector<TempoStretch> found;
    for (auto each : stretches_) {
        each.start_ppq = std::max(each.start_ppq, start_ppq);
        each.end_ppq = std::min(each.end_ppq, end_ppq);
        if (each.end_ppq > each.start_ppq) found.push_back(each);
    }
    return found;
}

bool TempoMemory::has_other_tempo(double start_ppq, double end_ppq, double bpm) const {
    const auto known = inside(start_ppq, end_ppq);
    return std::any_of(known.begin(), known.end(), [bpm](const TempoStretch& each) {
        return each.end_ppq - each.start_ppq > kGapPpq && std::abs(each.bpm - bpm) > 1e-6;
    });
}

std::optional<std::vector<TempoPoint>> TempoMemory::points(double start_ppq, double end_ppq) const {
    const auto is_whole = [](const std::vector<TempoStretch>& known, double start, double end) {
        for (const auto& each : known) {
            if (each.start_ppq - start > kGapPpq) return false;
            start = each.end_ppq;
        }
        return end - start < kGapPpq;
    };
    auto known = inside(0.0, end_ppq);
    if (!is_whole(known, 0.0, end_ppq)) known = inside(start_ppq, end_ppq);
    if (known.empty() || !is_whole(known, std::min(start_ppq, known.front().start_ppq), end_ppq)) return std::nullopt;
    const auto step = (known.size() + kMaxPoints - 1) / kMaxPoints;
    std::vector<TempoPoint> points;
    for (std::size_t i = 0; i < known.size(); i += step) {
        const auto first = known.cbegin() + static_cast<std::ptrdiff_t>(i);
        const auto last = known.cbegin() + static_cast<std::ptrdiff_t>(std::min(known.size(), i + step));
        const auto mean = mean_of(first, last);
        points.push_back({points.empty() ? 0.0 : mean.start_ppq, mean.bpm, mean.numerator, mean.denominator});
    }
    return points;
}

void TempoTrail::finish() SA3_NONBLOCKING {
    if (is_running_) finished_.push(now_);
    is_running_ = false;
}

/// Where between the last block's start and this one's the tempo changed: where both parts add up to the time between.
double TempoTrail::change_ppq(double ppq, double bpm) const SA3_NONBLOCKING {
    const double slowness = 60.0 / now_.bpm - 60.0 / bpm;
    if (std::abs(slowness) < 1e-12) return ppq;
    const double place = (block_seconds_ + block_ppq_ * 60.0 / now_.bpm - ppq * 60.0 / bpm) / slowness;
    return on_grid(std::min(std::max(place, std::max(block_ppq_, now_.start_ppq)), ppq));
}

void TempoTrail::note(const HostPosition& position, double sample_rate, int num_samples) SA3_NONBLOCKING {
    if (!position.is_playing || !position.ppq || sample_rate <= 0 || num_samples <= 0) {
        finish();
        return;
    }
    const double ppq = *position.ppq, bpm = position.bpm.value_or(kFallbackBpm);
    TempoStretch here{ppq, ppq, bpm, position.numerator.value_or(4), position.denominator.value_or(4)};
    if (is_running_) {
        const double slow = block_ppq_ + block_seconds_ * std::min(bpm, now_.bpm) / 60.0;
        const double fast = block_ppq_ + block_seconds_ * std::max(bpm, now_.bpm) / 60.0;
        const double tolerance = kJumpSeconds * bpm / 60.0;
        const bool runs_on = ppq >= slow - tolerance && ppq <= fast + tolerance;
        if (!runs_on) {
            finish();
        } else if (!now_.has_tempo_of(here)) {
            here.start_ppq = change_ppq(ppq, bpm);
            now_.end_ppq = here.start_ppq;
            finish();
        } else {
            here.start_ppq = now_.start_ppq;
        }
    }
    const int num_before_wrap = samples_to_wrap(position, sample_rate, num_samples);
    here.end_ppq = ppq + num_before_wrap / sample_rate * bpm / 60.0;
    if (num_before_wrap < num_samples) here.end_ppq = *position.cycle_end_ppq;
    now_ = here;
    is_running_ = true;
    block_ppq_ = ppq;
    block_seconds_ = num_samples / sample_rate;
    running_.write(now_);
    if (num_before_wrap < num_samples) finish();
}

void TempoTrail::teach(TempoMemory& memory) {
    const auto running = running_.read();
    TempoStretch stretch;
    while (finished_.pop(stretch)) memory.learn(stretch);
    const bool is_news = !running.has_tempo_of(taught_) || running.start_ppq != taught_.start_ppq ||
                         running.end_ppq != taught_.end_ppq;
    if (is_news) memory.learn(running);
    taught_ = running;
}

}  // namespace sa3
