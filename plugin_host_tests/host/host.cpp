// The commands: blocks, transport, parameters, state, window. Knows no daemon and no plugin format.
#include "host.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <random>
#include <stdexcept>
#include <thread>

namespace sa3::test {

namespace {

using Clock = std::chrono::steady_clock;
using juce::var;
using Channels = std::vector<float>[2];

constexpr int kLargestVariedBlock = 8192;

int count_entries(const char* folder) {
    return juce::File(folder).getNumberOfChildFiles(juce::File::findFilesAndDirectories);
}

double resident_mb() {
    std::ifstream file("/proc/self/statm");
    long total = 0, resident = 0;
    file >> total >> resident;
    return static_cast<double>(resident) * 4096.0 / 1e6;
}

/// This thread's own processor time: what others take of a busy machine is not in it.
double processor_microseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

double quantile(std::vector<double>& values, double share) {
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
}

void fill_input(const juce::String& input, Channels& in) {
    std::minstd_rand random(1);
    std::uniform_real_distribution<float> level(-1.0f, 1.0f);
    if (input == "noise") {
        for (auto& channel : in)
            for (size_t i = 0; i < channel.size(); ++i) channel[i] = i % 101 == 0 ? 1e-41f : level(random);  // denormals too
    } else if (input.isNotEmpty() && input != "silence") {
        std::ifstream file(input.toStdString(), std::ios::binary);
        for (auto& channel : in)
            file.read(reinterpret_cast<char*>(channel.data()), static_cast<std::streamsize>(channel.size() * sizeof(float)));
    }
}

void write(const juce::String& path, const Channels& channels) {
    std::ofstream file(path.toStdString(), std::ios::binary);
    for (const auto& channel : channels)
        file.write(reinterpret_cast<const char*>(channel.data()), static_cast<std::streamsize>(channel.size() * sizeof(float)));
}

void report(const Channels& in, const Channels& out, std::vector<double>& wall_us, std::vector<double>& processor_us,
            juce::DynamicObject& answer) {
    bool is_identical = true, is_finite = true;
    double peak = 0.0;
    for (int channel = 0; channel < 2; ++channel) {
        is_identical &= std::memcmp(in[channel].data(), out[channel].data(), in[channel].size() * sizeof(float)) == 0;
        for (const float sample : out[channel]) {
            is_finite &= std::isfinite(sample);
            peak = std::max(peak, static_cast<double>(std::abs(sample)));
        }
    }
    answer.setProperty("identical", is_identical);
    answer.setProperty("finite", is_finite);
    answer.setProperty("peak", peak);
    answer.setProperty("blocks", static_cast<int>(wall_us.size()));
    answer.setProperty("p50_us", quantile(wall_us, 0.5));
    answer.setProperty("p999_us", quantile(wall_us, 0.999));
    answer.setProperty("max_us", wall_us.back());
    answer.setProperty("processor_p50_us", quantile(processor_us, 0.5));
    answer.setProperty("processor_p99_us", quantile(processor_us, 0.99));
    answer.setProperty("processor_p999_us", quantile(processor_us, 0.999));
}

}  // namespace

PluginWindow::PluginWindow(juce::AudioProcessor& plugin, double scale)
    : juce::DocumentWindow("sa3-daw", juce::Colours::black, 0), editor_(plugin.createEditorIfNeeded()) {
    setUsingNativeTitleBar(false);
    setTitleBarHeight(0);
    setContentOwned(editor_, true);
    if (editor_ && scale != 1.0)
        editor_->setSize(juce::roundToInt(editor_->getWidth() * scale), juce::roundToInt(editor_->getHeight() * scale));
    setTopLeftPosition(0, 0);
    setVisible(true);
}

void Host::serve() {
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

void Host::obey(const var& command, juce::DynamicObject& answer) {
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
    else if (!obey_more(op, command, answer)) throw std::runtime_error(("unknown op " + op).toStdString());
}

void Host::load(const juce::String& path, juce::DynamicObject& answer) {
    path_ = path;
    juce::String problem;
    on_message_thread([&] { plugin_ = make(path, problem); });
    if (plugin_ == nullptr) throw std::runtime_error(problem.toStdString());
    plugin_->setPlayHead(&claims_);
    answer.setProperty("name", plugin_->getName());
    answer.setProperty("latency_samples", plugin_->getLatencySamples());
}

void Host::unload() {
    on_message_thread([this] {
        window_.reset();
        plugin_.reset();
    });
}

void Host::reload(int times, juce::DynamicObject& answer) {
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

void Host::prepare(const var& command) {
    rate_ = command.getProperty("rate", 48000.0);
    block_ = command.getProperty("block", 512);
    on_message_thread([&] {
        plugin_->releaseResources();
        plugin_->setNonRealtime(command.getProperty("offline", false));
        plugin_->setRateAndBufferSizeDetails(rate_, block_);
        plugin_->prepareToPlay(rate_, block_);
    });
}

void Host::run(const var& command, juce::DynamicObject& answer) {
    const int total = command.getProperty("samples", 48000), block = command.getProperty("block", block_);
    const bool is_varied = command["block"].toString() == "any";
    std::minstd_rand sizes(2);
    const bool is_realtime = command.getProperty("realtime", false);
    Channels in, out;
    for (auto& channel : in) channel.resize(static_cast<size_t>(total));
    fill_input(command["input"].toString(), in);
    for (int channel = 0; channel < 2; ++channel) out[channel] = in[channel];
    std::vector<double> wall_us, processor_us;
    juce::MidiBuffer midi;
    const auto started = Clock::now();
    for (int at = 0, count = 0; at < total; at += count) {
        count = std::min(is_varied ? static_cast<int>(1 + sizes() % kLargestVariedBlock) : block, total - at);
        float* channels[2] = {out[0].data() + at, out[1].data() + at};
        juce::AudioBuffer<float> buffer(channels, 2, count);
        const auto before = Clock::now();
        const double processor_before = processor_microseconds();
        plugin_->processBlock(buffer, midi);
        processor_us.push_back(processor_microseconds() - processor_before);
        wall_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
        claims_.advance(count, rate_);
        if (is_realtime)
            std::this_thread::sleep_until(
                started + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>((at + count) / rate_)));
    }
    report(in, out, wall_us, processor_us, answer);
    if (command.hasProperty("out")) write(command["out"].toString(), out);
}

void Host::set_parameter(const juce::String& name, double value) {
    for (auto* parameter : plugin_->getParameters())
        if (parameter->getName(100) == name) {
            on_message_thread([&] { parameter->setValueNotifyingHost(static_cast<float>(value)); });
            return;
        }
    throw std::runtime_error(("no parameter " + name).toStdString());
}

void Host::list_parameters(juce::DynamicObject& answer) {
    for (auto* parameter : plugin_->getParameters()) answer.setProperty(parameter->getName(100), parameter->getValue());
}

void Host::get_state(const juce::String& path) {
    juce::MemoryBlock state;
    on_message_thread([&] { plugin_->getStateInformation(state); });
    juce::File(path).replaceWithData(state.getData(), state.getSize());
}

void Host::set_state(const juce::String& path) {
    juce::MemoryBlock state;
    juce::File(path).loadFileAsData(state);
    on_message_thread([&] { plugin_->setStateInformation(state.getData(), static_cast<int>(state.getSize())); });
}

void Host::open_editor(double scale, juce::DynamicObject& answer) {
    on_message_thread([&] { window_ = std::make_unique<PluginWindow>(*plugin_, scale); });
    answer.setProperty("has_editor", window_->has_editor());
}

void serve_until_the_end(Host& host) {
    std::thread commands([&host] {
        host.serve();
        juce::MessageManager::getInstance()->stopDispatchLoop();
    });
    juce::MessageManager::getInstance()->runDispatchLoop();
    commands.join();
}

}  // namespace sa3::test
