// The automation parameters and their ranges. Knows no session and no window.
#include "parameters.h"

#include <cmath>

namespace sa3::plugin {

namespace {

constexpr int kVersionHint = 1;  // AU: the version a parameter came with; never change one
constexpr float kSilentDb = -60.0f;

juce::ParameterID id(const char* name) { return {name, kVersionHint}; }

}  // namespace

/// Remembers being raised, however short the pulse was, until a block has passed it on and somebody has taken it.
class Trigger : public juce::AudioParameterBool {
public:
    using juce::AudioParameterBool::AudioParameterBool;

    void pass() noexcept {
        if (raised_.exchange(false)) due_.store(true);
    }
    bool take() noexcept { return due_.exchange(false); }

private:
    void valueChanged(bool is_up) override {
        if (is_up && !was_up_.exchange(is_up)) raised_.store(true);
        if (!is_up) was_up_.store(false);
    }

    std::atomic<bool> raised_{false};
    std::atomic<bool> due_{false};
    std::atomic<bool> was_up_{false};
};

Parameters::Parameters(juce::AudioProcessor& processor)
    : is_on_(new juce::AudioParameterBool(id("on"), "Take on", true)),
      gain_db_(new juce::AudioParameterFloat(id("gain"), "Take gain", {kSilentDb, 12.0f, 0.1f}, 0.0f,
                                             juce::AudioParameterFloatAttributes().withLabel("dB"))),
      dry_wet_(new juce::AudioParameterFloat(id("dry_wet"), "Dry/wet", {0.0f, 1.0f, 0.01f}, 0.5f)),
      mute_input_(new juce::AudioParameterBool(id("mute_input"), "Mute input", false)),
      match_loudness_(new juce::AudioParameterBool(id("match_loudness"), "Equal loudness", true)),
      listen_(new juce::AudioParameterBool(id("listen"), "Listen", false)),
      generate_(new Trigger(id("generate"), "Generate", false)) {
    for (juce::AudioProcessorParameter* parameter :
         std::initializer_list<juce::AudioProcessorParameter*>{is_on_, gain_db_, dry_wet_, mute_input_, match_loudness_,
                                                               listen_, generate_})
        processor.addParameter(parameter);
}

PlaySettings Parameters::play_settings() const noexcept {
    const float db = gain_db_->get();
    PlaySettings settings;
    settings.gain = db <= kSilentDb ? 0.0f : std::pow(10.0f, db / 20.0f);
    settings.dry_wet = dry_wet_->get();
    settings.mute_input = mute_input_->get();
    settings.is_on = is_on_->get();
    return settings;
}

void Parameters::pass_generate_request() noexcept { generate_->pass(); }

bool Parameters::take_generate_request() noexcept { return generate_->take(); }

std::vector<juce::RangedAudioParameter*> Parameters::saved() const {
    return {is_on_, gain_db_, dry_wet_, mute_input_, match_loudness_};
}

juce::var Parameters::to_json() const {
    auto* object = new juce::DynamicObject;
    for (auto* parameter : saved())
        object->setProperty(parameter->getParameterID(), parameter->convertFrom0to1(parameter->getValue()));
    return object;
}

void Parameters::from_json(const juce::var& values) {
    for (auto* parameter : saved()) {
        const auto& value = values[juce::Identifier(parameter->getParameterID())];
        const bool is_usable = (value.isDouble() || value.isInt() || value.isInt64()) && std::isfinite(double(value));
        if (is_usable) parameter->setValueNotifyingHost(parameter->convertTo0to1(static_cast<float>(double(value))));
    }
}

}  // namespace sa3::plugin
