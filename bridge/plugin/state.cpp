// Writing and reading the state. Knows no processor and no daemon.
#include "state.h"

#include <algorithm>
#include <cmath>

#include "json_fields.h"
#include "sa3/framing.h"
#include "sa3/timeline.h"

namespace sa3::plugin {

namespace {

constexpr const char* kFormat = "sa3-daw plugin state";
constexpr int kVersion = 1;
constexpr int kMaxBytes = 16 << 20;
constexpr int kMaxNesting = 32;
constexpr std::int64_t kMaxVariations = 64;

/// How deep the JSON parser would recurse into a text.
int nesting(const char* text, int num_bytes) {
    int depth = 0, deepest = 0;
    char quote = 0;  // of the string that is being passed
    for (int i = 0; i < num_bytes; ++i) {
        const char c = text[i];
        if (quote != 0 && c == '\\')
            ++i;
        else if (quote != 0)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '[' || c == '{')
            deepest = std::max(deepest, ++depth);
        else if (c == ']' || c == '}')
            --depth;
    }
    return deepest;
}

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

bool is_length(std::int64_t num_samples) { return num_samples > 0 && num_samples <= TakeAudio::kMaxSamples; }
bool is_rate(std::int64_t sample_rate) { return sample_rate >= 1000 && sample_rate <= 768000; }

bool is_usable(const Job& job) {
    const auto& map = job.tempo_map;
    const auto is_true = [](const TempoPoint& point) { return is_tempo(point.bpm) && is_position(point.position_ppq); };
    const bool has_length = is_length(job.num_samples) && is_rate(job.sample_rate);
    return (has_length || job.num_samples == 0) &&
           (map.empty() || (!check_tempo_map(map) && std::all_of(map.begin(), map.end(), is_true)));
}

bool is_usable(const TakeFacts& facts) {
    return (!facts.audio.empty() || facts.is_unfinished()) && is_usable(facts.job) && is_tempo(facts.bpm) &&
           is_metre(facts.numerator, facts.denominator) && is_position(facts.start_ppq) && is_length(facts.num_samples) &&
           is_rate(facts.sample_rate) && facts.variation >= 0 && facts.variation < kMaxVariations;
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
    session.anchor_ppq = is_position(anchor_ppq) ? anchor_ppq : 0.0;
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
    if (nesting(text, num_bytes) > kMaxNesting) return {{}, corrupt, false};
    juce::var root;
    if (juce::JSON::parse(juce::String::fromUTF8(text, num_bytes), root).failed()) return {{}, corrupt, false};
    if (root["format"].toString() != kFormat || !root["version"].isInt()) return {{}, corrupt, false};
    if (static_cast<int>(root["version"]) > kVersion)
        return {{}, "The saved state is from a newer plugin; it is kept as it is, but its settings are not used.", true};

    SavedState state;
    std::string problem;
    from_json(root["recipe"], state.session.recipe);
    state.parameters = root["parameters"];
    read_transport(root["transport"], state.session);
    const auto chosen = static_cast<juce::int64>(root["chosen_take"]);
    if (const auto* takes = root["takes"].getArray())
        for (int i = 0; i < takes->size() && i < static_cast<int>(TakeBook::kMaxTakes); ++i) {
            TakeFacts facts;
            from_json(takes->getReference(i), facts);
            if (facts.is_unfinished()) read_exactly(takes->getReference(i)["exact_job"].toString(), facts.job);
            if (!is_usable(facts)) {
                problem = "A take of the saved state says what cannot be; it is left out.";
                continue;
            }
            if (i == chosen) state.session.chosen = static_cast<std::int64_t>(state.session.takes.size());
            state.session.takes.push_back(std::move(facts));
        }
    const double scale = root.getProperty("window_scale", 1.0);
    state.window_scale = std::isfinite(scale) ? juce::jlimit(0.5, 3.0, scale) : 1.0;
    state.is_dark = root.getProperty("is_dark", true);
    return {state, problem, false};
}

}  // namespace sa3::plugin
