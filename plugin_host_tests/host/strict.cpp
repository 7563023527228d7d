// The checks. Each has the plugin to itself and ends at the first thing that is wrong. Knows no daemon.
#include "strict.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>

#include "host.h"
#include "song.h"

namespace sa3::test {

namespace {

using juce::AudioChannelSet;
using juce::AudioPluginInstance;
using State = juce::MemoryBlock;

constexpr double kRate = 48000.0;
constexpr int kBlock = 512;
constexpr unsigned kSeed = 5;

void demand(bool holds, const juce::String& what) {
    if (!holds) throw std::runtime_error(what.toStdString());
}

/// One instance with a song to play; its thread is the audio thread.
class Guest {
public:
    explicit Guest(const juce::String& path) : song_(kSeed) {
        juce::String problem;
        on_message_thread([&] {
            formats_.addDefaultFormats();
            juce::OwnedArray<juce::PluginDescription> found;
            for (auto* format : formats_.getFormats()) format->findAllTypesForFile(found, path);
            if (!found.isEmpty()) plugin_ = formats_.createPluginInstance(*found[0], kRate, kBlock, problem);
        });
        demand(plugin_ != nullptr, "it does not load: " + problem);
        plugin_->setPlayHead(&song_);
        prepare(kRate, kBlock);
    }
    ~Guest() {
        on_message_thread([this] {
            window_.reset();
            plugin_.reset();
        });
    }

    AudioPluginInstance& plugin() { return *plugin_; }

    void prepare(double rate, int block) {
        on_message_thread([&] {
            plugin_->releaseResources();
            plugin_->setRateAndBufferSizeDetails(rate, block);
            plugin_->prepareToPlay(rate, block);
        });
        rate_ = rate;
    }

    /// Play noise in one block; what comes out.
    juce::AudioBuffer<float> block(int num_samples, int num_channels = 2) {
        juce::AudioBuffer<float> buffer(num_channels, num_samples);
        for (int channel = 0; channel < num_channels; ++channel)
            for (int i = 0; i < num_samples; ++i) buffer.setSample(channel, i, level_(random_));
        given_.makeCopyOf(buffer);
        plugin_->processBlock(buffer, midi_);
        song_.advance(num_samples, rate_);
        return buffer;
    }

    /// Blocks of any size: never anything but finite numbers.
    void play(int num_blocks) {
        for (int i = 0; i < num_blocks; ++i) {
            const auto out = block(song_.next_block(kBlock));
            for (int channel = 0; channel < out.getNumChannels(); ++channel)
                for (int at = 0; at < out.getNumSamples(); ++at)
                    demand(std::isfinite(out.getSample(channel, at)), "a sample is no number");
        }
    }

    /// With every parameter where it was at first, the input passes to the bit.
    void demand_passes(int num_samples, const juce::String& when, int num_channels = 2) {
        const auto out = block(num_samples, num_channels);
        for (int channel = 0; channel < num_channels && num_samples > 0; ++channel)
            demand(std::memcmp(out.getReadPointer(channel), given_.getReadPointer(channel),
                               static_cast<size_t>(num_samples) * sizeof(float)) == 0,
                   "the input does not pass to the bit " + when);
    }

    State state() {
        State state;
        on_message_thread([&] { plugin_->getStateInformation(state); });
        return state;
    }
    void set_state(const State& state) {
        on_message_thread([&] { plugin_->setStateInformation(state.getData(), static_cast<int>(state.getSize())); });
    }
    void open_window() {
        on_message_thread([this] { window_ = std::make_unique<PluginWindow>(*plugin_, 1.0); });
        demand(window_->has_editor(), "it has no window");
    }
    void close_window() {
        on_message_thread([this] { window_.reset(); });
    }

    /// Move all parameters but the trigger, from whatever thread; switches to one of their two ends.
    void shake_parameters(std::minstd_rand& random) {
        for (auto* parameter : plugin_->getParameters()) {
            const float value = static_cast<float>(random() % 1001) / 1000.0f;
            if (parameter->getName(100) == "Generate") continue;
            parameter->setValue(parameter->getNumSteps() == 2 ? std::round(value) : value);
        }
    }
    std::map<juce::String, float> values() {
        std::map<juce::String, float> values;
        for (auto* parameter : plugin_->getParameters()) values[parameter->getName(100)] = parameter->getValue();
        return values;
    }

private:
    juce::AudioPluginFormatManager formats_;
    Song song_;
    std::unique_ptr<AudioPluginInstance> plugin_;
    std::unique_ptr<PluginWindow> window_;
    std::minstd_rand random_{kSeed};
    std::uniform_real_distribution<float> level_{-1.0f, 1.0f};
    juce::AudioBuffer<float> given_;
    juce::MidiBuffer midi_;
    double rate_ = kRate;
};

/// Runs something again and again on a thread of its own until it goes out of scope.
class Meanwhile {
public:
    explicit Meanwhile(std::function<void(std::minstd_rand&)> work)
        : thread_([this, work = std::move(work)] {
              std::minstd_rand random(kSeed);
              while (!has_ended_) {
                  work(random);
                  ++num_times_;
                  std::this_thread::sleep_for(std::chrono::microseconds(500));
              }
          }) {}
    ~Meanwhile() {
        has_ended_ = true;
        thread_.join();
    }
    int num_times() const { return num_times_; }

private:
    std::atomic<bool> has_ended_{false};
    std::atomic<int> num_times_{0};
    std::thread thread_;
};

void parameters_from_three_threads(const juce::String& path) {
    Guest guest(path);
    const auto shake = [&](std::minstd_rand& random) { guest.shake_parameters(random); };
    const Meanwhile one(shake), two(shake), automation([&](std::minstd_rand& random) {
        on_message_thread([&] { guest.shake_parameters(random); });
    });
    while (std::min({one.num_times(), two.num_times(), automation.num_times()}) < 300) guest.play(20);
}

void states_while_it_plays(const juce::String& path) {
    Guest guest(path);
    auto good = guest.state();
    const Meanwhile restoring([&](std::minstd_rand&) { guest.set_state(good); });
    const Meanwhile saving([&](std::minstd_rand& random) {  // on a thread of its own: a host's backup
        State state;
        guest.plugin().getStateInformation(state);
        demand(state.getSize() > 100, "a state is empty");
        guest.shake_parameters(random);
    });
    while (std::min(restoring.num_times(), saving.num_times()) < 200) guest.play(20);
}

void values_come_back_with_the_state(const juce::String& path) {
    Guest guest(path), other(path);
    std::minstd_rand random(kSeed);
    for (int i = 0; i < 20; ++i) {
        guest.shake_parameters(random);
        guest.play(2);  // a VST3 host hands parameters over with the blocks
        const auto wanted = guest.values();
        const auto saved = guest.state();
        other.shake_parameters(random);
        other.play(2);
        other.set_state(saved);
        other.play(2);
        for (const auto& [name, value] : other.values())
            if (name != "Listen" && name != "Generate")
                demand(std::abs(value - wanted.at(name)) < 0.01f, name + " did not come back: " + juce::String(value) +
                                                                      " for " + juce::String(wanted.at(name)));
    }
}

void states_of_garbage(const juce::String& path) {
    Guest guest(path);
    const auto good = guest.state();
    std::minstd_rand random(kSeed);
    for (int i = 0; i < 300; ++i) {
        State bad(good);
        switch (i % 4) {
            case 0: bad.setSize(random() % (good.getSize() + 1)); break;  // cut short
            case 1:
                for (int flips = 0; flips < 8; ++flips) bad[random() % bad.getSize()] ^= static_cast<char>(1 << random() % 8);
                break;
            case 2:
                bad.setSize(random() % 65536);
                for (auto& byte : bad) byte = static_cast<char>(random());
                break;
            default: bad.append(good.getData(), good.getSize());
        }
        guest.set_state(bad);
        guest.play(1);
    }
    guest.set_state(good);
    guest.play(200);  // gains glide
    demand(guest.state().getSize() > 100, "no state after the garbage");
    guest.demand_passes(kBlock, "after the garbage");
}

void layouts(const juce::String& path) {
    Guest guest(path);
    const auto layout = [](const AudioChannelSet& in, const AudioChannelSet& out) {
        juce::AudioProcessor::BusesLayout layout;
        layout.inputBuses.add(in);
        layout.outputBuses.add(out);
        return layout;
    };
    const auto mono = AudioChannelSet::mono(), stereo = AudioChannelSet::stereo(), surround = AudioChannelSet::create5point1();
    const auto take = [&](const AudioChannelSet& in, const AudioChannelSet& out) {
        bool is_taken = false;
        on_message_thread([&] {
            guest.plugin().releaseResources();
            is_taken = guest.plugin().setBusesLayout(layout(in, out));
        });
        guest.prepare(kRate, kBlock);
        return is_taken;
    };
    for (int i = 0; i < 3; ++i) {
        demand(take(mono, mono), "mono is refused");
        guest.demand_passes(kBlock, "in mono", 1);
        demand(take(stereo, stereo), "stereo is refused");
        guest.demand_passes(kBlock, "in stereo");
        for (const auto& other : {surround, AudioChannelSet::quadraphonic(), AudioChannelSet::ambisonic(1)})
            demand(!take(other, other), "it takes " + other.getDescription());
        demand(!take(mono, surround), "it takes more outputs than inputs");
        guest.demand_passes(kBlock, "after refused layouts");
    }
}

void blocks_of_all_sizes_and_rates(const juce::String& path) {
    Guest guest(path);
    for (const double rate : {8000.0, 22050.0, 44100.0, 48000.0, 96000.0, 192000.0, 384000.0})
        for (const int prepared : {1, 16, 64, 1024, 8192}) {
            guest.prepare(rate, prepared);
            for (const int size : {0, 1, prepared, std::max(1, prepared - 1)}) guest.demand_passes(size, "");
            guest.prepare(rate, prepared);  // prepared again without a block, and released
        }
}

void input_that_is_no_number(const juce::String& path) {
    Guest guest(path);
    juce::MidiBuffer midi;
    for (const float poison : {std::nanf(""), INFINITY, -INFINITY, 1e-41f, 3e38f}) {
        juce::AudioBuffer<float> buffer(2, kBlock);
        for (int channel = 0; channel < 2; ++channel) std::fill_n(buffer.getWritePointer(channel), kBlock, poison);
        guest.plugin().processBlock(buffer, midi);
        guest.demand_passes(kBlock, "after input that is no number");
    }
}

void windows_opened_and_closed_while_it_plays(const juce::String& path) {
    Guest guest(path);
    const auto good = guest.state();
    std::atomic<int> num_windows{0};
    const Meanwhile opening([&](std::minstd_rand& random) {
        guest.open_window();
        if (random() % 2) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
        if (random() % 4 == 0) guest.set_state(good);
        guest.close_window();
        ++num_windows;
    });
    const Meanwhile automation([&](std::minstd_rand& random) { guest.shake_parameters(random); });
    while (num_windows < 25) guest.play(10);
}

void many_instances(const juce::String& path) {
    std::vector<std::unique_ptr<Guest>> guests;
    for (int i = 0; i < 16; ++i) guests.push_back(std::make_unique<Guest>(path));
    std::minstd_rand random(kSeed);
    while (!guests.empty()) {
        for (auto& guest : guests) guest->demand_passes(kBlock, "beside other instances");
        guests.erase(guests.begin() + static_cast<int>(random() % guests.size()));
    }
}

void descriptions_of_parameters(const juce::String& path) {
    Guest guest(path);
    std::map<juce::String, int> names, ids;
    for (auto* parameter : guest.plugin().getParameters()) {
        const auto name = parameter->getName(100);
        demand(name.isNotEmpty() && ++names[name] == 1, "a name is empty or used twice: " + name);
        if (auto* hosted = dynamic_cast<juce::HostedAudioProcessorParameter*>(parameter))
            demand(++ids[hosted->getParameterID()] == 1, "an id is used twice: " + name);
        const float otherwise = parameter->getDefaultValue();
        demand(otherwise >= 0.0f && otherwise <= 1.0f, "the default of " + name + " is out of range");
        for (const float value : {0.0f, 0.25f, 0.5f, 1.0f}) {
            const auto text = parameter->getText(value, 100);
            const float again = parameter->getValueForText(text);
            demand(text.isNotEmpty() && again >= 0.0f && again <= 1.0f, name + " cannot be written or read: " + text);
            demand(parameter->getText(again, 100) == text, name + " is another value after its text: " + text);
        }
    }
    demand(guest.plugin().getLatencySamples() == 0, "a latency is told");
}

using Check = void (*)(const juce::String&);
const std::map<juce::String, Check>& checks() {
    static const std::map<juce::String, Check> all{
        {"parameters_from_three_threads", parameters_from_three_threads},
        {"states_while_it_plays", states_while_it_plays},
        {"values_come_back_with_the_state", values_come_back_with_the_state},
        {"states_of_garbage", states_of_garbage},
        {"layouts", layouts},
        {"blocks_of_all_sizes_and_rates", blocks_of_all_sizes_and_rates},
        {"input_that_is_no_number", input_that_is_no_number},
        {"windows_opened_and_closed_while_it_plays", windows_opened_and_closed_while_it_plays},
        {"many_instances", many_instances},
        {"descriptions_of_parameters", descriptions_of_parameters},
    };
    return all;
}

}  // namespace

int check_strictly(const juce::String& check, const juce::String& plugin_path) {
    const auto found = checks().find(check);
    if (found == checks().end()) return 2;
    int code = 0;
    std::thread audio([&] {
        try {
            found->second(plugin_path);
        } catch (const std::exception& problem) {
            std::cout << problem.what() << std::endl;
            code = 1;
        }
        juce::MessageManager::getInstance()->stopDispatchLoop();
    });
    juce::MessageManager::getInstance()->runDispatchLoop();
    audio.join();
    return code;
}

}  // namespace sa3::test
