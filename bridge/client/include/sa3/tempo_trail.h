// The host's tempo where it has played, learnt block by block: hosts tell the present tempo only, never the map.
// Knows no host API and no job but its tempo points.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sa3/job.h"
#include "sa3/latest_value.h"
#include "sa3/nonblocking.h"
#include "sa3/ring_buffer.h"
#include "sa3/transport.h"

namespace sa3 {

/// A part of the song that was played through at one tempo and metre.
struct TempoStretch {
    double start_ppq = 0.0;
    double end_ppq = 0.0;
    double bpm = 120.0;
    std::int32_t numerator = 4;
    std::int32_t denominator = 4;

    bool has_tempo_of(const TempoStretch& other) const SA3_NONBLOCKING {
        return bpm == other.bpm && numerator == other.numerator && denominator == other.denominator;
    }
};

/// What was played, by place; what is played again replaces what was known there. [message-thread]
class TempoMemory {
public:
    static constexpr std::size_t kMaxPoints = 256;

    void learn(const TempoStretch& stretch);
    void forget() { stretches_.clear(); }

    std::optional<double> bpm_at(double ppq) const;
    /// Whether a tempo other than `bpm` is known inside the range.
    bool has_other_tempo(double start_ppq, double end_ppq, double bpm) const;
    /// The tempo map over a range, its first point at 0; from the song's beginning on where that is known too. Beyond
    /// kMaxPoints (a ramp), neighbours become their mean, which leaves the length as it is. nullopt: not all of the
    /// range has been played.
    std::optional<std::vector<TempoPoint>> points(double start_ppq, double end_ppq) const;

private:
    std::vector<TempoStretch> inside(double start_ppq, double end_ppq) const;

    std::vector<TempoStretch> stretches_;  // sorted, not overlapping
};

/// From the audio thread to the memory. One audio thread, one message thread.
class TempoTrail {
public:
    TempoTrail() : finished_(kMaxWaiting) {}

    /// Note one block; positions come cleaned from TransportLatch::update. [audio-thread]
    void note(const HostPosition& position, double sample_rate, int num_samples) SA3_NONBLOCKING;
    /// Teach the memory what has been played since the last call. [message-thread]
    void teach(TempoMemory& memory);

private:
    static constexpr std::size_t kMaxWaiting = 4096;

    void finish() SA3_NONBLOCKING;
    double change_ppq(double ppq, double bpm) const SA3_NONBLOCKING;

    RingBuffer<TempoStretch> finished_;
    LatestValue<TempoStretch> running_;
    TempoStretch now_;
    bool is_running_ = false;
    double block_ppq_ = 0.0;
    double block_seconds_ = 0.0;
    TempoStretch taught_;  // message thread's: the running stretch as last told
};

}  // namespace sa3
