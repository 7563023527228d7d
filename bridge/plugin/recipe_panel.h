// The left side of the window: prompt, length, seed and the other settings of a recipe. Knows no daemon.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

#include <functional>

#include "session.h"

namespace sa3::plugin {

class RecipePanel : public juce::Component {
public:
    explicit RecipePanel(Session& session);

    std::function<void()> on_enter;  // Enter was pressed in the prompt

    void show(const SessionView& view);
    void resized() override;
    void paint(juce::Graphics& graphics) override;
    void lookAndFeelChanged() override;

private:
    Recipe read() const;
    void store();
    void load(const Recipe& recipe);
    void show_models(const SessionView& view);
    void pick_adapters();

    Session& session_;
    std::uint64_t shown_version_ = 0;
    std::shared_ptr<const HelloReply> hello_;
    juce::TextEditor prompt_, negative_prompt_, seed_;
    juce::ComboBox range_mode_, model_, headroom_;
    juce::Slider num_bars_, seconds_, steps_, num_variations_, init_level_, continue_bars_;
    juce::ToggleButton seed_locked_{"Lock"}, loop_{"Loop"};
    juce::TextButton roll_{"Roll"}, adapters_{"Style packs ..."};
    juce::Label plan_;
    Recipe loaded_;  // what the widgets were given, as they tell it back
    bool is_loading_ = false;
};

}  // namespace sa3::plugin
