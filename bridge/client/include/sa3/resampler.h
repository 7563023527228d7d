// Reads audio between its samples: a windowed-sinc table for one ratio of rates. Knows no take and no thread.
#pragma once

#include <cstdint>
#include <vector>

#include "sa3/nonblocking.h"
#include "sa3/take_audio.h"

namespace sa3 {

/// Band-limited interpolation of 32 taps (more when the rate goes down, up to 256). Immutable after construction.
class SincTable {
public:
    /// For reading audio of `source_rate` at `target_rate`. [not audio-thread]
    SincTable(double source_rate, double target_rate);

    /// The stereo value at `position` (samples at the source's rate; zero outside what is available). With
    /// `loop_samples` above 0 positions wrap around that length. [thread-safe, audio-thread]
    void read(const TakeAudio& audio, double position, std::int64_t num_available, std::int64_t loop_samples,
              float* left, float* right) const SA3_NONBLOCKING;

    int num_taps() const SA3_NONBLOCKING { return num_taps_; }

private:
    static constexpr int kNumPhases = 512;
    int num_taps_;
    std::vector<float> taps_;  // [kNumPhases + 1][num_taps_]
};

}  // namespace sa3
