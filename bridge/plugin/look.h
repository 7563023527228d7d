// Colours and shapes of the window, dark and light. Knows no session.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

namespace sa3::plugin {

struct Palette {
    juce::Colour background, panel, field, outline, text, faint_text, accent, wave, mask, good, warning, bad;
};

Palette palette(bool is_dark);

class Look : public juce::LookAndFeel_V4 {
public:
    explicit Look(bool is_dark);
    const Palette& colours() const { return colours_; }

private:
    Palette colours_;
};

}  // namespace sa3::plugin
