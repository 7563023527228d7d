// A play head that wanders like a restless session: cycle, jumps, tempo and metre changes, stops. Knows no plugin.
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include <cmath>
#include <random>

namespace sa3::test {

/// Owned and moved by the audio thread.
class Song : public juce::AudioPlayHead {
public:
    explicit Song(unsigned seed) : random_(seed) { tell(); }

    juce::Optional<PositionInfo> getPosition() const override { return told_; }

    /// How long the next block is: the sizes that hosts use and anything from 1 to `most_samples`.
    int next_block(int most_samples) {
        constexpr int kUsual[] = {1, 64, 65, 128, 512, 1024, 8192};
        const auto pick = static_cast<int>(random_() % 16);
        const int size = pick < 7 ? kUsual[pick] : pick < 14 ? 64 : 1 + static_cast<int>(random_() % 8192);
        return std::min(size, most_samples);
    }

    /// Move on by a block, and now and then do what a musician at the transport does.
    void advance(int num_samples, double rate) {
        if (is_playing_) ppq_ += num_samples / rate * bpm_ / 60.0;
        samples_ += num_samples;
        if (is_looping_ && ppq_ >= cycle_end_) ppq_ = cycle_start_ + std::fmod(ppq_ - cycle_start_, cycle_end_ - cycle_start_);
        if (happens(80)) ppq_ = static_cast<double>(random_() % 64) / 2.0;
        if (happens(120)) bpm_ = 60.0 + static_cast<double>(random_() % 1200) / 10.0;
        if (happens(150)) is_playing_ = !is_playing_;
        if (happens(150)) is_looping_ = !is_looping_;
        if (happens(300)) numerator_ = 3 + static_cast<int>(random_() % 5);
        if (happens(300)) {
            cycle_start_ = static_cast<double>(random_() % 16);
            cycle_end_ = cycle_start_ + 1.0 + static_cast<double>(random_() % 8);
        }
        tell();
    }

private:
    bool happens(unsigned once_in_blocks) { return random_() % once_in_blocks == 0; }

    void tell() {
        told_.setIsPlaying(is_playing_);
        told_.setIsLooping(is_looping_);
        told_.setPpqPosition(ppq_);
        told_.setBpm(bpm_);
        told_.setTimeInSamples(samples_);
        told_.setTimeSignature(TimeSignature{numerator_, 4});
        told_.setLoopPoints(LoopPoints{cycle_start_, cycle_end_});
    }

    std::minstd_rand random_;
    PositionInfo told_;
    bool is_playing_ = true;
    bool is_looping_ = true;
    double ppq_ = 0.0;
    double bpm_ = 127.5;
    int numerator_ = 4;
    double cycle_start_ = 0.0;
    double cycle_end_ = 4.0;
    juce::int64 samples_ = 0;
};

}  // namespace sa3::test
