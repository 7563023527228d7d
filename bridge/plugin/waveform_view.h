// The picture of a take: waveform, bar grid, play head, regions to repaint by dragging. Knows no daemon.
#pragma once

#include <juce_gui_basics/juce_gui_basics.h>

#include <functional>
#include <optional>
#include <vector>

#include "session.h"

namespace sa3::plugin {

class WaveformView : public juce::Component, public juce::SettableTooltipClient {
public:
    WaveformView();

    void show(const SessionView& view);
    /// Sorted, not overlapping, in samples of the take.
    std::vector<Region> regions() const;
    void clear_regions();

    void paint(juce::Graphics& graphics) override;
    void mouseDown(const juce::MouseEvent& event) override;
    void mouseDrag(const juce::MouseEvent& event) override;
    void mouseUp(const juce::MouseEvent& event) override;
    void mouseDoubleClick(const juce::MouseEvent& event) override;
    bool keyPressed(const juce::KeyPress& key) override;

private:
    float x_of(double sample) const;
    std::int64_t sample_at(float x) const;
    void paint_grid(juce::Graphics& graphics) const;
    void paint_wave(juce::Graphics& graphics) const;
    void paint_regions(juce::Graphics& graphics) const;

    std::optional<TakeEntry> take_;
    std::int64_t shown_key_ = -1;
    PlayHead play_head_;
    bool is_running_ = false;
    std::vector<Region> regions_;
    std::optional<std::int64_t> drag_start_;
};

}  // namespace sa3::plugin
