// Writing and reading the state. Knows no processor and no daemon.
#include "state.h"

#include <cmath>

#include "json_fields.h"
#include "sa3/framing.h"
#include "sa3/timeline.h"

namespace sa3::plugin {

namespace {

constexpr const char* kFormat = "sa3-daw plugin state";
constexpr int kVersion = 1;
constexpr int kMaxBytes = 16 << 20;

bool is_positive(double value) { return std::isfinite(value) && value > 0.0; }

/// JSON rounds the last bits of a number, but a daemon knows a job again by every bit.
juce::String exact_text(const Job& job) {
    const auto body = encode(job)[2];
    return juce::Base64::toBase64(body.data(), body.size());
}

void read_exactly(const juce::String& text, Job& job) {
    juce::MemoryOutputStream body;
    if (!juce::Base64::convertFromBase64(body, text)) return;
    try {
        const auto frames = encode(Job{});
        const auto read = decode(frames[0], frames[1], {static_cast<const char*>(body.getData()), body.getDataSize()});
        if (read && std::holds_alternative<Job>(read->message)) job = std::get<Job>(read->message);
    } catch (const ProtocolError&) {
        return;  // then it is sought by its id alone
    }
}

bool is_usable(const TakeFacts& facts) {
    return (!facts.audio.empty() || facts.is_unfinished()) && is_positive(facts.bpm) && facts.bpm <= 1000.0 && std::isfinite(facts.start_ppq) &&
           facts.num_samples > 0 && facts.num_samples <= TakeAudio::kMaxSamples && facts.sample_rate >= 1000 &&
           facts.sample_rate <= 768000 && facts.numerator >= 1 && facts.numerator <= 64 && facts.denominator >= 1 &&
           facts.denominator <= 32;
}

juce::var write_transport(const SavedSession& session) {
    auto* object = new juce::DynamicObject;
    const auto& transport = session.transport;
    object->setProperty("has_cycle", transport.has_cycle);
    object->setProperty("cycle_start_ppq", transport.cycle_start_ppq);
    object->setProperty("cycle_end_ppq", transport.cycle_end_ppq);
    object->setProperty("bpm", transport.bpm);
    object->setProperty("numerator", transport.numerator);
    object->setProperty("denominator", transport.denominator);
    object->setProperty("anchor_ppq", session.anchor_ppq);
    return object;
}

void read_transport(const juce::var& from, SavedSession& session) {
    auto& transport = session.transport;
    transport.has_cycle = from.getProperty("has_cycle", false);
    transport.cycle_start_ppq = from.getProperty("cycle_start_ppq", 0.0);
    transport.cycle_end_ppq = from.getProperty("cycle_end_ppq", 0.0);
    transport.bpm = from.getProperty("bpm", 120.0);
    transport.numerator = from.getProperty("numerator", 4);
    transport.denominator = from.getProperty("denominator", 4);
    const double anchor_ppq = from.getProperty("anchor_ppq", 0.0);
    session.anchor_ppq = std::isfinite(anchor_ppq) ? anchor_ppq : 0.0;
}

}  // namespace

juce::String write_state(const SavedState& state) {
    juce::Array<juce::var> takes;
    for (const auto& facts : state.session.takes) {
        auto take = to_json(facts);
        if (facts.is_unfinished()) take.getDynamicObject()->setProperty("exact_job", exact_text(facts.job));
        takes.add(take);
    }
    auto* object = new juce::DynamicObject;
    const juce::var root(object);
    object->setProperty("format", kFormat);
    object->setProperty("version", kVersion);
    object->setProperty("recipe", to_json(state.session.recipe));
    object->setProperty("parameters", state.parameters);
    object->setProperty("transport", write_transport(state.session));
    object->setProperty("takes", takes);
    object->setProperty("chosen_take", static_cast<juce::int64>(state.session.chosen));
    object->setProperty("window_scale", state.window_scale);
    object->setProperty("is_dark", state.is_dark);
    return juce::JSON::toString(root, true);
}

ReadState read_state(const void* bytes, int num_bytes) {
    const std::string corrupt = "The saved state could not be read, so the settings are the default ones.";
    if (bytes == nullptr || num_bytes <= 0 || num_bytes > kMaxBytes) return {{}, corrupt, false};
    const auto* text = static_cast<const char*>(bytes);
    if (!juce::CharPointer_UTF8::isValidString(text, num_bytes)) return {{}, corrupt, false};
    juce::var root;
    if (juce::JSON::parse(juce::String::fromUTF8(text, num_bytes), root).failed()) return {{}, corrupt, false};
    if (root["format"].toString() != kFormat || !root["version"].isInt()) return {{}, corrupt, false};
    if (static_cast<int>(root["version"]) > kVersion)
        return {{}, "The saved state is from a newer plugin; it is kept as it is, but its settings are not used.", true};

    SavedState state;
    from_json(root["recipe"], state.session.recipe);
    state.parameters = root["parameters"];
    read_transport(root["transport"], state.session);
    const auto chosen = static_cast<juce::int64>(root["chosen_take"]);
    if (const auto* takes = root["takes"].getArray())
        for (int i = 0; i < takes->size() && i < static_cast<int>(TakeBook::kMaxTakes); ++i) {
            TakeFacts facts;
            from_json(takes->getReference(i), facts);
            if (facts.is_unfinished()) read_exactly(takes->getReference(i)["exact_job"].toString(), facts.job);
            if (check_tempo_map(facts.job.tempo_map)) facts.job.tempo_map.clear();
            if (!is_usable(facts)) continue;
            if (i == chosen) state.session.chosen = static_cast<std::int64_t>(state.session.takes.size());
            state.session.takes.push_back(std::move(facts));
        }
    const double scale = root.getProperty("window_scale", 1.0);
    state.window_scale = std::isfinite(scale) ? juce::jlimit(0.5, 3.0, scale) : 1.0;
    state.is_dark = root.getProperty("is_dark", true);
    return {state, "", false};
}

}  // namespace sa3::plugin
