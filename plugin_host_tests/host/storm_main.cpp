// sa3_storm SECONDS: the plugin's processBlock in real time while a musician and a host do all at once. Knows no VST3.
//
// Three threads: the audio thread plays a restless song in blocks of any size, the message thread keeps the session going,
// and a third one generates, edits, chooses, captures, automates, saves and restores. Prints one JSON line of what has
// happened. Built with RealtimeSanitizer's library every block is a real-time context: an allocation, a lock or a system
// call in it is reported and ends the program. To prove that, "allocate", "lock" or "offline" instead of SECONDS do in one
// block what must be found out.
#include <array>
#include <atomic>
#include <chrono>
#include <iostream>
#include <mutex>
#include <random>
#include <thread>

#include "host.h"
#include "processor.h"
#include "song.h"

#ifdef SA3_REALTIME_CHECKED
extern "C" void __rtsan_realtime_enter();
extern "C" void __rtsan_realtime_exit();
extern "C" void __rtsan_ensure_initialized();
#else
static void __rtsan_realtime_enter() {}
static void __rtsan_realtime_exit() {}
static void __rtsan_ensure_initialized() {}
#endif

namespace {

using namespace sa3::plugin;
using sa3::test::on_message_thread;
using Clock = std::chrono::steady_clock;

constexpr int kMostSamples = 8192;
constexpr int kToldSamples = 512;  // what the host announces: it may send more
constexpr int kBlocksPerRate = 6000;
constexpr std::array<double, 4> kRates{48000.0, 44100.0, 96000.0, 192000.0};

/// What a `[[clang::nonblocking]]` function is to RealtimeSanitizer, for as long as this lives.
struct RealtimeContext {
    RealtimeContext() { __rtsan_realtime_enter(); }
    ~RealtimeContext() { __rtsan_realtime_exit(); }
};

struct Counts {
    std::int64_t blocks = 0, samples = 0, blocks_while_generating = 0, blocks_sounding = 0, blocks_capturing = 0;
    std::int64_t rate_changes = 0, num_not_finite = 0;
    std::atomic<std::int64_t> generations{0}, saves{0}, restores{0}, choices{0}, captures{0};
};

class Storm {
public:
    Storm() : song_(11) {
        on_message_thread([this] {
            processor_ = std::make_unique<Processor>();
            processor_->setPlayHead(&song_);
            Recipe recipe;
            recipe.prompt = "house drums";
            recipe.steps = 2;
            recipe.range_mode = static_cast<std::int64_t>(RangeMode::kSeconds);
            recipe.seconds = 3.0;
            recipe.loop = true;  // sounds at nearly every place of the song
            processor_->session().set_recipe(recipe);
            prepare(kRates[0]);
        });
    }
    ~Storm() {
        on_message_thread([this] { processor_.reset(); });
    }

    juce::var run(double seconds) {
        std::thread musician([this] { play_about(); });
        const auto end = Clock::now() + std::chrono::duration<double>(seconds);
        while (Clock::now() < end) {
            block();
            if (counts_.blocks % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
            if (counts_.blocks % kBlocksPerRate == 0) {
                on_message_thread([this] { prepare(kRates[static_cast<size_t>(++counts_.rate_changes) % kRates.size()]); });
            }
        }
        has_ended_ = true;
        musician.join();
        return report();
    }

    /// Do in one block what must be found out.
    void misbehave(const juce::String& how) {
        processor_->setNonRealtime(how == "offline");  // a bounce may wait: processBlock then locks and waits
        std::mutex mutex;
        const RealtimeContext context;
        if (how == "allocate") delete new volatile int(1);
        if (how == "lock") mutex.lock();
        juce::AudioBuffer<float> buffer(channels_.data(), 2, 64);
        processor_->processBlock(buffer, midi_);
    }

private:
    void prepare(double rate) {
        rate_ = rate;
        processor_->releaseResources();
        processor_->setRateAndBufferSizeDetails(rate, kToldSamples);
        processor_->prepareToPlay(rate, kToldSamples);
    }

    void block() {
        const int size = song_.next_block(kMostSamples);
        for (auto* channel : channels_) std::fill_n(channel, size, 0.1f);
        channels_[0][0] = 1e-41f;
        juce::AudioBuffer<float> buffer(channels_.data(), 2, size);
        {
            const RealtimeContext context;
            processor_->processBlock(buffer, midi_);
        }
        for (const auto* channel : channels_)
            for (int i = 0; i < size; ++i) counts_.num_not_finite += !std::isfinite(channel[i]);
        ++counts_.blocks;
        counts_.samples += size;
        counts_.blocks_while_generating += is_generating_;
        counts_.blocks_sounding += is_sounding_;
        counts_.blocks_capturing += is_capturing_;
        song_.advance(size, rate_);
    }

    void play_about() {
        std::minstd_rand random(7);
        auto& session = processor_->session();
        juce::MemoryBlock saved;
        while (!has_ended_) {
            const auto view = session.view();
            is_generating_ = view.is_running && view.daemon.is_connected();
            is_sounding_ = view.play_head.is_sounding;
            is_capturing_ = view.capture == sa3::CaptureState::kRecording;
            one_thing(random, session, view, saved);
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }

    void one_thing(std::minstd_rand& random, Session& session, const SessionView& view, juce::MemoryBlock& saved) {
        const auto dice = random() % 400;
        const bool may_make = !view.is_running && view.daemon.is_connected();
        if (may_make && (dice > 390 || counts_.generations == 0)) make_something(random, session, view);
        else if (dice == 0) session.cancel();
        else if (dice < 40 && !view.takes.empty()) choose(random, session, view);
        else if (dice < 60) automate(random);
        else if (dice < 70) save(saved);
        else if (dice == 70 && !saved.isEmpty()) restore(saved);
        else if (dice < 78) capture(random, session);
        else if (dice < 84) session.set_auditioning(random() % 2, static_cast<double>(random() % 48000));
    }

    void make_something(std::minstd_rand& random, Session& session, const SessionView& view) {
        ++counts_.generations;
        const bool has_take = view.shown && view.shown->audio && view.shown->audio->is_complete();
        const auto verb = has_take ? random() % 5 : 0;
        if (verb == 1) session.repaint({{view.shown->audio->num_samples() / 4, view.shown->audio->num_samples() / 2}});
        else if (verb == 2) session.restyle();
        else if (verb == 3) session.make_again();
        else session.generate();
    }

    void choose(std::minstd_rand& random, Session& session, const SessionView& view) {
        ++counts_.choices;
        switch (random() % 6) {
            case 0: return session.undo();
            case 1: return session.redo();
            case 2: return session.toggle_a_b();
            case 3: return session.set_starred(view.takes.back().key, random() % 2);
            default: return session.choose(view.takes[random() % view.takes.size()].key);
        }
    }

    void automate(std::minstd_rand& random) {
        processor_->parameters().is_on().setValueNotifyingHost(1.0f);  // off only until the next change
        const auto& parameters = processor_->getParameters();
        auto* parameter = parameters[static_cast<int>(random() % static_cast<unsigned>(parameters.size()))];
        if (parameter->getName(100) != "Generate") parameter->setValueNotifyingHost(static_cast<float>(random() % 101) / 100.0f);
    }

    void save(juce::MemoryBlock& saved) {
        processor_->getStateInformation(saved);
        ++counts_.saves;
    }

    void restore(const juce::MemoryBlock& saved) {
        on_message_thread([&] { processor_->setStateInformation(saved.getData(), static_cast<int>(saved.getSize())); });
        ++counts_.restores;
    }

    void capture(std::minstd_rand& random, Session& session) {
        if (random() % 2) {
            session.start_capture(random() % 2);
            ++counts_.captures;
        } else {
            session.stop_capture();
        }
    }

    juce::var report() {
        auto* told = new juce::DynamicObject;
        const auto tell = [told](const char* name, std::int64_t value) { told->setProperty(name, static_cast<juce::int64>(value)); };
        tell("blocks", counts_.blocks);
        tell("samples", counts_.samples);
        tell("blocks_while_generating", counts_.blocks_while_generating);
        tell("blocks_sounding", counts_.blocks_sounding);
        tell("blocks_capturing", counts_.blocks_capturing);
        tell("not_finite", counts_.num_not_finite);
        tell("rate_changes", counts_.rate_changes);
        tell("generations", counts_.generations);
        tell("saves", counts_.saves);
        tell("restores", counts_.restores);
        tell("choices", counts_.choices);
        tell("captures", counts_.captures);
        tell("takes", static_cast<std::int64_t>(processor_->session().view().takes.size()));
        return told;
    }

    sa3::test::Song song_;
    std::unique_ptr<Processor> processor_;
    juce::MidiBuffer midi_;
    std::vector<float> left_ = std::vector<float>(kMostSamples), right_ = std::vector<float>(kMostSamples);
    std::array<float*, 2> channels_{left_.data(), right_.data()};
    double rate_ = kRates[0];
    Counts counts_;
    std::atomic<bool> has_ended_{false}, is_generating_{false}, is_sounding_{false}, is_capturing_{false};
};

}  // namespace

int main(int num_words, char** words) {
    if (num_words != 2) return std::cerr << "sa3_storm SECONDS|allocate|lock|offline\n", 2;
    __rtsan_ensure_initialized();
    const juce::ScopedJuceInitialiser_GUI gui;
    const juce::String wish(words[1]);
    std::thread audio([&wish] {
        {
            Storm storm;
            if (wish.containsOnly("0123456789.")) std::cout << juce::JSON::toString(storm.run(wish.getDoubleValue()), true) << std::endl;
            else storm.misbehave(wish);
        }
        juce::MessageManager::getInstance()->stopDispatchLoop();
    });
    juce::MessageManager::getInstance()->runDispatchLoop();
    audio.join();
}
