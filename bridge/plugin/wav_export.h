// A take as a WAV file at the host's rate with its place in the timeline (BWF). Knows no daemon and no window.
#pragma once

#include <juce_core/juce_core.h>

#include "sa3/take_audio.h"

namespace sa3::plugin {

/// The file, or in one sentence why it could not be written.
struct ExportedFile {
    juce::File file;
    juce::String problem;
};

/// Write all of `audio` into the user's folder for takes; `start_seconds` goes into the BWF time reference.
ExportedFile export_wav(const TakeAudio& audio, double host_rate, double start_seconds, const juce::String& name);

}  // namespace sa3::plugin
