// Checks what the host says and remembers what was valid. Knows no host API.
#include "sa3/transport.h"

#include <cmath>

namespace sa3 {
namespace {

constexpr double kMinBpm = 1.0;  // a host that claims less lies, and a denormal one makes places infinite
constexpr double kMaxBpm = 1000.0;
constexpr double kMaxPpq = 68719476736.0;  // 2^36 quarter notes: in samples, it fits 64 bits at any tempo and rate
constexpr double kProblemSeconds = 0.5;
constexpr int kSuspiciousBlocks = 16;
constexpr double kTickTolerance = 1e-6;  // of a tick: what a double of a song's length cannot hold

}  // namespace

bool is_tempo(double bpm) SA3_NONBLOCKING { return bpm >= kMinBpm && bpm <= kMaxBpm; }

bool is_metre(std::int64_t numerator, std::int64_t denominator) SA3_NONBLOCKING {
    const bool is_power_of_two = (denominator & (denominator - 1)) == 0;
    return numerator >= 1 && numerator <= 64 && denominator >= 1 && denominator <= 32 && is_power_of_two;
}

bool is_position(double ppq) SA3_NONBLOCKING { return std::abs(ppq) <= kMaxPpq; }

std::string describe_problems(std::uint32_t problems) {
    if (problems & kTempoAbsurd) return "The host reports an impossible tempo; the last good one is used.";
    if (problems & kMetreAbsurd) return "The host reports an impossible metre; the last good one is used.";
    if (problems & kPositionAbsurd) return "The host reports an impossible position; the take stays silent.";
    if (problems & kPositionLies) return "The host plays but its position does not move; the take stays silent.";
    if (problems & kCycleEmpty) return "The host's cycle is empty; the last good one is used.";
    return "";
}

HostPosition TransportLatch::update(const HostPosition& position, double sample_rate, int num_samples) SA3_NONBLOCKING {
    const double seconds = sample_rate > 0 ? num_samples / sample_rate : 0.0;
    for (auto& left : seconds_left_) left -= seconds;
    now_.has_block = true;
    now_.is_playing = position.is_playing;
    now_.is_recording = position.is_recording;
    now_.is_looping = position.is_looping;
    now_.sample_rate = sample_rate;
    now_.time_samples = position.time_samples.value_or(now_.time_samples);
    ++now_.num_blocks;
    check_tempo(position);
    check_cycle(position);
    check_position(position, sample_rate);
    check_motion(sample_rate, num_samples);
    now_.problems = 0;
    for (int bit = 0; bit < 5; ++bit)
        if (seconds_left_[bit] > 0) now_.problems |= 1u << bit;
    published_.write(now_);

    HostPosition clean;
    clean.is_playing = now_.is_playing;
    clean.is_recording = now_.is_recording;
    clean.is_looping = now_.is_looping && now_.cycle_is_live;
    clean.time_samples = position.time_samples;
    clean.bpm = now_.bpm;
    clean.numerator = now_.numerator;
    clean.denominator = now_.denominator;
    if (now_.has_position) clean.ppq = now_.ppq;
    if (now_.cycle_is_live) {
        clean.cycle_start_ppq = now_.cycle_start_ppq;
        clean.cycle_end_ppq = now_.cycle_end_ppq;
    }
    return clean;
}

void TransportLatch::restore(const Transport& saved) {
    if (!is_tempo(saved.bpm) || !is_metre(saved.numerator, saved.denominator)) return;
    now_.has_tempo = saved.has_tempo;
    now_.bpm = saved.bpm;
    now_.numerator = saved.numerator;
    now_.denominator = saved.denominator;
    if (saved.has_cycle && is_position(saved.cycle_start_ppq) && is_position(saved.cycle_end_ppq) &&
        saved.cycle_end_ppq > saved.cycle_start_ppq) {
        now_.has_cycle = true;
        now_.cycle_start_ppq = saved.cycle_start_ppq;
        now_.cycle_end_ppq = saved.cycle_end_ppq;
    }
    published_.write(now_);
}

void TransportLatch::note(std::uint32_t problem) SA3_NONBLOCKING {
    for (int bit = 0; bit < 5; ++bit)
        if (problem == 1u << bit) seconds_left_[bit] = kProblemSeconds;
}

void TransportLatch::check_tempo(const HostPosition& position) SA3_NONBLOCKING {
    if (position.bpm) {
        if (is_tempo(*position.bpm)) {
            now_.bpm = *position.bpm;
            now_.has_tempo = true;
        } else {
            note(kTempoAbsurd);
        }
    }
    if (position.numerator && position.denominator) {
        if (is_metre(*position.numerator, *position.denominator)) {
            now_.numerator = *position.numerator;
            now_.denominator = *position.denominator;
        } else {
            note(kMetreAbsurd);
        }
    }
}

void TransportLatch::check_cycle(const HostPosition& position) SA3_NONBLOCKING {
    now_.cycle_is_live = false;
    if (!position.cycle_start_ppq || !position.cycle_end_ppq) return;
    const double start = *position.cycle_start_ppq, end = *position.cycle_end_ppq;
    if (is_position(start) && is_position(end) && end > start) {
        now_.cycle_start_ppq = start;
        now_.cycle_end_ppq = end;
        now_.has_cycle = now_.cycle_is_live = true;
    } else if (position.is_looping) {  // hosts send 0..0 for "no cycle": only a running one is worth a word
        note(kCycleEmpty);
    }
}

/// The position where the host's ticks are too coarse for samples: where the song runs on to, else where the host's count
/// of samples lies at one tempo. Each holds only within a tick of what the host says.
double TransportLatch::between_ticks(const HostPosition& position, double sample_rate) const SA3_NONBLOCKING {
    const double ticks = *position.ppq * kTicksPerQuarter;
    const auto is_near = [ticks](double ppq) { return std::abs(ppq * kTicksPerQuarter - ticks) <= 1.0; };
    if (std::abs(ticks - std::round(ticks)) > kTickTolerance || sample_rate <= 0) return *position.ppq;
    const double running_on = last_ppq_ + expected_advance_ppq_;
    if (was_playing_with_position_ && is_near(running_on)) return running_on;
    if (!position.time_samples) return *position.ppq;
    const double counted = static_cast<double>(*position.time_samples) * now_.bpm / (60.0 * sample_rate);
    return is_near(counted) ? counted : *position.ppq;
}

void TransportLatch::check_position(const HostPosition& position, double sample_rate) SA3_NONBLOCKING {
    now_.has_position = position.ppq && is_position(*position.ppq);
    if (now_.has_position)
        now_.ppq = between_ticks(position, sample_rate);
    else if (position.ppq)
        note(kPositionAbsurd);
}

void TransportLatch::check_motion(double sample_rate, int num_samples) SA3_NONBLOCKING {
    const bool plays = now_.is_playing && now_.has_position && sample_rate > 0;
    if (plays && was_playing_with_position_ && expected_advance_ppq_ > 0) {
        const double advance = now_.ppq - last_ppq_;
        const bool is_creeping = std::abs(advance) < 0.25 * expected_advance_ppq_;
        num_suspicious_ = is_creeping ? num_suspicious_ + 1 : 0;
    } else if (!plays) {
        num_suspicious_ = 0;
    }
    if (num_suspicious_ >= kSuspiciousBlocks) {
        num_suspicious_ = kSuspiciousBlocks;
        note(kPositionLies);
    }
    was_playing_with_position_ = plays;
    last_ppq_ = now_.ppq;
    expected_advance_ppq_ = sample_rate > 0 ? num_samples * now_.bpm / (60.0 * sample_rate) : 0.0;
    if (num_suspicious_ >= kSuspiciousBlocks) now_.has_position = false;
}

}  // namespace sa3
