// The two palettes and where JUCE's widgets use them. Knows no session.
#include "look.h"

namespace sa3::plugin {

Palette palette(bool is_dark) {
    using juce::Colour;
    if (is_dark)
        return {Colour(0xff16181d), Colour(0xff1f232b), Colour(0xff282d37), Colour(0xff3d4452), Colour(0xffe8eaf0),
                Colour(0xff9aa3b5), Colour(0xff4c8dff), Colour(0xff7fb0ff), Colour(0xfff0a840), Colour(0xff4fc37f),
                Colour(0xfff0a840), Colour(0xfff2686b)};
    return {Colour(0xfff3f4f7), Colour(0xffffffff), Colour(0xffeceef3), Colour(0xffc3c9d6), Colour(0xff1d2230),
            Colour(0xff5b6478), Colour(0xff1f62d8), Colour(0xff3c78dd), Colour(0xffc67a05), Colour(0xff1e8a4c),
            Colour(0xffa66300), Colour(0xffc0272d)};
}

Look::Look(bool is_dark) : colours_(palette(is_dark)) {
    const auto& c = colours_;
    setColourScheme({c.background, c.field, c.panel, c.outline, c.text, c.accent, juce::Colours::white, c.accent, c.text});
    setColour(juce::TextButton::buttonColourId, c.field);
    setColour(juce::TextButton::buttonOnColourId, c.accent);
    setColour(juce::TextButton::textColourOffId, c.text);
    setColour(juce::TextEditor::backgroundColourId, c.field);
    setColour(juce::TextEditor::textColourId, c.text);
    setColour(juce::TextEditor::outlineColourId, c.outline);
    setColour(juce::TextEditor::focusedOutlineColourId, c.accent);
    setColour(juce::Label::textColourId, c.text);
    setColour(juce::ListBox::backgroundColourId, c.panel);
    setColour(juce::Slider::thumbColourId, c.accent);
    setColour(juce::Slider::trackColourId, c.accent.withAlpha(0.6f));
    setColour(juce::Slider::backgroundColourId, c.field);
    setColour(juce::Slider::textBoxOutlineColourId, juce::Colours::transparentBlack);
    setColour(juce::Slider::textBoxTextColourId, c.text);
    setColour(juce::ToggleButton::textColourId, c.text);
    setColour(juce::ToggleButton::tickColourId, c.accent);
    setColour(juce::ToggleButton::tickDisabledColourId, c.faint_text);
    setColour(juce::ProgressBar::backgroundColourId, c.field);
    setColour(juce::ProgressBar::foregroundColourId, c.accent);
}

}  // namespace sa3::plugin
