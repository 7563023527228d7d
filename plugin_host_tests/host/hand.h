// A hand on mouse and keyboard: what it does goes through JUCE's own way from a window's events to its parts, so that
// covered, disabled and hidden parts answer as they do to a musician. Knows no plugin.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

namespace sa3::test {

// All on the message thread; each throws std::runtime_error when no such part shows.

/// The showing part of this id, in any window of this program.
juce::Component& part(const juce::String& id);
/// Press and release the mouse `num_times` at a place, in shares of the part's width and height when within 0..1, else
/// in its pixels.
void click(juce::Component& part, juce::Point<float> at, int num_times);
/// Press at `from`, move in small steps to `to`, release.
void drag(juce::Component& part, juce::Point<float> from, juce::Point<float> to);
/// Press keys as JUCE describes them ("tab", "return", "cursor down") or, where `is_text`, write the text.
void press_keys(juce::Component& window, const juce::StringArray& keys);
void write_text(juce::Component& window, const juce::String& text);
/// What the parts with an id show: text, value, whether enabled and on, and where they lie on the screen.
juce::var parts_of_all_windows();
/// The id of the part with the keyboard, "" for none.
juce::String focused_id();

}  // namespace sa3::test
