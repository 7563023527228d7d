// The plugin's state as a JSON text with a version. Knows no processor and no daemon.
#pragma once

#include <juce_core/juce_core.h>

#include <optional>
#include <string>

#include "session.h"

namespace sa3::plugin {

struct SavedState {
    SavedSession session;
    juce::var parameters;
    double window_scale = 1.0;
    bool is_dark = true;
};

juce::String write_state(const SavedState& state);

/// A state, or none, and in one sentence what of it cannot be used. Its takes can be; recipe and transport are checked where
/// they are put. `is_newer`: written by a newer plugin, to be kept as it is.
struct ReadState {
    std::optional<SavedState> state;
    std::string problem;
    bool is_newer = false;
};
ReadState read_state(const void* bytes, int num_bytes);

}  // namespace sa3::plugin
