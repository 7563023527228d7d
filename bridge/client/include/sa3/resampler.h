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

    /// Where to read: at `origin + n * step` samples of the source for every n of [first, first + num_samples). All lie
    /// within 2^50 samples of the source's start.
    struct Places {
        double origin;
        double step;
        std::int64_t first;
        int num_samples;
    };
    /// The stereo values there, zero outside what is available. With `loop_samples` above 0, places from 0 on wrap around
    /// that length. [thread-safe, audio-thread]
    void read(const TakeAudio& audio, const Places& places, std::int64_t loop_samples, float* left,
              float* right) const SA3_NONBLOCKING;

    int num_taps() const SA3_NONBLOCKING { return num_taps_; }

private:
    static constexpr int kNumPhases = 512;

    void convolve(const float* left, const float* right, double phase, float* left_out,
                  float* right_out) const SA3_NONBLOCKING;

    int num_taps_;
    std::vector<float> taps_;  // [kNumPhases + 1][num_taps_]
};

}  // namespace sa3
