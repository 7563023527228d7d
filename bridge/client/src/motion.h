// Follows the host's position from block to block: does the song run on, or did it jump? Knows no audio.
#pragma once

#include <cmath>

#include "sa3/nonblocking.h"
#include "sa3/transport.h"

namespace sa3 {

/// What a host that has never told its tempo is taken to play at.
constexpr double kFallbackBpm = 120.0;

inline double samples_per_quarter(double bpm, double host_rate) SA3_NONBLOCKING { return 60.0 / bpm * host_rate; }

/// How many samples of the block come before the cycle wraps; `num_samples` when it does not.
inline int samples_to_wrap(const HostPosition& position, double host_rate, int num_samples) SA3_NONBLOCKING {
    if (!position.is_playing || !position.is_looping || !position.ppq || !position.cycle_start_ppq ||
        !position.cycle_end_ppq)
        return num_samples;
    const double quarters = *position.cycle_end_ppq - *position.ppq;
    const double samples = std::round(quarters * samples_per_quarter(position.bpm.value_or(kFallbackBpm), host_rate));
    return samples > 0 && samples < num_samples ? static_cast<int>(samples) : num_samples;
}

/// Compares each block's position with where the song would be had it run on. Distances are in host samples.
class Motion {
public:
    /// Forget the past: the next block is a start.
    void reset() SA3_NONBLOCKING { is_running_ = false; }

    /// Take the position at the start of a block; true: it follows on the last one (deviations up to kTolerance
    /// seconds, as of a varispeed or a rounding host, gather in drift_samples until they are corrected by a jump).
    bool follows_on(double ppq, double bpm, double host_rate) SA3_NONBLOCKING {
        if (!is_running_) return false;
        const double off = (ppq - expected_ppq_) * samples_per_quarter(bpm, host_rate);
        const double change = off - off_samples_;
        num_steady_ = std::abs(off) > 1.5 && std::abs(change) < 0.5 ? num_steady_ + 1 : 0;
        off_samples_ = off;
        return std::abs(off) <= kToleranceSeconds * host_rate && num_steady_ < kSteadyBlocks;
    }

    /// Note that the song runs on from `ppq` for a block. `is_start`: it has just jumped there.
    void advance(double ppq, double bpm, double host_rate, int num_samples, bool is_start) SA3_NONBLOCKING {
        if (is_start) {
            expected_ppq_ = ppq;
            off_samples_ = 0.0;
            num_steady_ = 0;
        }
        is_running_ = true;
        expected_ppq_ += num_samples / samples_per_quarter(bpm, host_rate);
    }

private:
    static constexpr double kToleranceSeconds = 0.015;
    static constexpr int kSteadyBlocks = 4;

    bool is_running_ = false;
    double expected_ppq_ = 0.0;
    double off_samples_ = 0.0;
    int num_steady_ = 0;
};

}  // namespace sa3
