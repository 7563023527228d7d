// Read before JUCE's VST3 and LV2 wrappers on Linux, whose message thread connects to the X server as soon as the plugin is
// loaded: with this it does not, the first window does. Knows nothing else.
//
// Xlib ends the process when an X server goes away. A host without windows shall not depend on one through us; a host that
// opens our window depends on it anyway.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

namespace juce {

/// Takes the place of XWindowSystem, which the wrappers name for this one call only.
struct ConnectedByTheFirstWindow {
    static void getInstance() {}
};

}  // namespace juce

#define XWindowSystem ConnectedByTheFirstWindow
