// Drawing the take and editing its regions. Knows no daemon.
#include "waveform_view.h"

#include <algorithm>
#include <cmath>

#include "look.h"

namespace sa3::plugin {

namespace {

constexpr std::int64_t kShortestRegionDivisor = 20;  // of a second
constexpr float kLabelWidth = 28.0f;

const Palette& colours(const juce::Component& component) {
    return static_cast<Look&>(component.getLookAndFeel()).colours();
}

}  // namespace

WaveformView::WaveformView() {
    setWantsKeyboardFocus(true);
    setTitle("Waveform");
    setTooltip("Drag to mark what Repaint makes anew; double-click to remove a mark, Delete to remove all.");
}

void WaveformView::show(const SessionView& view) {
    const auto key = view.shown ? view.shown->key : -1;
    const bool has_other_length = take_ && view.shown && take_->facts.num_samples != view.shown->facts.num_samples;
    if (key != shown_key_ && has_other_length) regions_.clear();
    if (!view.shown) regions_.clear();
    shown_key_ = key;
    take_ = view.shown;
    play_head_ = view.play_head;
    is_running_ = view.is_running;
    repaint();
}

std::vector<Region> WaveformView::regions() const { return regions_; }

void WaveformView::clear_regions() {
    regions_.clear();
    repaint();
}

float WaveformView::x_of(double sample) const {
    return static_cast<float>(sample / static_cast<double>(std::max<std::int64_t>(1, take_->facts.num_samples)) * getWidth());
}

std::int64_t WaveformView::sample_at(float x) const {
    const double share = juce::jlimit(0.0, 1.0, static_cast<double>(x) / std::max(1, getWidth()));
    return std::llround(share * static_cast<double>(take_->facts.num_samples));
}

void WaveformView::paint(juce::Graphics& graphics) {
    const auto& c = colours(*this);
    graphics.setColour(c.panel);
    graphics.fillRoundedRectangle(getLocalBounds().toFloat(), 6.0f);
    if (!take_ || take_->facts.num_samples <= 0) {
        graphics.setColour(c.faint_text);
        graphics.setFont(15.0f);
        graphics.drawText("Describe a sound and press Generate. It appears here and plays in time with the host.",
                          getLocalBounds(), juce::Justification::centred);
        return;
    }
    paint_grid(graphics);
    if (take_->audio) paint_wave(graphics);
    paint_regions(graphics);
    if (take_->audio == nullptr) {
        graphics.setColour(take_->problem.empty() ? c.faint_text : c.bad);
        graphics.drawText(take_->problem.empty() ? "Waiting for the daemon to hand over this take ..." : juce::String(take_->problem),
                          getLocalBounds(), juce::Justification::centred);
    }
    if (play_head_.is_sounding) {
        graphics.setColour(c.text);
        graphics.drawVerticalLine(juce::roundToInt(x_of(play_head_.take_sample)), 0.0f, static_cast<float>(getHeight()));
    }
    if (hasKeyboardFocus(true)) {
        graphics.setColour(c.accent);
        graphics.drawRoundedRectangle(getLocalBounds().toFloat().reduced(0.5f), 6.0f, 1.0f);
    }
}

void WaveformView::paint_grid(juce::Graphics& graphics) const {
    const auto& c = colours(*this);
    const auto& facts = take_->facts;
    const double quarters_per_bar = 4.0 * static_cast<double>(facts.numerator) / static_cast<double>(facts.denominator);
    const double quarters = static_cast<double>(facts.num_samples) / static_cast<double>(facts.sample_rate) * facts.bpm / 60.0;
    const double pixels_per_bar = getWidth() * quarters_per_bar / std::max(quarters, 1e-9);
    const int bar_step = std::max(1, static_cast<int>(std::ceil(44.0 / pixels_per_bar)));
    const auto first_bar = static_cast<std::int64_t>(std::floor(facts.start_ppq / quarters_per_bar));
    const auto num_bars = static_cast<std::int64_t>(quarters / quarters_per_bar) + 2;
    graphics.setFont(11.0f);
    for (std::int64_t bar = first_bar; bar < first_bar + num_bars && num_bars < 4000; ++bar) {
        const double ppq = static_cast<double>(bar) * quarters_per_bar - facts.start_ppq;
        const auto x = static_cast<float>(ppq / std::max(quarters, 1e-9) * getWidth());
        const bool is_labelled = bar % bar_step == 0;
        if (x < -0.5f || x > static_cast<float>(getWidth()) || (!is_labelled && pixels_per_bar < 6.0)) continue;
        graphics.setColour(c.outline.withAlpha(is_labelled ? 0.9f : 0.4f));
        graphics.drawVerticalLine(juce::roundToInt(x), 0.0f, static_cast<float>(getHeight()));
        const bool has_room = x + kLabelWidth < static_cast<float>(getWidth());
        if (!is_labelled || !has_room) continue;
        graphics.setColour(c.faint_text);
        graphics.drawText(juce::String(bar + 1), juce::roundToInt(x) + 4, 2, 50, 14, juce::Justification::left);
    }
}

void WaveformView::paint_wave(juce::Graphics& graphics) const {
    const auto& c = colours(*this);
    const float middle = static_cast<float>(getHeight()) * 0.54f, reach = static_cast<float>(getHeight()) * 0.42f;
    const auto draw = [&](const TakeAudio& audio, juce::Colour colour, int from_x) {
        graphics.setColour(colour);
        const auto end = audio.num_available();
        for (int x = from_x; x < getWidth(); ++x) {
            const auto first = sample_at(static_cast<float>(x));
            const auto last = std::min(end, std::max(first + 1, sample_at(static_cast<float>(x + 1))));
            if (first >= end) return x;
            const auto peak = audio.peak(first, last);
            const float top = middle - juce::jlimit(-1.0f, 1.0f, peak.high) * reach;
            const float bottom = middle - juce::jlimit(-1.0f, 1.0f, peak.low) * reach;
            graphics.fillRect(static_cast<float>(x), top, 1.0f, std::max(1.0f, bottom - top));
        }
        return getWidth();
    };
    const int drawn_to_x = draw(*take_->audio, c.wave, 0);
    if (take_->draft) draw(*take_->draft, c.wave.withAlpha(0.35f), drawn_to_x);
    if (take_->is_live && drawn_to_x < getWidth()) {
        graphics.setColour(c.accent.withAlpha(0.10f));
        graphics.fillRect(drawn_to_x, 0, getWidth() - drawn_to_x, getHeight());
    }
}

void WaveformView::paint_regions(juce::Graphics& graphics) const {
    const auto& c = colours(*this);
    for (const auto& region : regions_) {
        const float left = x_of(static_cast<double>(region.start_sample)), right = x_of(static_cast<double>(region.end_sample));
        graphics.setColour(c.mask.withAlpha(0.28f));
        graphics.fillRect(left, 0.0f, right - left, static_cast<float>(getHeight()));
        graphics.setColour(c.mask);
        graphics.fillRect(left, 0.0f, 2.0f, static_cast<float>(getHeight()));
        graphics.fillRect(right - 2.0f, 0.0f, 2.0f, static_cast<float>(getHeight()));
    }
}

void WaveformView::mouseDown(const juce::MouseEvent& event) {
    grabKeyboardFocus();
    if (take_ && take_->audio && !is_running_) drag_start_ = sample_at(event.position.x);
}

void WaveformView::mouseDrag(const juce::MouseEvent& event) {
    if (!drag_start_ || !take_) return;
    const auto here = sample_at(event.position.x);
    Region drawn{std::min(*drag_start_, here), std::max(*drag_start_, here)};
    if (drawn.end_sample - drawn.start_sample < take_->facts.sample_rate / kShortestRegionDivisor) return;
    regions_.erase(std::remove_if(regions_.begin(), regions_.end(),
                                  [&](const Region& old) {
                                      return old.start_sample < drawn.end_sample && drawn.start_sample < old.end_sample;
                                  }),
                   regions_.end());
    regions_.push_back(drawn);
    std::sort(regions_.begin(), regions_.end(),
              [](const Region& a, const Region& b) { return a.start_sample < b.start_sample; });
    repaint();
}

void WaveformView::mouseUp(const juce::MouseEvent&) { drag_start_.reset(); }

void WaveformView::mouseDoubleClick(const juce::MouseEvent& event) {
    if (!take_) return;
    const auto here = sample_at(event.position.x);
    regions_.erase(std::remove_if(regions_.begin(), regions_.end(),
                                  [here](const Region& old) { return old.start_sample <= here && here < old.end_sample; }),
                   regions_.end());
    repaint();
}

bool WaveformView::keyPressed(const juce::KeyPress& key) {
    if (key != juce::KeyPress::deleteKey && key != juce::KeyPress::backspaceKey) return false;
    clear_regions();
    return true;
}

}  // namespace sa3::plugin
