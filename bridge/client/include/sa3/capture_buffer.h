// Records the incoming track for repaint, restyle and continue. Knows no host API and no daemon.
//
// The audio thread writes into blocks of memory that the message thread has provided beforehand (service()), so memory
// grows with what is recorded and the audio thread never allocates.
#pragma once

#include <cstdint>
#include <memory>

#include "sa3/handover.h"
#include "sa3/nonblocking.h"
#include "sa3/take_audio.h"
#include "sa3/transport.h"

namespace sa3 {

enum class CaptureState : int {
    kIdle,     // nothing is recorded
    kWaiting,  // armed: starts with the next block in which the host plays
    kRecording,
    kComplete,  // ended: stopped, the host stopped or jumped, or kMaxSeconds were reached
};

/// Recorded audio with the place it was recorded at.
struct Captured {
    std::shared_ptr<const TakeAudio> audio;  // null when there is none
    std::int64_t num_samples = 0;
    double sample_rate = 0.0;
    bool has_position = false;
    double start_ppq = 0.0;  // of the first sample, where the host told
    double bpm = 120.0;
    std::int32_t numerator = 4;
    std::int32_t denominator = 4;
    std::int64_t num_lost_samples = 0;  // not recorded because service() was not called in time; the gap is silence
};

class CaptureBuffer {
public:
    static constexpr double kMaxSeconds = 380.0;
    static constexpr std::int64_t kBlockSamples = 1 << 15;

    CaptureBuffer();
    ~CaptureBuffer();

    /// Set the host's rate; drops what was recorded. [main-thread & !processing]
    void prepare(double host_rate);

    /// Record from the next block on (`with_transport`: from when the host plays, to when it stops or jumps). Drops
    /// what was recorded before. [message-thread]
    void start(bool with_transport);
    /// End the recording; what is there stays. [message-thread]
    void stop();
    /// Provide memory ahead of the audio thread: call it at least every 200 ms while recording, and before each block
    /// when rendering offline. [message-thread]
    void service();

    /// [message-thread]
    CaptureState state() const;
    std::int64_t num_recorded() const;
    /// Copy what has been recorded so far; also works while recording goes on. [message-thread]
    Captured snapshot() const;
    /// Give back the memory of a recording that is complete, once the audio thread has let go of it. [message-thread]
    void release();

    /// Record a block of input. `position` comes cleaned from TransportLatch::update. [audio-thread]
    void process(const HostPosition& position, const float* const* channels, int num_channels,
                 int num_samples) SA3_NONBLOCKING;

private:
    struct Recording;

    double host_rate_ = 48000.0;
    Recording* newest_ = nullptr;     // message thread's view of the recording last started; owned by handover_
    Recording* recording_ = nullptr;  // audio thread's
    std::unique_ptr<Handover<Recording>> handover_;
};

}  // namespace sa3
