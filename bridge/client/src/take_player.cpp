// Two voices, of which one fades into the other whenever the sound would break off. Knows no host API and no daemon.
#include "sa3/take_player.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <utility>

#include "motion.h"
#include "sa3/handover.h"
#include "sa3/resampler.h"

namespace sa3 {
namespace {

constexpr int kSliceSamples = 512;
constexpr double kFadeSeconds = 0.005;
constexpr double kGainSeconds = 0.01;
constexpr double kRestartSeconds = 0.1;  // a stream that fell behind must be so far ahead before it sounds again
constexpr float kMaxMatchDb = 18.0f;
constexpr double kCeilingDb = -0.1;
constexpr double kFarthest = 1125899906842624.0;  // 2^50 samples: neighbours are still told apart there

/// A take as the audio thread needs it: with the table for its rate, null where the rates are equal.
struct Loaded {
    std::shared_ptr<const PlayableTake> take;
    std::unique_ptr<SincTable> table;
    double step = 1.0;  // take samples per host sample
};

/// One place in one take from which sound is read.
struct Voice {
    const Loaded* loaded = nullptr;
    const TakeAudio* audio = nullptr;  // null: silence
    double origin = 0.0;               // take sample at host sample 0 of this voice
    std::int64_t num_played = 0;       // host samples since

    double position() const SA3_NONBLOCKING {
        return loaded ? origin + static_cast<double>(num_played) * loaded->step : 0.0;
    }

    std::int64_t loop_samples() const SA3_NONBLOCKING {
        return loaded && loaded->take->loop ? loaded->take->audio->num_samples() : 0;
    }

    /// Write the next samples, gain applied; silence beyond what there is.
    void read(float* left, float* right, int num_samples) SA3_NONBLOCKING {
        if (!audio) {
            std::fill_n(left, num_samples, 0.0f);
            std::fill_n(right, num_samples, 0.0f);
        } else if (loaded->table) {
            loaded->table->read(*audio, {origin, loaded->step, num_played, num_samples}, loop_samples(), left, right);
        } else {
            read_exactly(left, right, num_samples);
        }
        num_played += num_samples;
        const float gain = loaded ? loaded->take->gain : 1.0f;
        if (gain == 1.0f) return;
        for (int i = 0; i < num_samples; ++i) {
            left[i] *= gain;
            right[i] *= gain;
        }
    }

private:
    void read_exactly(float* left, float* right, int num_samples) SA3_NONBLOCKING {
        const auto loop = loop_samples();
        auto at = static_cast<std::int64_t>(origin) + num_played;
        for (int done = 0; done < num_samples;) {
            std::int64_t num_here = num_samples - done;
            if (loop > 0 && at >= 0) {
                at %= loop;
                num_here = std::min(num_here, loop - at);
            } else if (loop > 0) {
                num_here = std::min(num_here, -at);
            }
            audio->read(0, at, num_here, left + done);
            audio->read(1, at, num_here, right + done);
            at += num_here;
            done += static_cast<int>(num_here);
        }
    }
};

/// A gain that reaches its target in kGainSeconds.
struct SmoothGain {
    float now = 1.0f;
    float target = 1.0f;
    float step = 0.0f;

    void aim(float wanted, double host_rate) SA3_NONBLOCKING {
        if (wanted == target) return;
        target = wanted;
        step = (target - now) / static_cast<float>(std::max(1.0, kGainSeconds * host_rate));
    }
    float next() SA3_NONBLOCKING {
        if (now != target) {
            now += step;
            if ((step > 0) == (now > target) || step == 0.0f) now = target;
        }
        return now;
    }
};

float finite_or(float value, float otherwise) SA3_NONBLOCKING { return std::abs(value) <= 1e6f ? value : otherwise; }

}  // namespace

float loudness_match_gain(std::optional<double> lufs, double rms_db, double peak_db, double target_lufs) {
    const double level = lufs.value_or(rms_db);
    if (!std::isfinite(level) || !std::isfinite(peak_db) || !std::isfinite(target_lufs)) return 1.0f;
    double gain_db = std::clamp<double>(target_lufs - level, -kMaxMatchDb, kMaxMatchDb);
    gain_db = std::min(gain_db, std::max(0.0, kCeilingDb - peak_db));
    return static_cast<float>(std::pow(10.0, gain_db / 20.0));
}

MixGains mix_gains(float dry_wet) SA3_NONBLOCKING {
    const float wet = std::clamp(finite_or(dry_wet, 0.5f), 0.0f, 1.0f);
    return {std::min(1.0f, 2.0f * (1.0f - wet)), std::min(1.0f, 2.0f * wet)};
}

/// Everything the audio thread owns, and the ways in and out of it.
struct TakePlayer::Voices {
    Handover<Loaded> handover;
    std::atomic<double> audition_from{0.0};
    std::atomic<std::uint32_t> num_auditions{0};
    std::atomic<bool> audition_is_on{false};
    std::atomic<bool> head_is_sounding{false};
    std::atomic<double> head_take_sample{0.0};

    double host_rate = 48000.0;
    Loaded* current = nullptr;
    Loaded* leaving = nullptr;  // the take that the fading voice still reads
    Voice active, fading;
    int fade_left = 0, fade_length = 1;
    Motion motion;
    std::uint32_t num_auditions_seen = 0;
    bool fades_in = true;
    bool starved = false;
    bool was_sounding = false;
    SmoothGain dry, wet{0.0f, 0.0f, 0.0f};
    std::array<float, kSliceSamples> left{}, right{}, old_left{}, old_right{};

    void pick_up() SA3_NONBLOCKING {
        if (leaving || fade_left > 0) return;  // one change at a time: at most kFadeSeconds later
        if (auto* arrived = handover.pick_up()) {
            leaving = current;
            current = arrived;
        }
    }

    void let_go() SA3_NONBLOCKING {
        if (!leaving || fade_left > 0 || active.loaded == leaving) return;
        fading = {};
        handover.retire(leaving);
        leaving = nullptr;
    }

    /// Fade from what sounds now to `next`.
    void change_to(const Voice& next) SA3_NONBLOCKING {
        const bool is_silent = !active.audio && fade_left == 0;
        const bool mid_fade_old_is_louder = fade_left * 2 > fade_length;
        if (!mid_fade_old_is_louder || !fading.audio) fading = active;
        active = next;
        // A clip's first sample is an onset: it is never softened, only what sounded before is.
        const bool starts_at_its_beginning = next.audio && next.position() <= 0.5 * next.loaded->step;
        fades_in = !starts_at_its_beginning;
        if (is_silent && (!next.audio || starts_at_its_beginning)) {
            fading = {};
            fade_left = 0;
        } else {
            fade_left = fade_length;
        }
    }

    /// The final audio where it has come far enough, else the draft, else null.
    const TakeAudio* audio_for(double position, int num_samples) SA3_NONBLOCKING {
        const auto& take = *current->take;
        const double margin = starved ? kRestartSeconds * take.audio->sample_rate() : 0.0;
        const auto is_enough = [&](const TakeAudio& audio) SA3_NONBLOCKING {
            if (audio.has_ended()) return true;
            const double ahead = (num_samples + 2 * fade_length) * current->step + margin +
                                 (current->table ? current->table->num_taps() : 0);
            double from = position;
            if (take.loop && from >= 0) from = std::fmod(from, static_cast<double>(audio.num_samples()));
            const double end = std::min(from + ahead, static_cast<double>(audio.num_samples()));
            return end <= static_cast<double>(audio.num_available());
        };
        if (take.audio->is_complete() || is_enough(*take.audio)) return take.audio.get();
        if (take.draft && is_enough(*take.draft)) return take.draft.get();
        return nullptr;
    }

    /// Where in the take the host's position lies: by the take's tempo map where the host keeps to it, else by the
    /// host's tempo of now.
    double place_of(double ppq, double bpm) const SA3_NONBLOCKING {
        double seconds = (ppq - current->take->start_ppq) * 60.0 / bpm;
        const TempoStep* in_force = nullptr;
        for (const auto& step : current->take->tempo)
            if (step.ppq <= ppq) in_force = &step;
        if (in_force && std::abs(in_force->bpm - bpm) < 1e-6 * bpm)
            seconds = in_force->seconds + (ppq - in_force->ppq) * 60.0 / bpm;
        const double place = seconds * current->take->audio->sample_rate();
        return current->table ? place : std::floor(place + 0.5);
    }

    /// Aim the active voice at `place`; `runs_on`: the sound may go on where it is.
    void aim(double place, bool runs_on, int num_samples) SA3_NONBLOCKING {
        const bool same_take = active.loaded == current && active.audio;
        const double position = runs_on && same_take ? active.position() : place;
        if (!(std::abs(position) < kFarthest)) {
            starved = false;
            aim_at_silence();
            return;
        }
        const auto* audio = audio_for(position, num_samples);
        starved = !audio;
        const bool has_passed =
            !current->take->loop && position >= static_cast<double>(current->take->audio->num_samples());
        if (audio && same_take && active.audio == audio && (runs_on || is_same_place(place))) return;
        if (!audio && !active.audio) return;
        if (has_passed && !active.audio) return;
        Voice next;
        next.loaded = current;
        next.audio = audio;
        next.origin = position;
        if (!current->table) next.origin = std::floor(position + 0.5);
        change_to(audio ? next : Voice{});
    }

    bool is_same_place(double place) const SA3_NONBLOCKING {
        const double difference = place - active.position();
        const auto loop = active.loop_samples();
        if (loop == 0 || place < 0 || active.position() < 0) return std::abs(difference) < 0.5;
        return std::abs(std::remainder(difference, static_cast<double>(loop))) < 0.5;
    }

    bool is_inside() const SA3_NONBLOCKING {
        const double at = active.position();
        return active.audio && at >= 0 &&
               (active.loop_samples() > 0 || at < static_cast<double>(active.audio->num_samples()));
    }

    void aim_at_silence() SA3_NONBLOCKING {
        if (active.audio) change_to({});
    }

    void follow_host(const HostPosition& position, int num_samples) SA3_NONBLOCKING {
        if (!position.is_playing || !position.ppq) {
            motion.reset();
            starved = false;
            aim_at_silence();
            return;
        }
        const double bpm = position.bpm.value_or(kFallbackBpm);
        const bool runs_on = motion.follows_on(*position.ppq, bpm, host_rate);
        motion.advance(*position.ppq, bpm, host_rate, num_samples, !runs_on);
        aim(place_of(*position.ppq, bpm), runs_on, num_samples);
    }

    bool audition_is_new() const SA3_NONBLOCKING {
        return num_auditions.load(std::memory_order_acquire) != num_auditions_seen;
    }

    double audition_place() const SA3_NONBLOCKING {
        const bool is_start = audition_is_new() || active.loaded == nullptr;
        return is_start ? audition_from.load(std::memory_order_relaxed) : active.position();
    }

    void follow_audition(int num_samples) SA3_NONBLOCKING {
        motion.reset();
        const bool is_new = audition_is_new();
        const double place = audition_place();
        num_auditions_seen = num_auditions.load(std::memory_order_acquire);
        aim(place, !is_new, num_samples);
        const bool is_over = active.audio && !current->take->loop &&
                             active.position() >= static_cast<double>(current->take->audio->num_samples());
        if (is_over) audition_is_on.store(false, std::memory_order_release);
    }

    /// Render the next samples of the take into left and right; false: they are silent.
    bool render(int num_samples) SA3_NONBLOCKING {
        const bool sounds = active.audio || fade_left > 0;
        if (!sounds) return false;
        active.read(left.data(), right.data(), num_samples);
        if (fade_left > 0) {
            const int num_fading = std::min(fade_left, num_samples);
            fading.read(old_left.data(), old_right.data(), num_fading);
            for (int i = 0; i < num_fading; ++i) {
                const auto at = static_cast<std::size_t>(i);
                const float old_share = static_cast<float>(fade_left - i) / static_cast<float>(fade_length + 1);
                const float taken = fades_in ? old_share : 0.0f;
                left[at] += old_share * old_left[at] - taken * left[at];
                right[at] += old_share * old_right[at] - taken * right[at];
            }
            fade_left -= num_fading;
            if (fade_left == 0) fading = {};
        }
        return true;
    }

    void mix(const PlaySettings& settings, float* const* channels, int num_channels, int start,
             int num_samples) SA3_NONBLOCKING {
        const auto gains = mix_gains(settings.dry_wet);
        dry.aim(settings.mute_input ? 0.0f : gains.dry, host_rate);
        wet.aim(gains.wet * std::clamp(finite_or(settings.gain, 1.0f), 0.0f, 64.0f), host_rate);
        const bool sounds = render(num_samples);
        if (!was_sounding) wet.now = wet.target;  // the fade of the voice is enough
        was_sounding = sounds;
        const bool is_dry_untouched = dry.now == 1.0f && dry.target == 1.0f;
        if (!sounds && is_dry_untouched) return;
        const int num_mixed = std::min(num_channels, kNumChannels);
        for (int i = 0; i < num_samples; ++i) {
            const float dry_gain = dry.next(), wet_gain = wet.next();
            const auto at = static_cast<std::size_t>(i);
            const float take_left = sounds ? wet_gain * left[at] : 0.0f;
            const float take_right = sounds ? wet_gain * right[at] : 0.0f;
            for (int channel = 0; channel < num_channels; ++channel) {
                float& sample = channels[channel][start + i];
                if (dry_gain != 1.0f) sample = dry_gain == 0.0f ? 0.0f : sample * dry_gain;
                if (!sounds || channel >= num_mixed) continue;
                sample += num_channels == 1 ? 0.5f * (take_left + take_right) : channel == 0 ? take_left : take_right;
            }
        }
    }

    /// Play one stretch without a wrap inside.
    void play(const HostPosition& position, const PlaySettings& settings, float* const* channels, int num_channels,
              int start, int num_samples) SA3_NONBLOCKING {
        pick_up();
        const bool has_take = current && current->take;
        if (!has_take || !settings.is_on) {
            motion.reset();
            aim_at_silence();
        } else if (audition_is_on.load(std::memory_order_acquire)) {
            follow_audition(num_samples);
        } else {
            follow_host(position, num_samples);
        }
        for (int done = 0; done < num_samples; done += kSliceSamples)
            mix(settings, channels, num_channels, start + done, std::min(kSliceSamples, num_samples - done));
        let_go();
        head_is_sounding.store(is_inside(), std::memory_order_relaxed);
        head_take_sample.store(active.position(), std::memory_order_relaxed);
    }
};

TakePlayer::TakePlayer() : voices_(std::make_unique<Voices>()) {}
TakePlayer::~TakePlayer() = default;

void TakePlayer::prepare(double host_rate) {
    host_rate_ = std::isfinite(host_rate) ? std::clamp(host_rate, 1000.0, 768000.0) : 48000.0;
    auto fresh = std::make_unique<Voices>();
    fresh->host_rate = host_rate_;
    fresh->fade_length = std::max(1, static_cast<int>(kFadeSeconds * host_rate_));
    // What was asked for before the host prepared, such as by a parameter that a bounce sets, still stands.
    if (is_auditioning()) {
        fresh->audition_from.store(voices_->audition_from.load(std::memory_order_relaxed), std::memory_order_relaxed);
        fresh->num_auditions.store(1, std::memory_order_relaxed);
        fresh->audition_is_on.store(true, std::memory_order_release);
    }
    voices_ = std::move(fresh);
    if (newest_) hand_over(newest_);
}

void TakePlayer::set_take(std::shared_ptr<const PlayableTake> take) {
    newest_ = std::move(take);
    hand_over(newest_);
}

void TakePlayer::hand_over(std::shared_ptr<const PlayableTake> take) {
    auto loaded = std::make_unique<Loaded>();
    if (take && take->audio && take->audio->num_samples() > 0 && take->audio->sample_rate() > 0) {
        loaded->step = take->audio->sample_rate() / host_rate_;
        if (loaded->step != 1.0) loaded->table = std::make_unique<SincTable>(take->audio->sample_rate(), host_rate_);
        loaded->take = std::move(take);
    }
    voices_->handover.give(std::move(loaded));
}

void TakePlayer::collect() { voices_->handover.collect(); }

void TakePlayer::start_audition(double from_sample) {
    voices_->audition_from.store(std::isfinite(from_sample) ? std::max(0.0, from_sample) : 0.0,
                                 std::memory_order_relaxed);
    voices_->num_auditions.fetch_add(1, std::memory_order_release);
    voices_->audition_is_on.store(true, std::memory_order_release);
}

void TakePlayer::stop_audition() { voices_->audition_is_on.store(false, std::memory_order_release); }

bool TakePlayer::is_auditioning() const { return voices_->audition_is_on.load(std::memory_order_acquire); }

void TakePlayer::process(const HostPosition& position, const PlaySettings& settings, float* const* channels,
                         int num_channels, int num_samples) SA3_NONBLOCKING {
    auto& voices = *voices_;
    HostPosition here = position;
    for (int done = 0; done < num_samples;) {
        const int num_here = samples_to_wrap(here, voices.host_rate, num_samples - done);
        voices.play(here, settings, channels, num_channels, done, num_here);
        done += num_here;
        if (done < num_samples) here.ppq = here.cycle_start_ppq;
    }
}

bool TakePlayer::wait_for_audio(const HostPosition& position, int num_samples, std::chrono::milliseconds timeout) {
    auto& voices = *voices_;
    voices.pick_up();
    if (!voices.current || !voices.current->take) return true;
    const bool is_auditioning = this->is_auditioning();
    if (!is_auditioning && (!position.is_playing || !position.ppq)) return true;
    const auto& take = *voices.current->take;
    const auto length = take.audio->num_samples();
    const double place = is_auditioning ? voices.audition_place()
                                        : voices.place_of(*position.ppq, position.bpm.value_or(kFallbackBpm));
    const double num_ahead = (num_samples + 2 * voices.fade_length) * voices.current->step + 512;
    const bool host_wraps = !is_auditioning && samples_to_wrap(position, voices.host_rate, num_samples) < num_samples;
    const bool wraps = take.loop || host_wraps;
    if (!wraps && (place + num_ahead <= 0 || place >= static_cast<double>(length))) return true;
    const auto end = wraps ? length : static_cast<std::int64_t>(std::min<double>(place + num_ahead, 1e15));
    return take.audio->wait_available(std::min(end, length), timeout);
}

PlayHead TakePlayer::play_head() const SA3_NONBLOCKING {
    return {voices_->head_is_sounding.load(std::memory_order_relaxed),
            voices_->head_take_sample.load(std::memory_order_relaxed)};
}

}  // namespace sa3
