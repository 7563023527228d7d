// A small plugin host for tests: JSON commands on standard input, one JSON answer a line. Knows no daemon.
//
// The main thread runs the message loop; a second one takes the commands and is the audio thread as well, so that time,
// block sizes and what the play head says are all the test's.
//   {"op":"load","path":P}                      {"op":"prepare","rate":48000,"block":512,"offline":false}
//   {"op":"position","playing":true,"ppq":0,"bpm":120,"numerator":4,"denominator":4,"cycle":[0,16],"frozen":false}
//   {"op":"run","samples":N,"block":512,"input":"noise|silence","out":FILE,"realtime":false}
//   {"op":"parameter","name":N,"value":V}       {"op":"parameters"}  {"op":"get_state","file":F}  {"op":"set_state","file":F}
//   {"op":"reload","times":N}                   {"op":"editor","scale":1.0}  {"op":"close_editor"}  {"op":"sleep","ms":N}
#include <juce_audio_processors/juce_audio_processors.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <limits>
#include <random>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using juce::var;

/// What the host claims about its transport; moves on with the blocks unless frozen.
class Claims : public juce::AudioPlayHead {
public:
    juce::Optional<PositionInfo> getPosition() const override { return told; }

    void set(const var& command) {
        told = {};
        told.setIsPlaying(command.getProperty("playing", false));
        told.setPpqPosition(number(command["ppq"], 0.0));
        told.setBpm(number(command["bpm"], 120.0));
        told.setTimeInSamples(juce::int64{0});
        told.setTimeSignature(TimeSignature{command.getProperty("numerator", 4), command.getProperty("denominator", 4)});
        if (const auto* cycle = command["cycle"].getArray(); cycle && cycle->size() == 2) {
            told.setIsLooping(true);
            told.setLoopPoints(LoopPoints{number((*cycle)[0], 0.0), number((*cycle)[1], 0.0)});
        }
        is_frozen = command.getProperty("frozen", false);
    }
    void advance(int num_samples, double rate) {
        if (!told.getIsPlaying() || is_frozen) return;
        auto ppq = *told.getPpqPosition() + num_samples / rate * *told.getBpm() / 60.0;
        if (const auto loop = told.getLoopPoints(); loop && told.getIsLooping() && loop->ppqEnd > loop->ppqStart)
            while (ppq >= loop->ppqEnd) ppq -= loop->ppqEnd - loop->ppqStart;
        told.setPpqPosition(ppq);
        told.setTimeInSamples(*told.getTimeInSamples() + num_samples);
    }

private:
    /// JSON has no NaN and no infinity: they come as texts.
    static double number(const var& value, double otherwise) {
        if (value.toString() == "nan") return std::numeric_limits<double>::quiet_NaN();
        if (value.toString() == "inf") return std::numeric_limits<double>::infinity();
        return value.isVoid() ? otherwise : static_cast<double>(value);
    }

    PositionInfo told;
    bool is_frozen = false;
};

class PluginWindow : public juce::DocumentWindow {
public:
    PluginWindow(juce::AudioProcessor& plugin, double scale)
        : juce::DocumentWindow("sa3-daw", juce::Colours::black, 0), editor_(plugin.createEditorIfNeeded()) {
        setUsingNativeTitleBar(false);
        setTitleBarHeight(0);
        setContentOwned(editor_, true);
        if (editor_ && scale != 1.0)
            editor_->setSize(juce::roundToInt(editor_->getWidth() * scale), juce::roundToInt(editor_->getHeight() * scale));
        setTopLeftPosition(0, 0);
        setVisible(true);
    }
    bool has_editor() const { return editor_ != nullptr; }

private:
    juce::AudioProcessorEditor* editor_;
};

template <class Work>
void on_message_thread(Work work) {
    juce::WaitableEvent done;
    juce::MessageManager::callAsync([&] {
        work();
        done.signal();
    });
    done.wait();
}

int count_entries(const char* folder) {
    return juce::File(folder).getNumberOfChildFiles(juce::File::findFilesAndDirectories);
}

double resident_mb() {
    std::ifstream file("/proc/self/statm");
    long total = 0, resident = 0;
    file >> total >> resident;
    return static_cast<double>(resident) * 4096.0 / 1e6;
}

class Host {
public:
    Host() { formats_.addDefaultFormats(); }

    void serve() {
        for (std::string line; std::getline(std::cin, line);) {
            auto* answer = new juce::DynamicObject;
            const var owned(answer);
            try {
                obey(juce::JSON::parse(line), *answer);
            } catch (const std::exception& error) {
                answer->setProperty("error", juce::String(error.what()));
            }
            std::cout << juce::JSON::toString(owned, true) << std::endl;
        }
        unload();
    }

private:
    void obey(const var& command, juce::DynamicObject& answer) {
        const auto op = command["op"].toString();
        if (op == "load") load(command["path"].toString(), answer);
        else if (op == "reload") reload(command["times"], answer);
        else if (op == "sleep") juce::Thread::sleep(command["ms"]);
        else if (plugin_ == nullptr) throw std::runtime_error("no plugin is loaded");
        else if (op == "prepare") prepare(command);
        else if (op == "position") claims_.set(command);
        else if (op == "run") run(command, answer);
        else if (op == "parameter") set_parameter(command["name"].toString(), command["value"]);
        else if (op == "parameters") list_parameters(answer);
        else if (op == "get_state") get_state(command["file"].toString());
        else if (op == "set_state") set_state(command["file"].toString());
        else if (op == "editor") open_editor(command.getProperty("scale", 1.0), answer);
        else if (op == "close_editor") on_message_thread([this] { window_.reset(); });
        else throw std::runtime_error(("unknown op " + op).toStdString());
    }

    void load(const juce::String& path, juce::DynamicObject& answer) {
        path_ = path;
        juce::String problem;
        on_message_thread([&] {
            juce::OwnedArray<juce::PluginDescription> found;
            for (auto* format : formats_.getFormats()) format->findAllTypesForFile(found, path);
            if (found.isEmpty()) {
                problem = "no plugin in " + path;
                return;
            }
            plugin_ = formats_.createPluginInstance(*found[0], rate_, block_, problem);
        });
        if (plugin_ == nullptr) throw std::runtime_error(problem.toStdString());
        plugin_->setPlayHead(&claims_);
        answer.setProperty("name", plugin_->getName());
        answer.setProperty("latency_samples", plugin_->getLatencySamples());
    }

    void unload() {
        on_message_thread([this] {
            window_.reset();
            plugin_.reset();
        });
    }

    void reload(int times, juce::DynamicObject& answer) {
        juce::DynamicObject nothing;
        const auto count = [&answer](const char* when) {
            auto* counts = new juce::DynamicObject;
            counts->setProperty("threads", count_entries("/proc/self/task"));
            counts->setProperty("files", count_entries("/proc/self/fd"));
            counts->setProperty("resident_mb", resident_mb());
            answer.setProperty(when, counts);
        };
        for (int i = 0; i < times; ++i) {
            unload();
            if (i == std::min(5, times - 1)) count("before");
            load(path_, nothing);
        }
        unload();
        count("after");
        load(path_, nothing);
    }

    void prepare(const var& command) {
        rate_ = command.getProperty("rate", 48000.0);
        block_ = command.getProperty("block", 512);
        on_message_thread([&] {
            plugin_->releaseResources();
            plugin_->setNonRealtime(command.getProperty("offline", false));
            plugin_->setRateAndBufferSizeDetails(rate_, block_);
            plugin_->prepareToPlay(rate_, block_);
        });
    }

    void run(const var& command, juce::DynamicObject& answer) {
        const int total = command.getProperty("samples", 48000), block = command.getProperty("block", block_);
        const bool is_noise = command["input"].toString() == "noise", is_realtime = command.getProperty("realtime", false);
        std::minstd_rand random(1);
        std::uniform_real_distribution<float> level(-1.0f, 1.0f);
        std::vector<float> in[2], out[2];
        for (int channel = 0; channel < 2; ++channel) {
            in[channel].resize(static_cast<size_t>(total));
            out[channel].resize(static_cast<size_t>(total));
            if (is_noise)
                for (size_t i = 0; i < in[channel].size(); ++i)
                    in[channel][i] = i % 101 == 0 ? 1e-41f : level(random);  // denormals too
        }
        std::vector<double> microseconds;
        juce::MidiBuffer midi;
        const auto started = Clock::now();
        for (int at = 0; at < total; at += block) {
            const int count = std::min(block, total - at);
            float* channels[2] = {out[0].data() + at, out[1].data() + at};
            for (int channel = 0; channel < 2; ++channel)
                std::memcpy(channels[channel], in[channel].data() + at, sizeof(float) * static_cast<size_t>(count));
            juce::AudioBuffer<float> buffer(channels, 2, count);
            const auto before = Clock::now();
            plugin_->processBlock(buffer, midi);
            microseconds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
            claims_.advance(count, rate_);
            if (is_realtime) std::this_thread::sleep_until(started + std::chrono::duration_cast<Clock::duration>(
                                                                         std::chrono::duration<double>((at + count) / rate_)));
        }
        report(in, out, microseconds, answer);
        if (command.hasProperty("out")) write(command["out"].toString(), out);
    }

    static void report(const std::vector<float> (&in)[2], const std::vector<float> (&out)[2],
                       std::vector<double>& microseconds, juce::DynamicObject& answer) {
        bool is_identical = true, is_finite = true;
        double peak = 0.0;
        for (int channel = 0; channel < 2; ++channel) {
            is_identical &= std::memcmp(in[channel].data(), out[channel].data(), in[channel].size() * sizeof(float)) == 0;
            for (const float sample : out[channel]) {
                is_finite &= std::isfinite(sample);
                peak = std::max(peak, static_cast<double>(std::abs(sample)));
            }
        }
        std::sort(microseconds.begin(), microseconds.end());
        const auto quantile = [&](double share) {
            return microseconds[std::min(microseconds.size() - 1, static_cast<size_t>(share * static_cast<double>(microseconds.size())))];
        };
        answer.setProperty("identical", is_identical);
        answer.setProperty("finite", is_finite);
        answer.setProperty("peak", peak);
        answer.setProperty("blocks", static_cast<int>(microseconds.size()));
        answer.setProperty("p50_us", quantile(0.5));
        answer.setProperty("p999_us", quantile(0.999));
        answer.setProperty("max_us", microseconds.back());
    }

    static void write(const juce::String& path, const std::vector<float> (&channels)[2]) {
        std::ofstream file(path.toStdString(), std::ios::binary);
        for (const auto& channel : channels)
            file.write(reinterpret_cast<const char*>(channel.data()), static_cast<std::streamsize>(channel.size() * sizeof(float)));
    }

    void set_parameter(const juce::String& name, double value) {
        for (auto* parameter : plugin_->getParameters())
            if (parameter->getName(100) == name) {
                on_message_thread([&] { parameter->setValueNotifyingHost(static_cast<float>(value)); });
                return;
            }
        throw std::runtime_error(("no parameter " + name).toStdString());
    }

    void list_parameters(juce::DynamicObject& answer) {
        for (auto* parameter : plugin_->getParameters()) answer.setProperty(parameter->getName(100), parameter->getValue());
    }

    void get_state(const juce::String& path) {
        juce::MemoryBlock state;
        on_message_thread([&] { plugin_->getStateInformation(state); });
        juce::File(path).replaceWithData(state.getData(), state.getSize());
    }

    void set_state(const juce::String& path) {
        juce::MemoryBlock state;
        juce::File(path).loadFileAsData(state);
        on_message_thread([&] { plugin_->setStateInformation(state.getData(), static_cast<int>(state.getSize())); });
    }

    void open_editor(double scale, juce::DynamicObject& answer) {
        on_message_thread([&] { window_ = std::make_unique<PluginWindow>(*plugin_, scale); });
        answer.setProperty("has_editor", window_->has_editor());
    }

    juce::AudioPluginFormatManager formats_;
    juce::String path_;
    Claims claims_;
    double rate_ = 48000.0;
    int block_ = 512;
    std::unique_ptr<juce::AudioPluginInstance> plugin_;
    std::unique_ptr<PluginWindow> window_;
};

}  // namespace

int main() {
    const juce::ScopedJuceInitialiser_GUI gui;
    Host host;
    std::thread commands([&host] {
        host.serve();
        juce::MessageManager::getInstance()->stopDispatchLoop();
    });
    juce::MessageManager::getInstance()->runDispatchLoop();
    commands.join();
}
