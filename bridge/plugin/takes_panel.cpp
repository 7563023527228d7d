// The list's rows and buttons. Knows no daemon.
#include "takes_panel.h"

#include "look.h"
#include "sa3/timeline.h"
#include "wav_export.h"

namespace sa3::plugin {

namespace {

constexpr int kStarWidth = 26;

void draw_star(juce::Graphics& graphics, juce::Rectangle<float> area, bool is_filled, const Palette& c) {
    juce::Path star;
    star.addStar(area.getCentre(), 5, 3.2f, 7.0f);
    graphics.setColour(is_filled ? c.mask : c.faint_text);
    is_filled ? graphics.fillPath(star) : graphics.strokePath(star, juce::PathStrokeType(1.0f));
}

/// Where the take begins in the song, by the tempo map it was made with.
double start_seconds(const TakeFacts& facts) {
    const auto map = facts.job.tempo_map.empty() ? TempoMap::constant(facts.bpm) : TempoMap(facts.job.tempo_map);
    return map.seconds_at(Rational::exactly(facts.start_ppq)).to_double();
}

}  // namespace

/// What the mouse takes hold of to drag the chosen take into another window.
class TakesPanel::DragHandle : public juce::TextButton {
public:
    explicit DragHandle(TakesPanel& owner) : juce::TextButton("Drag out"), owner_(owner) {
        setTooltip("Drag from here into the host: a WAV at its rate, stamped with its place in the timeline");
    }
    void mouseDrag(const juce::MouseEvent& event) override {
        if (has_begun_ || event.getDistanceFromDragStart() < 6) return;
        has_begun_ = true;  // one try for each press, also where the disk is full
        const auto file = owner_.chosen_file();
        if (file.existsAsFile()) juce::DragAndDropContainer::performExternalDragDropOfFiles({file.getFullPathName()}, false, this);
    }
    void mouseDown(const juce::MouseEvent& event) override {
        has_begun_ = false;  // not when the button is let go: the other window may get that
        juce::TextButton::mouseDown(event);
    }

private:
    TakesPanel& owner_;
    bool has_begun_ = false;
};

TakesPanel::TakesPanel(Processor& processor)
    : processor_(processor),
      drag_(std::make_unique<DragHandle>(*this)),
      listen_attachment_(processor.parameters().listen(), listen_) {
    list_.setRowHeight(40);
    list_.setTitle("Takes");
    addAndMakeVisible(list_);
    for (juce::Component* button : std::initializer_list<juce::Component*>{&undo_, &redo_, &a_b_, &listen_, &again_, &reveal_,
                                                                          &copy_path_, drag_.get()})
        addAndMakeVisible(button);
    const std::initializer_list<std::pair<juce::Component*, const char*>> ids = {
        {&list_, "takes"},     {&undo_, "undo"},     {&redo_, "redo"},           {&a_b_, "a_b"},         {&listen_, "listen"},
        {&again_, "again"},    {&reveal_, "reveal"}, {&copy_path_, "copy_path"}, {drag_.get(), "drag_out"}};
    for (const auto& [part, id] : ids) part->setComponentID(id);
    auto& session = processor_.session();
    undo_.onClick = [&session] { session.undo(); };
    redo_.onClick = [&session] { session.redo(); };
    a_b_.onClick = [&session] { session.toggle_a_b(); };
    a_b_.setTooltip("Swap with the take chosen before, at equal loudness");
    listen_.setClickingTogglesState(true);
    listen_.setTooltip("Play the take from its start, whatever the host does");
    again_.onClick = [&session] { session.make_again(); };
    again_.setTooltip("Make the chosen take again from its own recipe");
    reveal_.onClick = [this] {
        if (const auto file = chosen_file(); file.existsAsFile()) file.revealToUser();
    };
    copy_path_.onClick = [this] {
        if (const auto file = chosen_file(); file.existsAsFile())
            juce::SystemClipboard::copyTextToClipboard(file.getFullPathName());
    };
}

TakesPanel::~TakesPanel() = default;

void TakesPanel::show(const SessionView& view) {
    const juce::ScopedValueSetter<bool> showing(is_showing_, true);
    const bool has_chosen_audio = view.shown && view.shown->audio && view.shown->audio->is_complete();
    view_ = view;
    list_.updateContent();
    int chosen_row = -1;
    for (int row = 0; row < getNumRows(); ++row)
        if (take_in(row).key == view.chosen_key) chosen_row = row;
    if (chosen_row >= 0 && list_.getSelectedRow() != chosen_row) list_.selectRow(chosen_row, true, true);
    if (chosen_row < 0) list_.deselectAllRows();
    repaint();
    undo_.setEnabled(view.can_undo);
    redo_.setEnabled(view.can_redo);
    a_b_.setEnabled(view.takes.size() > 1);
    listen_.setEnabled(has_chosen_audio);
    again_.setEnabled(view.shown && view.shown->facts.job.num_samples > 0 && !view.is_running);
    reveal_.setEnabled(has_chosen_audio);
    copy_path_.setEnabled(has_chosen_audio);
    drag_->setEnabled(has_chosen_audio);
}

void TakesPanel::paintListBoxItem(int row, juce::Graphics& graphics, int width, int height, bool is_selected) {
    if (row >= getNumRows()) return;
    const auto& c = static_cast<Look&>(getLookAndFeel()).colours();
    const auto& take = take_in(row);
    if (is_selected) {
        graphics.setColour(c.accent.withAlpha(0.22f));
        graphics.fillRoundedRectangle(2.0f, 1.0f, static_cast<float>(width) - 4.0f, static_cast<float>(height) - 2.0f, 4.0f);
    }
    draw_star(graphics, {0.0f, 0.0f, static_cast<float>(kStarWidth), static_cast<float>(height)}, take.facts.starred, c);
    const auto seconds = static_cast<double>(take.facts.num_samples) / static_cast<double>(take.facts.sample_rate);
    auto details = juce::String(take.facts.label) + "  " + juce::String(seconds, 2) + " s";
    if (!take.is_capture) details << "  seed " << juce::String(take.facts.job.seed + take.facts.variation);
    if (take.facts.loudness_lufs) details << "  " << juce::String(*take.facts.loudness_lufs, 1) << " LUFS";
    if (take.is_live) details = juce::String(take.facts.label) + "  in the making ...";
    if (take.is_sought) details = "Looking for it at the daemon ...";
    if (!take.problem.empty()) details = take.problem;
    graphics.setColour(c.text);
    graphics.setFont(14.0f);
    const auto prompt = take.is_capture                  ? std::string("The track as it was captured")
                        : take.facts.job.prompt.empty() ? std::string("(no prompt)")
                                                        : take.facts.job.prompt;
    graphics.drawText(juce::String::fromUTF8(prompt.c_str()), kStarWidth, 3, width - kStarWidth - 4, 18, juce::Justification::left);
    graphics.setColour(take.problem.empty() ? c.faint_text : c.warning);
    graphics.setFont(11.5f);
    graphics.drawText(details, kStarWidth, 21, width - kStarWidth - 4, 15, juce::Justification::left);
}

void TakesPanel::paintOverChildren(juce::Graphics& graphics) {
    if (!view_.takes.empty()) return;
    graphics.setColour(static_cast<Look&>(getLookAndFeel()).colours().faint_text);
    graphics.setFont(14.0f);
    graphics.drawText("Takes gather here.", list_.getBounds(), juce::Justification::centred);
}

void TakesPanel::listBoxItemClicked(int row, const juce::MouseEvent& event) {
    if (row < getNumRows() && event.x < kStarWidth)
        processor_.session().set_starred(take_in(row).key, !take_in(row).facts.starred);
}

void TakesPanel::selectedRowsChanged(int row) {
    if (!is_showing_ && row >= 0 && row < getNumRows()) processor_.session().choose(take_in(row).key);
}

void TakesPanel::deleteKeyPressed(int row) {
    if (row >= 0 && row < getNumRows()) processor_.session().remove(take_in(row).key);
}

juce::File TakesPanel::chosen_file() {
    if (!view_.shown || !view_.shown->audio) return {};
    const auto& take = *view_.shown;
    const double rate = processor_.getSampleRate() > 0 ? processor_.getSampleRate() : take.audio->sample_rate();
    const auto name = juce::String(take.facts.label) + " " + juce::String::fromUTF8(take.facts.job.prompt.c_str()).substring(0, 40) +
                      " " + juce::String(take.facts.job.seed + take.facts.variation);
    const auto known = name + juce::String(take.key) + "@" + juce::String(rate);
    if (const auto found = files_.find(known); found != files_.end() && found->second.existsAsFile()) return found->second;
    const auto exported = export_wav(*take.audio, rate, start_seconds(take.facts), name);
    if (exported.problem.isNotEmpty()) processor_.session().set_message(exported.problem.toStdString());
    files_[known] = exported.file;
    return exported.file;
}

void TakesPanel::resized() {
    auto area = getLocalBounds();
    const auto row_of = [&area](std::initializer_list<juce::Component*> buttons) {
        auto row = area.removeFromBottom(28);
        area.removeFromBottom(6);
        const int width = (row.getWidth() - 6 * (static_cast<int>(buttons.size()) - 1)) / static_cast<int>(buttons.size());
        for (auto* button : buttons) {
            button->setBounds(row.removeFromLeft(width));
            row.removeFromLeft(6);
        }
    };
    row_of({drag_.get(), &reveal_, &copy_path_});
    row_of({&listen_, &again_});
    row_of({&undo_, &redo_, &a_b_});
    list_.setBounds(area);
}

}  // namespace sa3::plugin
