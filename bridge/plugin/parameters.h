// The automation parameters, by stable ids. Knows no session and no window.
//
// `generate` is no musician's knob: hosts without a window (scripts, tests) start a generation by raising it above 0.5.
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include <atomic>
#include <vector>

#include "sa3/take_player.h"

namespace sa3::plugin {

class Trigger;

class Parameters {
public:
    /// Adds the parameters to the processor, which owns them.
    explicit Parameters(juce::AudioProcessor& processor);

    /// [audio-thread]
    PlaySettings play_settings() const noexcept;
    bool match_loudness() const noexcept { return match_loudness_->get(); }
    /// A raised `generate` counts from the next block on, so that rate, tempo and place are known. [audio-thread]
    void pass_generate_request() noexcept;
    /// Whether a request was passed since the last call. [any thread]
    bool take_generate_request() noexcept;

    /// Whether the take shall play from its start, whatever the host does.
    juce::AudioParameterBool& listen() { return *listen_; }

    juce::var to_json() const;
    /// Ids that are unknown or not finite are left alone.
    void from_json(const juce::var& values);

    juce::AudioParameterBool& is_on() { return *is_on_; }
    juce::AudioParameterFloat& gain_db() { return *gain_db_; }
    juce::AudioParameterFloat& dry_wet() { return *dry_wet_; }
    juce::AudioParameterBool& mute_input() { return *mute_input_; }
    juce::AudioParameterBool& match_loudness_parameter() { return *match_loudness_; }

private:
    std::vector<juce::RangedAudioParameter*> saved() const;

    juce::AudioParameterBool* is_on_;
    juce::AudioParameterFloat* gain_db_;
    juce::AudioParameterFloat* dry_wet_;
    juce::AudioParameterBool* mute_input_;
    juce::AudioParameterBool* match_loudness_;
    juce::AudioParameterBool* listen_;
    Trigger* generate_;
};

}  // namespace sa3::plugin
