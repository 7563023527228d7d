// Stereo audio that grows while others read it: what a stream writes and the player and the picture read. Knows no
// take.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sa3/nonblocking.h"

namespace sa3 {

constexpr int kNumChannels = 2;

/// Lowest and highest sample of both channels over kPeakSamples samples, for drawing.
struct Peak {
    float low = 0.0f;
    float high = 0.0f;
};

/// One writer appends in time order up to the length given at construction; any number of readers, on any thread, read
/// what has been published, without locks. What has been published never changes or moves. Samples not yet written read
/// as 0. Non-finite samples are published as 0, so that nothing downstream has to ask.
class TakeAudio {
public:
    static constexpr std::int64_t kBlockSamples = 1 << 16;
    static constexpr std::int64_t kPeakSamples = 256;
    static constexpr std::int64_t kMaxSamples = std::int64_t{380} * 192000;

    /// [not audio-thread] `num_samples` is held to 0..kMaxSamples. Blocks of memory are taken as audio arrives.
    TakeAudio(std::int64_t num_samples, double sample_rate);
    /// A complete one from planar samples: all of channel 0, then all of channel 1.
    static std::shared_ptr<TakeAudio> from_planar(const float* planar, std::int64_t num_samples, double sample_rate);

    std::int64_t num_samples() const SA3_NONBLOCKING { return num_samples_; }
    double sample_rate() const SA3_NONBLOCKING { return sample_rate_; }
    std::int64_t num_available() const SA3_NONBLOCKING { return num_available_.load(std::memory_order_acquire); }
    bool is_complete() const SA3_NONBLOCKING { return num_available() == num_samples_; }

    /// Tell that no more will come, complete or not. [writer thread]
    void end() { has_ended_.store(true, std::memory_order_release); }
    /// Whether end() was called or everything is here. [thread-safe, audio-thread]
    bool has_ended() const SA3_NONBLOCKING { return has_ended_.load(std::memory_order_acquire) || is_complete(); }

    /// Append planar samples (`num_channels` 1 or 2; mono goes to both). Returns how many fitted. [writer thread]
    std::int64_t append(const float* planar, int num_channels, std::int64_t num_samples);

    /// One sample; 0 outside what is available (pass num_available() read once). [thread-safe, audio-thread]
    float sample(int channel, std::int64_t index, std::int64_t num_available) const SA3_NONBLOCKING {
        if (index < 0 || index >= num_available) return 0.0f;
        const auto* block = blocks_[static_cast<std::size_t>(index >> 16)].get();
        return block->samples[static_cast<std::size_t>(channel)][static_cast<std::size_t>(index & (kBlockSamples - 1))];
    }
    /// Copy [start, start + num_samples) of a channel; 0 outside what is available. [thread-safe, audio-thread]
    void read(int channel, std::int64_t start, std::int64_t num_samples, float* out) const SA3_NONBLOCKING;
    /// All samples, planar, for uploading and files; only what is available is filled. [thread-safe, not audio-thread]
    std::vector<float> planar() const;
    /// The picture of [start, end): both channels together. Exact to kPeakSamples where the range is longer.
    /// [thread-safe]
    Peak peak(std::int64_t start, std::int64_t end) const;

    /// Wait until the first `num_samples` are there; false when time is up or no more will come. For offline rendering
    /// only. [not audio-thread in real time]
    bool wait_available(std::int64_t num_samples, std::chrono::milliseconds timeout) const;

private:
    struct Block {
        std::array<std::array<float, kBlockSamples>, kNumChannels> samples{};
        std::array<Peak, kBlockSamples / kPeakSamples> peaks{};
    };
    std::int64_t num_samples_;
    double sample_rate_;
    std::vector<std::unique_ptr<Block>>
        blocks_;  // length fixed at construction; filled before num_available_ covers them
    std::atomic<std::int64_t> num_available_{0};
    std::atomic<bool> has_ended_{false};
};

/// Return the content address of audio: the SHA-256, in hex, of its planar little-endian float32 bytes. It is asked now
/// and then whether to stop: empty then.
std::string content_address(const float* planar, std::size_t num_floats, const std::function<bool()>& shall_stop = {});

}  // namespace sa3
