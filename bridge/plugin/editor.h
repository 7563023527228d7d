// The window: lays out its panels, shows the state of things, keeps them up to date. Knows no protocol.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

#include "look.h"
#include "processor.h"
#include "recipe_panel.h"
#include "takes_panel.h"
#include "waveform_view.h"

namespace sa3::plugin {

/// Everything in the window, at the size it was drawn for; the editor scales it.
class Content : public juce::Component, private juce::FocusChangeListener {
public:
    static constexpr int kWidth = 980, kHeight = 620;

    explicit Content(Processor& processor);
    ~Content() override;

    void show(const SessionView& view);
    void resized() override;
    void paint(juce::Graphics& graphics) override;
    void paintOverChildren(juce::Graphics& graphics) override;

    juce::TextButton theme{"Light"};

private:
    void globalFocusChanged(juce::Component*) override { repaint(); }
    void name_parts();
    void show_capture(const SessionView& view);
    void show_buttons(const SessionView& view);
    void show_status(const SessionView& view);

    Processor& processor_;
    juce::Colour status_colour_;
    juce::Label status_;
    double progress_ = 0.0;
    RecipePanel recipe_;
    TakesPanel takes_;
    WaveformView waveform_;
    juce::TextButton start_daemon_{"Start daemon"}, generate_{"Generate"}, repaint_{"Repaint"}, continue_{"Continue"},
        restyle_{"Restyle"}, cancel_{"Cancel"}, capture_{"Capture"}, record_{"Record"};
    juce::ProgressBar progress_bar_{progress_};
    juce::Slider gain_, dry_wet_;
    juce::ToggleButton is_on_{"Take on"}, mute_input_{"Mute input"}, match_loudness_{"Equal loudness"};
    juce::SliderParameterAttachment gain_attachment_, dry_wet_attachment_;
    juce::ButtonParameterAttachment is_on_attachment_, mute_input_attachment_, match_loudness_attachment_;
};

class Editor : public juce::AudioProcessorEditor, private juce::Timer {
public:
    explicit Editor(Processor& processor);
    ~Editor() override;

    void resized() override;
    void paint(juce::Graphics& graphics) override;

private:
    void timerCallback() override;
    void apply_theme();

    Processor& processor_;
    std::unique_ptr<Look> look_;
    Content content_;
    juce::TooltipWindow tooltips_{this};
};

}  // namespace sa3::plugin
