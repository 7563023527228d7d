// Blocks of growing audio and their picture. Knows no take and no player.
#include "sa3/take_audio.h"

#include <algorithm>
#include <cmath>
#include <thread>

namespace sa3 {

TakeAudio::TakeAudio(std::int64_t num_samples, double sample_rate)
    : num_samples_(std::clamp<std::int64_t>(num_samples, 0, kMaxSamples)),
      sample_rate_(sample_rate),
      blocks_(static_cast<std::size_t>((num_samples_ + kBlockSamples - 1) / kBlockSamples)) {}

std::shared_ptr<TakeAudio> TakeAudio::from_planar(const float* planar, std::int64_t num_samples, double sample_rate) {
    auto audio = std::make_shared<TakeAudio>(num_samples, sample_rate);
    const auto num_kept = audio->num_samples();
    if (num_kept == num_samples) {
        audio->append(planar, kNumChannels, num_samples);
    } else {
        std::vector<float> kept(planar, planar + num_kept);
        kept.insert(kept.end(), planar + num_samples, planar + num_samples + num_kept);
        audio->append(kept.data(), kNumChannels, num_kept);
    }
    audio->end();
    return audio;
}

std::int64_t TakeAudio::append(const float* planar, int num_channels, std::int64_t num_samples) {
    const auto start = num_available_.load(std::memory_order_relaxed);
    const auto num_fitting = std::clamp<std::int64_t>(num_samples_ - start, 0, num_samples);
    for (std::int64_t i = 0; i < num_fitting; ++i) {
        const auto at = start + i;
        auto& block = blocks_[static_cast<std::size_t>(at / kBlockSamples)];
        if (!block) block = std::make_unique<Block>();
        const auto in_block = static_cast<std::size_t>(at % kBlockSamples);
        auto& peak = block->peaks[in_block / kPeakSamples];
        for (int channel = 0; channel < kNumChannels; ++channel) {
            const auto* from = planar + (channel < num_channels ? channel * num_samples : 0);
            const float value = std::isfinite(from[i]) ? from[i] : 0.0f;
            block->samples[static_cast<std::size_t>(channel)][in_block] = value;
            const bool is_first = in_block % kPeakSamples == 0 && channel == 0;
            peak.low = is_first ? value : std::min(peak.low, value);
            peak.high = is_first ? value : std::max(peak.high, value);
        }
    }
    num_available_.store(start + num_fitting, std::memory_order_release);
    return num_fitting;
}

void TakeAudio::read(int channel, std::int64_t start, std::int64_t num_samples, float* out) const SA3_NONBLOCKING {
    const auto available = num_available();
    for (std::int64_t i = 0; i < num_samples;) {
        const auto at = start + i;
        const auto left = num_samples - i;
        if (at < 0 || at >= available) {
            const auto num_silent = at < 0 ? std::min(left, -at) : left;
            std::fill_n(out + i, num_silent, 0.0f);
            i += num_silent;
            continue;
        }
        const auto in_block = at % kBlockSamples;
        const auto num_here = std::min({left, available - at, kBlockSamples - in_block});
        const auto& block = *blocks_[static_cast<std::size_t>(at / kBlockSamples)];
        std::copy_n(block.samples[static_cast<std::size_t>(channel)].data() + in_block, num_here, out + i);
        i += num_here;
    }
}

std::vector<float> TakeAudio::planar() const {
    std::vector<float> samples(static_cast<std::size_t>(kNumChannels * num_samples_));
    for (int channel = 0; channel < kNumChannels; ++channel)
        read(channel, 0, num_samples_, samples.data() + channel * num_samples_);
    return samples;
}

Peak TakeAudio::peak(std::int64_t start, std::int64_t end) const {
    const auto available = num_available();
    start = std::max<std::int64_t>(start, 0);
    end = std::min(end, available);
    if (start >= end) return {};
    Peak found{sample(0, start, available), sample(0, start, available)};
    const auto take_in = [&found](float low, float high) {
        found.low = std::min(found.low, low);
        found.high = std::max(found.high, high);
    };
    if (end - start <= kPeakSamples) {
        for (auto at = start; at < end; ++at)
            for (int channel = 0; channel < kNumChannels; ++channel) {
                const auto value = sample(channel, at, available);
                take_in(value, value);
            }
        return found;
    }
    // Whole peaks inside the range; the writer may still be filling the one that `available` cuts.
    for (auto at = (start + kPeakSamples - 1) / kPeakSamples; (at + 1) * kPeakSamples <= end; ++at) {
        const auto& block = *blocks_[static_cast<std::size_t>(at * kPeakSamples / kBlockSamples)];
        const auto& peak = block.peaks[static_cast<std::size_t>(at % (kBlockSamples / kPeakSamples))];
        take_in(peak.low, peak.high);
    }
    return found;
}

bool TakeAudio::wait_available(std::int64_t num_samples, std::chrono::milliseconds timeout) const {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (num_available() < std::min(num_samples, num_samples_)) {
        if (has_ended() || std::chrono::steady_clock::now() >= deadline) return num_available() >= num_samples;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

}  // namespace sa3
