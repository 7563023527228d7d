// What both test hosts can do with a plugin: JSON commands on standard input, one JSON answer a line. Knows no daemon.
//
// The main thread runs the message loop; a second one takes the commands and is the audio thread as well, so that time,
// block sizes and what the play head says are all the test's.
//   {"op":"load","path":P}                      {"op":"prepare","rate":48000,"block":512,"offline":false}
//   {"op":"position","playing":true,"ppq":0,"bpm":120,"numerator":4,"denominator":4,"cycle":[0,16],"frozen":false,
//    "tempo_changes":[[8,140]]}
//   {"op":"run","samples":N,"block":512|"any","input":"noise|silence|FILE","out":FILE,"realtime":false}
//   {"op":"parameter","name":N,"value":V}       {"op":"parameters"}  {"op":"get_state","file":F}  {"op":"set_state","file":F}
//   {"op":"reload","times":N}                   {"op":"editor","scale":1.0}  {"op":"close_editor"}  {"op":"sleep","ms":N}
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include <memory>
#include <vector>

#include "claims.h"

namespace sa3::test {

/// Run `work` on the message thread and wait for it.
template <class Work>
void on_message_thread(Work work) {
    juce::WaitableEvent done;
    juce::MessageManager::callAsync([&] {
        work();
        done.signal();
    });
    done.wait();
}

/// The plugin's editor in a bare window at the screen's top left corner.
class PluginWindow : public juce::DocumentWindow {
public:
    PluginWindow(juce::AudioProcessor& plugin, double scale);
    bool has_editor() const { return editor_ != nullptr; }

private:
    juce::AudioProcessorEditor* editor_;
};

class Host {
public:
    virtual ~Host() = default;

    /// Obey the commands of standard input until it ends; the caller's thread is the audio thread.
    void serve();

protected:
    /// Make the plugin, or say why not. [message-thread]
    virtual std::unique_ptr<juce::AudioProcessor> make(const juce::String& path, juce::String& problem) = 0;
    /// A command that only one of the hosts knows; false: unknown.
    virtual bool obey_more(const juce::String&, const juce::var&, juce::DynamicObject&) { return false; }

    double rate() const { return rate_; }
    int block() const { return block_; }

private:
    void obey(const juce::var& command, juce::DynamicObject& answer);
    void load(const juce::String& path, juce::DynamicObject& answer);
    void unload();
    void reload(int times, juce::DynamicObject& answer);
    void prepare(const juce::var& command);
    void run(const juce::var& command, juce::DynamicObject& answer);
    void set_parameter(const juce::String& name, double value);
    void list_parameters(juce::DynamicObject& answer);
    void get_state(const juce::String& path);
    void set_state(const juce::String& path);
    void open_editor(double scale, juce::DynamicObject& answer);

    juce::String path_;
    Claims claims_;
    double rate_ = 48000.0;
    int block_ = 512;
    std::unique_ptr<juce::AudioProcessor> plugin_;
    std::unique_ptr<PluginWindow> window_;
};

/// Serve `host` beside the message loop until its input ends. [main thread]
void serve_until_the_end(Host& host);

}  // namespace sa3::test
