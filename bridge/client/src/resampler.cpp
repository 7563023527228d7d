// The windowed-sinc table and its use. Knows no take and no thread.
#include "sa3/resampler.h"

#include <algorithm>
#include <cmath>

namespace sa3 {
namespace {

constexpr int kBaseTaps = 32;
constexpr int kMaxTaps = 256;
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

}  // namespace

SincTable::SincTable(double source_rate, double target_rate) {
    const double down = std::max(1.0, source_rate / target_rate);
    num_taps_ = std::min(kMaxTaps, 2 * static_cast<int>(std::ceil(kBaseTaps / 2 * down)));
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

void SincTable::read(const TakeAudio& audio, double position, std::int64_t num_available, std::int64_t loop_samples,
                     float* left, float* right) const SA3_NONBLOCKING {
    const double whole = std::floor(position);
    const double phase = (position - whole) * kNumPhases;
    const int row = std::min(static_cast<int>(phase), kNumPhases - 1);
    const auto share = static_cast<float>(phase - row);
    const auto* lower = taps_.data() + row * num_taps_;
    const auto* upper = lower + num_taps_;
    auto at = static_cast<std::int64_t>(whole) - (num_taps_ / 2 - 1);
    if (loop_samples > 0) at = (at % loop_samples + loop_samples) % loop_samples;
    float sum_left = 0.0f, sum_right = 0.0f;
    for (int tap = 0; tap < num_taps_; ++tap) {
        const float weight = lower[tap] + share * (upper[tap] - lower[tap]);
        sum_left += weight * audio.sample(0, at, num_available);
        sum_right += weight * audio.sample(1, at, num_available);
        if (++at == loop_samples) at = 0;
    }
    *left = sum_left;
    *right = sum_right;
}

}  // namespace sa3
