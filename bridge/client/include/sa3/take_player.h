// Plays one take locked to the host's position and mixes it with the input. Knows no host API, no daemon and no file.
//
// Threads: the message thread publishes takes and settings; the audio thread calls process(). Nothing in process()
// allocates, locks or waits. A take is freed on the message thread, after the audio thread has let go of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sa3/nonblocking.h"
#include "sa3/take_audio.h"
#include "sa3/transport.h"

namespace sa3 {

/// From `ppq` on the take was made for `bpm`; `seconds` of it lie before.
struct TempoStep {
    double ppq = 0.0;
    double bpm = 120.0;
    double seconds = 0.0;

    bool operator==(const TempoStep& other) const {
        return ppq == other.ppq && bpm == other.bpm && seconds == other.seconds;
    }
};

/// A take as it is to be played. Immutable once handed to the player, but for the audio, which may still grow.
struct PlayableTake {
    std::shared_ptr<const TakeAudio> audio;  // the final audio, as far as it has come
    std::shared_ptr<const TakeAudio> draft;  // plays where the final audio has not come yet; may be null
    double start_ppq = 0.0;                  // where the clip's first sample lies in the host's timeline
    double bpm = 120.0;                      // tempo at start_ppq when it was made
    std::vector<TempoStep> tempo;            // where the tempo changes inside the take; empty: nowhere
    bool loop = false;                       // repeats for ever from start_ppq on
    float gain = 1.0f;                       // linear; see loudness_match_gain
};

/// What moves a take's loudness to `target_lufs`: linear gain, held to +-18 dB and to keep the peak at or below -0.1
/// dBFS. `lufs` nullopt: `rms_db` stands in for it. [thread-safe]
float loudness_match_gain(std::optional<double> lufs, double rms_db, double peak_db, double target_lufs);

/// Dry and wet gains of one knob: 0 input alone, 0.5 both in full, 1 take alone. [thread-safe]
struct MixGains {
    float dry = 1.0f;
    float wet = 1.0f;
};
MixGains mix_gains(float dry_wet) SA3_NONBLOCKING;

/// What the audio thread needs for a block besides the position; plain values from parameters.
struct PlaySettings {
    float gain = 1.0f;     // of the take, linear
    float dry_wet = 0.5f;  // see mix_gains
    bool mute_input = false;
    bool is_on = true;  // false: the take is silent, the input passes
};

/// How far playback has come, for the picture. [thread-safe]
struct PlayHead {
    bool is_sounding = false;
    double take_sample = 0.0;  // at the take's rate
};

class TakePlayer {
public:
    TakePlayer();
    ~TakePlayer();
    TakePlayer(const TakePlayer&) = delete;
    TakePlayer& operator=(const TakePlayer&) = delete;

    /// Set the host's rate; silences what sounds. Any rate from 1 kHz to 768 kHz. [main-thread & !processing]
    void prepare(double host_rate);

    /// Play this take from now on (null: none), crossfading from the one before at the same position. [message-thread]
    void set_take(std::shared_ptr<const PlayableTake> take);
    /// The take last set. [message-thread]
    std::shared_ptr<const PlayableTake> take() const { return newest_; }
    /// Free takes which the audio thread has let go of. Call it now and then (a UI timer); set_take calls it.
    /// [message-thread]
    void collect();

    /// Play the take from `from_sample` (take's rate) regardless of the host, until its end or stop_audition.
    /// [message-thread]
    void start_audition(double from_sample = 0.0);
    void stop_audition();
    bool is_auditioning() const;

    /// Mix the take into `channels`, which hold the input on entry and the output on return. With nothing to play and
    /// the input neither muted nor attenuated, the samples are not touched: bit-identical. Any number of channels (mono
    /// gets the mean of the take's two; beyond two, channels pass) and of samples, 0 included. Positions come cleaned
    /// from TransportLatch::update. [audio-thread]
    void process(const HostPosition& position, const PlaySettings& settings, float* const* channels, int num_channels,
                 int num_samples) SA3_NONBLOCKING;

    /// Offline rendering only, before process() with the same position: wait until the final audio of this block has
    /// come. False when the time is up first, or the take's stream has ended without it: then the block will not sound
    /// as it should, and somebody must be told. [audio-thread while rendering offline]
    bool wait_for_audio(const HostPosition& position, int num_samples, std::chrono::milliseconds timeout);

    PlayHead play_head() const SA3_NONBLOCKING;

private:
    struct Voices;
    void hand_over(std::shared_ptr<const PlayableTake> take);

    std::unique_ptr<Voices> voices_;  // the audio thread's
    std::shared_ptr<const PlayableTake> newest_;
    double host_rate_ = 48000.0;
};

}  // namespace sa3
