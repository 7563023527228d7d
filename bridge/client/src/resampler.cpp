// The windowed-sinc table and its use. Knows no take and no thread.
#include "sa3/resampler.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace sa3 {
namespace {

constexpr int kBaseTaps = 32;
constexpr int kMaxTaps = 256;
constexpr int kLanes = 4;        // sums side by side: what a processor adds at once
constexpr int kMaxSpan = 1024;   // source samples fetched at once
constexpr double kKaiserBeta = 9.0;  // about -90 dB beside the pass band
constexpr double kPi = 3.14159265358979323846;

double bessel_i0(double x) {
    double sum = 1.0, term = 1.0;
    for (int k = 1; k < 50; ++k) {
        term *= x / (2.0 * k) * (x / (2.0 * k));
        sum += term;
    }
    return sum;
}

double windowed_sinc(double distance, double cutoff, double half_width) {
    const double in_window = distance / half_width;
    if (std::abs(in_window) >= 1.0) return 0.0;
    const double window = bessel_i0(kKaiserBeta * std::sqrt(1.0 - in_window * in_window)) / bessel_i0(kKaiserBeta);
    const double x = kPi * cutoff * distance;
    return window * cutoff * (std::abs(x) < 1e-9 ? 1.0 : std::sin(x) / x);
}

/// Copy [first, first + count) of both channels, around the loop where there is one.
void fetch(const TakeAudio& audio, std::int64_t first, std::int64_t count, std::int64_t loop_samples, float* left,
           float* right) SA3_NONBLOCKING {
    for (std::int64_t done = 0; done < count;) {
        auto at = first + done;
        auto num_here = count - done;
        if (loop_samples > 0) {
            at = (at % loop_samples + loop_samples) % loop_samples;
            num_here = std::min(num_here, loop_samples - at);
        }
        audio.read(0, at, num_here, left + done);
        audio.read(1, at, num_here, right + done);
        done += num_here;
    }
}

}  // namespace

SincTable::SincTable(double source_rate, double target_rate) {
    const double down = std::max(1.0, source_rate / target_rate);
    num_taps_ = std::min(kMaxTaps, kLanes * static_cast<int>(std::ceil(kBaseTaps / kLanes * down)));
    const double cutoff = 0.92 / down;
    taps_.resize(static_cast<std::size_t>((kNumPhases + 1) * num_taps_));
    for (int phase = 0; phase <= kNumPhases; ++phase) {
        auto* row = taps_.data() + phase * num_taps_;
        double sum = 0.0;
        for (int tap = 0; tap < num_taps_; ++tap) {
            const double distance = tap - (num_taps_ / 2 - 1) - static_cast<double>(phase) / kNumPhases;
            const double value = windowed_sinc(distance, cutoff, num_taps_ / 2.0);
            row[tap] = static_cast<float>(value);
            sum += value;
        }
        for (int tap = 0; tap < num_taps_; ++tap) row[tap] = static_cast<float>(row[tap] / sum);
    }
}

void SincTable::convolve(const float* left, const float* right, double phase, float* left_out,
                         float* right_out) const SA3_NONBLOCKING {
    const double row = std::min(std::floor(phase * kNumPhases), kNumPhases - 1.0);
    const auto share = static_cast<float>(phase * kNumPhases - row);
    const auto* lower = taps_.data() + static_cast<int>(row) * num_taps_;
    const auto* upper = lower + num_taps_;
    std::array<float, kLanes> left_sums{}, right_sums{};
    for (int tap = 0; tap < num_taps_; tap += kLanes)
        for (int lane = 0; lane < kLanes; ++lane) {
            const int at = tap + lane;
            const float weight = lower[at] + share * (upper[at] - lower[at]);
            left_sums[static_cast<std::size_t>(lane)] += weight * left[at];
            right_sums[static_cast<std::size_t>(lane)] += weight * right[at];
        }
    *left_out = (left_sums[0] + left_sums[1]) + (left_sums[2] + left_sums[3]);
    *right_out = (right_sums[0] + right_sums[1]) + (right_sums[2] + right_sums[3]);
}

void SincTable::read(const TakeAudio& audio, const Places& places, std::int64_t loop_samples, float* left,
                     float* right) const SA3_NONBLOCKING {
    std::array<float, kMaxSpan> span_left, span_right;
    const auto place = [&places](int i) SA3_NONBLOCKING {
        return places.origin + static_cast<double>(places.first + i) * places.step;
    };
    const int most_at_once = std::max(1, static_cast<int>((kMaxSpan - num_taps_ - 2) / places.step));
    for (int done = 0; done < places.num_samples;) {
        const double from = place(done), whole = std::floor(from);
        int num_here = std::min(places.num_samples - done, most_at_once);
        const bool wraps = loop_samples > 0 && from >= 0.0;
        if (loop_samples > 0 && !wraps)
            num_here = std::min(num_here, static_cast<int>(std::min(std::ceil(-from / places.step), 1e9)));
        const auto first = static_cast<std::int64_t>(whole) - (num_taps_ / 2 - 1);
        const auto count = static_cast<std::int64_t>(std::floor(place(done + num_here - 1)) - whole) + num_taps_;
        fetch(audio, first, count, wraps ? loop_samples : 0, span_left.data(), span_right.data());
        for (int i = done; i < done + num_here; ++i) {
            const double at = place(i), at_whole = std::floor(at);
            const auto offset = static_cast<int>(at_whole - whole);
            convolve(span_left.data() + offset, span_right.data() + offset, at - at_whole, left + i, right + i);
        }
        done += num_here;
    }
}

}  // namespace sa3
