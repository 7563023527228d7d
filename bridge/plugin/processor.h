// The plugin as the host sees it: audio, parameters, state. Knows no window's layout and no protocol.
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include "parameters.h"
#include "session.h"
#include "state.h"

namespace sa3::plugin {

class Processor : public juce::AudioProcessor, private juce::Timer {
public:
    Processor();
    ~Processor() override;

    Session& session() { return session_; }
    Parameters& parameters() { return parameters_; }
    double window_scale() const { return window_scale_; }
    void set_window_scale(double scale) { window_scale_ = scale; }
    bool is_dark() const { return is_dark_; }
    void set_dark(bool is_dark) { is_dark_ = is_dark; }

    void prepareToPlay(double sample_rate, int max_block_samples) override;
    void releaseResources() override {}
    bool isBusesLayoutSupported(const BusesLayout& layout) const override;
    void processBlock(juce::AudioBuffer<float>& buffer, juce::MidiBuffer& midi) override;

    void getStateInformation(juce::MemoryBlock& to) override;
    void setStateInformation(const void* bytes, int num_bytes) override;

    juce::AudioProcessorEditor* createEditor() override;
    bool hasEditor() const override { return true; }

    const juce::String getName() const override { return JucePlugin_Name; }
    bool acceptsMidi() const override { return false; }
    bool producesMidi() const override { return false; }
    double getTailLengthSeconds() const override { return 0.0; }
    int getNumPrograms() override { return 1; }
    int getCurrentProgram() override { return 0; }
    void setCurrentProgram(int) override {}
    const juce::String getProgramName(int) override { return {}; }
    void changeProgramName(int, const juce::String&) override {}

private:
    void timerCallback() override;
    void service();
    void follow_listen();
    void process_offline(const HostPosition& position, int num_samples);

    TransportLatch latch_;
    TempoTrail trail_;
    TakePlayer player_;
    CaptureBuffer capture_;
    Parameters parameters_;
    Session session_;
    juce::CriticalSection newer_state_lock_;  // hosts save on any thread
    juce::MemoryBlock newer_state_;           // kept for a newer plugin, given back unchanged
    std::atomic<double> window_scale_{1.0};
    std::atomic<bool> is_dark_{true};
    std::atomic<bool> was_listening_{false};
    double offline_patience_seconds_ = 0.0;  // what is left for this rendering
};

}  // namespace sa3::plugin
