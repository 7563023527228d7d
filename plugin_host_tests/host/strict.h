// What plugin validators ask of a VST3, asked by ourselves: threads, states, layouts, blocks, windows. Knows no daemon.
#pragma once

#include <juce_core/juce_core.h>

namespace sa3::test {

/// Run one check of the VST3 beside the message loop; say on standard output what was wrong, nothing when all is well.
/// Returns the program's exit code: 0 well, 1 not, 2 no such check. [main thread]
int check_strictly(const juce::String& check, const juce::String& plugin_path);

}  // namespace sa3::test
