// The recording and its memory. Knows no host API and no daemon.
#include "sa3/capture_buffer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <utility>
#include <vector>

#include "motion.h"

namespace sa3 {
namespace {

constexpr double kSecondsAhead = 4.0;

}  // namespace

struct CaptureBuffer::Recording {
    struct Block {
        std::array<std::array<float, kBlockSamples>, kNumChannels> samples{};
    };

    Recording(double host_rate, bool follows_transport)
        : rate(host_rate),
          with_transport(follows_transport),
          max_samples(std::min(static_cast<std::int64_t>(kMaxSeconds * host_rate), TakeAudio::kMaxSamples)),
          blocks(static_cast<std::size_t>(max_samples / kBlockSamples + 1)),
          state(follows_transport ? CaptureState::kWaiting : CaptureState::kRecording) {}

    const double rate;
    const bool with_transport;
    const std::int64_t max_samples;
    std::vector<std::unique_ptr<Block>> blocks;  // message thread fills them in order
    std::atomic<std::int64_t> num_provided{0};   // blocks the audio thread may use
    std::atomic<std::int64_t> num_recorded{0};
    std::atomic<std::int64_t> num_lost{0};
    std::atomic<CaptureState> state;
    std::atomic<bool> stop_asked{false};
    HostPosition place;  // of the first sample; written before num_recorded leaves 0
    Motion motion;       // audio thread's

    void provide() {
        const auto ahead = static_cast<std::int64_t>(kSecondsAhead * rate) / kBlockSamples + 2;
        const auto wanted = std::min(num_recorded.load(std::memory_order_acquire) / kBlockSamples + ahead,
                                     static_cast<std::int64_t>(blocks.size()));
        for (auto have = num_provided.load(std::memory_order_relaxed); have < wanted; ++have) {
            blocks[static_cast<std::size_t>(have)] = std::make_unique<Block>();
            num_provided.store(have + 1, std::memory_order_release);
        }
    }

    void write(const float* const* channels, int num_channels, int start, int num_samples) SA3_NONBLOCKING {
        const auto provided = num_provided.load(std::memory_order_acquire) * kBlockSamples;
        const auto first = num_recorded.load(std::memory_order_relaxed);
        const auto num_fitting = std::min<std::int64_t>(num_samples, max_samples - first);
        std::int64_t num_missed = 0;
        for (std::int64_t i = 0; i < num_fitting; ++i) {
            const auto at = first + i;
            if (at >= provided) {
                ++num_missed;
                continue;
            }
            auto& block = *blocks[static_cast<std::size_t>(at / kBlockSamples)];
            for (int channel = 0; channel < kNumChannels; ++channel) {
                const float value = num_channels > 0 ? channels[std::min(channel, num_channels - 1)][start + i] : 0.0f;
                block.samples[static_cast<std::size_t>(channel)][static_cast<std::size_t>(at % kBlockSamples)] =
                    std::isfinite(value) ? value : 0.0f;
            }
        }
        if (num_missed) num_lost.fetch_add(num_missed, std::memory_order_relaxed);
        num_recorded.store(first + num_fitting, std::memory_order_release);
        if (first + num_fitting == max_samples) state.store(CaptureState::kComplete, std::memory_order_release);
    }

    void process(const HostPosition& position, const float* const* channels, int num_channels,
                 int num_samples) SA3_NONBLOCKING {
        auto now = state.load(std::memory_order_relaxed);
        if (now == CaptureState::kComplete) return;
        if (stop_asked.load(std::memory_order_acquire)) {
            state.store(CaptureState::kComplete, std::memory_order_release);
            return;
        }
        const double bpm = position.bpm.value_or(kFallbackBpm);
        int num_wanted = num_samples;
        if (with_transport) {
            const bool is_first = now == CaptureState::kWaiting;
            if (is_first && !position.is_playing) return;
            const bool runs_on =
                position.is_playing && (!position.ppq || is_first || motion.follows_on(*position.ppq, bpm, rate));
            if (!runs_on) {
                state.store(CaptureState::kComplete, std::memory_order_release);
                return;
            }
            if (position.ppq) motion.advance(*position.ppq, bpm, rate, num_samples, is_first);
            num_wanted = samples_to_wrap(position, rate, num_samples);
            if (is_first) state.store(CaptureState::kRecording, std::memory_order_release);
        }
        if (num_recorded.load(std::memory_order_relaxed) == 0) place = position;
        write(channels, num_channels, 0, num_wanted);
        if (num_wanted < num_samples) state.store(CaptureState::kComplete, std::memory_order_release);
    }
};

CaptureBuffer::CaptureBuffer() : handover_(std::make_unique<Handover<Recording>>()) {}
CaptureBuffer::~CaptureBuffer() = default;

void CaptureBuffer::prepare(double host_rate) {
    host_rate_ = std::isfinite(host_rate) ? std::clamp(host_rate, 1000.0, 768000.0) : 48000.0;
    handover_ = std::make_unique<Handover<Recording>>();
    newest_ = recording_ = nullptr;
}

void CaptureBuffer::start(bool with_transport) {
    auto recording = std::make_unique<Recording>(host_rate_, with_transport);
    recording->provide();
    newest_ = handover_->give(std::move(recording));
}

void CaptureBuffer::stop() {
    if (newest_) newest_->stop_asked.store(true, std::memory_order_release);
}

void CaptureBuffer::service() {
    handover_->collect();
    if (newest_ && state() != CaptureState::kComplete) newest_->provide();
}

CaptureState CaptureBuffer::state() const {
    if (!newest_) return CaptureState::kIdle;
    if (newest_->stop_asked.load(std::memory_order_acquire)) return CaptureState::kComplete;
    return newest_->state.load(std::memory_order_acquire);
}

std::int64_t CaptureBuffer::num_recorded() const {
    return newest_ ? newest_->num_recorded.load(std::memory_order_acquire) : 0;
}

Captured CaptureBuffer::snapshot() const {
    Captured captured;
    captured.sample_rate = host_rate_;
    captured.num_samples = num_recorded();
    if (captured.num_samples == 0) return captured;
    captured.num_lost_samples = newest_->num_lost.load(std::memory_order_relaxed);
    captured.has_position = newest_->place.ppq.has_value();
    captured.start_ppq = newest_->place.ppq.value_or(0.0);
    captured.bpm = newest_->place.bpm.value_or(kFallbackBpm);
    captured.numerator = newest_->place.numerator.value_or(4);
    captured.denominator = newest_->place.denominator.value_or(4);
    auto audio = std::make_shared<TakeAudio>(captured.num_samples, host_rate_);
    std::vector<float> planar;
    for (std::int64_t at = 0; at < captured.num_samples; at += kBlockSamples) {
        const auto& block = newest_->blocks[static_cast<std::size_t>(at / kBlockSamples)];
        const auto num_here = std::min(kBlockSamples, captured.num_samples - at);
        planar.assign(static_cast<std::size_t>(kNumChannels * num_here), 0.0f);
        for (std::int64_t channel = 0; block && channel < kNumChannels; ++channel)
            std::copy_n(block->samples[static_cast<std::size_t>(channel)].data(), num_here,
                        planar.data() + channel * num_here);
        audio->append(planar.data(), kNumChannels, num_here);
    }
    audio->end();
    captured.audio = std::move(audio);
    return captured;
}

void CaptureBuffer::release() {
    auto nothing = std::make_unique<Recording>(host_rate_, false);
    nothing->state.store(CaptureState::kComplete);
    handover_->give(std::move(nothing));
    newest_ = nullptr;
}

void CaptureBuffer::process(const HostPosition& position, const float* const* channels, int num_channels,
                            int num_samples) SA3_NONBLOCKING {
    if (auto* arrived = handover_->pick_up()) {
        handover_->retire(recording_);
        recording_ = arrived;
    }
    if (recording_ && num_samples > 0) recording_->process(position, channels, num_channels, num_samples);
}

}  // namespace sa3
