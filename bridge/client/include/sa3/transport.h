// What the host says about its transport, made safe to believe. Knows no host API, no job and no audio.
//
// The audio thread feeds every block's HostPosition to TransportLatch, which checks it, remembers the last valid cycle
// and tempo (hosts drop the cycle when looping is off), and hands a whole Transport to the message thread, wait-free.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sa3/latest_value.h"
#include "sa3/nonblocking.h"

namespace sa3 {

/// Ardour rounds positions to these ticks: 12 samples at 120 BPM.
constexpr double kTicksPerQuarter = 1920.0;

/// One block's position, as the host gave it: nothing in it is to be trusted.
struct HostPosition {
    bool is_playing = false;
    bool is_recording = false;
    bool is_looping = false;
    std::optional<double> ppq;
    std::optional<std::int64_t> time_samples;
    std::optional<double> bpm;
    std::optional<std::int32_t> numerator;
    std::optional<std::int32_t> denominator;
    std::optional<double> cycle_start_ppq;
    std::optional<double> cycle_end_ppq;
};

// What of a host, or of a saved session, can be true; NaN never is. [thread-safe, audio-thread]

/// 1 to 1000 BPM.
bool is_tempo(double bpm) SA3_NONBLOCKING;
/// 1 to 64 over a power of two up to 32.
bool is_metre(std::int64_t numerator, std::int64_t denominator) SA3_NONBLOCKING;
/// Within 2^36 quarter notes of the origin: a thousand years at 120 BPM.
bool is_position(double ppq) SA3_NONBLOCKING;

/// What was wrong with the host's words lately; each bit stays set for half a second or more after the last offence.
enum TransportProblem : std::uint32_t {
    kTempoAbsurd = 1u << 0,     // not is_tempo(): the last valid tempo stays in force
    kMetreAbsurd = 1u << 1,     // the last valid metre stays in force
    kCycleEmpty = 1u << 2,      // zero, negative or not finite: the last valid cycle stays
    kPositionAbsurd = 1u << 3,  // not is_position(): counted as "no position"
    kPositionLies = 1u << 4,    // plays, but the position does not move with the tempo (stuck, or creeping)
};

/// Return one sentence for a person about the first problem in `problems`, or "".
std::string describe_problems(std::uint32_t problems);

/// The host's transport as of its latest block; every number in it is finite and in range.
struct Transport {
    bool has_block = false;  // false until the first block; then everything else is a default
    bool is_playing = false;
    bool is_recording = false;
    bool is_looping = false;
    bool has_position = false;
    bool has_tempo = false;      // false: bpm is 120 because the host never told a usable one
    bool has_cycle = false;      // a valid cycle has been seen, now or earlier
    bool cycle_is_live = false;  // the host gives this cycle right now
    double ppq = 0.0;
    double bpm = 120.0;
    std::int32_t numerator = 4;
    std::int32_t denominator = 4;
    double cycle_start_ppq = 0.0;
    double cycle_end_ppq = 0.0;
    std::int64_t time_samples = 0;
    double sample_rate = 0.0;
    std::uint32_t problems = 0;
    std::uint64_t num_blocks = 0;
};

class TransportLatch {
public:
    /// Check one block's position. Returns it cleaned: absurd values replaced as TransportProblem says, the position
    /// absent when unusable, and exact where the host rounds it to ticks. [audio-thread]
    HostPosition update(const HostPosition& position, double sample_rate, int num_samples) SA3_NONBLOCKING;

    /// The latest Transport. [message-thread: one reader]
    Transport read() { return published_.read(); }

    /// Put a remembered cycle, tempo and metre back (from saved state). [main-thread, before the first block]
    void restore(const Transport& saved);

private:
    void note(std::uint32_t problem) SA3_NONBLOCKING;
    void check_tempo(const HostPosition& position) SA3_NONBLOCKING;
    void check_cycle(const HostPosition& position) SA3_NONBLOCKING;
    void check_position(const HostPosition& position, double sample_rate) SA3_NONBLOCKING;
    double between_ticks(const HostPosition& position, double sample_rate) const SA3_NONBLOCKING;
    void check_motion(double sample_rate, int num_samples) SA3_NONBLOCKING;

    Transport now_;
    double last_ppq_ = 0.0;
    double expected_advance_ppq_ = 0.0;
    bool was_playing_with_position_ = false;
    int num_suspicious_ = 0;
    double seconds_left_[5] = {};
    LatestValue<Transport> published_;
};

}  // namespace sa3
