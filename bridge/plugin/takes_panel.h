// The list of takes: choose, star, undo, A/B, drag out as a file. Knows no daemon.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

#include "processor.h"

namespace sa3::plugin {

class TakesPanel : public juce::Component, private juce::ListBoxModel {
public:
    explicit TakesPanel(Processor& processor);
    ~TakesPanel() override;

    void show(const SessionView& view);
    void resized() override;
    void paintOverChildren(juce::Graphics& graphics) override;

private:
    int getNumRows() override { return static_cast<int>(view_.takes.size()); }
    void paintListBoxItem(int row, juce::Graphics& graphics, int width, int height, bool is_selected) override;
    void listBoxItemClicked(int row, const juce::MouseEvent& event) override;
    void selectedRowsChanged(int row) override;
    void deleteKeyPressed(int row) override;
    juce::var getDragSourceDescription(const juce::SparseSet<int>&) override { return {}; }

    const TakeEntry& take_in(int row) const { return view_.takes[view_.takes.size() - 1 - static_cast<std::size_t>(row)]; }
    juce::File chosen_file();

    class DragHandle;

    Processor& processor_;
    SessionView view_;
    juce::ListBox list_{"Takes", this};
    juce::TextButton undo_{"Undo"}, redo_{"Redo"}, a_b_{"A / B"}, listen_{"Listen"}, again_{"Make again"}, reveal_{"Show file"},
        copy_path_{"Copy path"};
    std::unique_ptr<DragHandle> drag_;
    juce::ButtonParameterAttachment listen_attachment_;
    bool is_showing_ = false;
    std::map<juce::String, juce::File> files_;  // by address and rate: what was written already
};

}  // namespace sa3::plugin
