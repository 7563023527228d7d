// Layout and refreshing of the window. Knows no protocol.
#include "editor.h"

#include <cmath>

#include "sa3/connection.h"

namespace sa3::plugin {

namespace {

constexpr int kMargin = 14, kRefreshHz = 24, kSideWidth = 290;

juce::String in_words(const SessionView& view) {
    if (view.progress.stage.empty()) return "Waiting";
    auto text = juce::String(view.progress.stage).substring(0, 1).toUpperCase() + juce::String(view.progress.stage).substring(1);
    if (view.progress.num_steps > 0)
        text << " " << juce::String(view.progress.step) << "/" << juce::String(view.progress.num_steps);
    if (view.eta_seconds && *view.eta_seconds < 60.0)
        text << ", " << juce::String(*view.eta_seconds, 1) << " s left";
    else if (view.eta_seconds)
        text << ", " << juce::String(std::ceil(*view.eta_seconds / 60.0), 0) << " min left";
    return text;
}

juce::String daemon_in_words(const DaemonStatus& daemon) {
    switch (daemon.state) {
        case DaemonState::kSearching: return "Looking for the daemon ...";
        case DaemonState::kNoDaemon: return juce::String("No daemon runs. Press Start, or type: ") + kStartCommand;
        case DaemonState::kStarting: return "The daemon is starting ...";
        case DaemonState::kReady: return "Ready";
        case DaemonState::kLoading: return "Loading the model ...";
        case DaemonState::kGenerating: return "Generating";
        case DaemonState::kVersionMismatch:
        case DaemonState::kFailed: break;
    }
    return juce::String::fromUTF8(daemon.reason.c_str());
}

juce::Colour colour_of(DaemonState state, const Palette& c) {
    switch (state) {
        case DaemonState::kReady: return c.good;
        case DaemonState::kLoading:
        case DaemonState::kGenerating: return c.accent;
        case DaemonState::kSearching:
        case DaemonState::kStarting: return c.warning;
        default: return c.bad;
    }
}

}  // namespace

Content::Content(Processor& processor)
    : processor_(processor),
      recipe_(processor.session()),
      takes_(processor),
      gain_attachment_(processor.parameters().gain_db(), gain_),
      dry_wet_attachment_(processor.parameters().dry_wet(), dry_wet_),
      is_on_attachment_(processor.parameters().is_on(), is_on_),
      mute_input_attachment_(processor.parameters().mute_input(), mute_input_),
      match_loudness_attachment_(processor.parameters().match_loudness_parameter(), match_loudness_) {
    setSize(kWidth, kHeight);
    for (juce::Component* child : std::initializer_list<juce::Component*>{
             &status_, &recipe_, &generate_, &repaint_, &continue_, &restyle_, &cancel_, &capture_, &record_, &progress_bar_,
             &waveform_, &is_on_, &gain_, &dry_wet_, &mute_input_, &match_loudness_, &takes_, &start_daemon_, &theme})
        addAndMakeVisible(child);
    name_parts();
    status_.setMinimumHorizontalScale(0.8f);
    auto& session = processor.session();
    start_daemon_.onClick = [&session] { session.start_daemon(); };
    generate_.onClick = [&session] { session.generate(); };
    repaint_.onClick = [this, &session] { session.repaint(waveform_.regions()); };
    continue_.onClick = [&session] { session.continue_take(); };
    restyle_.onClick = [&session] { session.restyle(); };
    cancel_.onClick = [&session] { session.cancel(); };
    for (auto* button : {&capture_, &record_})
        button->onClick = [this, button, &session] {
            button->getToggleState() ? session.stop_capture() : session.start_capture(button == &capture_);
        };
    capture_.setTooltip("Record the track from when the host plays to when it stops: to repaint, restyle or continue it");
    record_.setTooltip("Record the track from now on, whether the host plays or not");
    recipe_.on_enter = [this] {
        if (generate_.isEnabled()) generate_.triggerClick();
    };
    for (auto* slider : {&gain_, &dry_wet_}) {
        slider->setSliderStyle(juce::Slider::LinearHorizontal);
        slider->setTextBoxStyle(juce::Slider::TextBoxRight, false, 58, 22);
    }
    gain_.setTitle("Take gain");
    dry_wet_.setTitle("Dry/wet");
    for (auto* slider : {&gain_, &dry_wet_}) slider->setWantsKeyboardFocus(true);
    juce::Desktop::getInstance().addFocusChangeListener(this);
}

Content::~Content() { juce::Desktop::getInstance().removeFocusChangeListener(this); }

void Content::name_parts() {
    const std::initializer_list<std::pair<juce::Component*, const char*>> ids = {
        {&status_, "status"},         {&generate_, "generate"}, {&repaint_, "repaint"},
        {&continue_, "continue"},     {&restyle_, "restyle"},   {&cancel_, "cancel"},
        {&capture_, "capture"},       {&record_, "record"},     {&waveform_, "waveform"},
        {&is_on_, "is_on"},           {&gain_, "gain"},         {&dry_wet_, "dry_wet"},
        {&mute_input_, "mute_input"}, {&theme, "theme"},        {&match_loudness_, "match_loudness"},
        {&start_daemon_, "start_daemon"}};
    for (const auto& [part, id] : ids) part->setComponentID(id);
}

void Content::show(const SessionView& view) {
    recipe_.show(view);
    takes_.show(view);
    waveform_.show(view);
    show_buttons(view);
    show_capture(view);
    show_status(view);
}

void Content::show_buttons(const SessionView& view) {
    const auto& c = static_cast<Look&>(getLookAndFeel()).colours();
    const bool has_source = view.shown && view.shown->audio && view.shown->audio->is_complete();
    const bool is_free = !view.is_running;
    generate_.setEnabled(is_free && view.plan.problem.empty());
    generate_.setColour(juce::TextButton::buttonColourId, c.accent);
    generate_.setColour(juce::TextButton::textColourOffId, juce::Colours::white);
    repaint_.setEnabled(is_free && has_source && !waveform_.regions().empty());
    continue_.setEnabled(is_free && has_source);
    restyle_.setEnabled(is_free && has_source);
    cancel_.setEnabled(view.is_running);
    const auto state = view.daemon.state;
    start_daemon_.setVisible(state == DaemonState::kNoDaemon || state == DaemonState::kFailed);
}

void Content::show_capture(const SessionView& view) {
    const bool is_waiting = view.capture == CaptureState::kWaiting;
    const bool is_capturing = is_waiting || view.capture == CaptureState::kRecording;
    for (auto* button : {&capture_, &record_}) {
        const bool is_active = is_capturing && view.capture_follows_transport == (button == &capture_);
        button->setToggleState(is_active, juce::dontSendNotification);
        button->setEnabled(is_active || !is_capturing);
        button->setButtonText(is_active && is_waiting ? juce::String("Play ...")
                              : is_active             ? "Stop " + juce::String(view.captured_seconds, 1) + " s"
                                                      : juce::String(button == &capture_ ? "Capture" : "Record"));
    }
}

void Content::show_status(const SessionView& view) {
    const auto& c = static_cast<Look&>(getLookAndFeel()).colours();
    status_colour_ = view.message.empty() || view.is_running ? colour_of(view.daemon.state, c) : c.bad;
    status_.setText(view.message.empty() || view.is_running ? daemon_in_words(view.daemon)
                                                            : juce::String::fromUTF8(view.message.c_str()),
                    juce::dontSendNotification);
    if (view.is_running && view.progress.num_steps > 0)
        progress_ = static_cast<double>(view.progress.step) / static_cast<double>(view.progress.num_steps);
    else
        progress_ = view.is_running ? -1.0 : 0.0;
    progress_bar_.setTextToDisplay(view.is_running ? in_words(view) : juce::String());
    progress_bar_.setVisible(view.is_running);
    repaint(0, 0, getWidth(), 48);
}

void Content::paint(juce::Graphics& graphics) {
    const auto& c = static_cast<Look&>(getLookAndFeel()).colours();
    graphics.fillAll(c.background);
    graphics.setColour(c.text);
    graphics.setFont(juce::Font(20.0f, juce::Font::bold));
    graphics.drawText("sa3-daw", kMargin, 10, 100, 28, juce::Justification::left);
    graphics.setColour(status_colour_);
    graphics.fillEllipse(118.0f, 19.0f, 10.0f, 10.0f);
    graphics.setColour(c.faint_text);
    graphics.setFont(juce::Font(12.0f));
    graphics.drawText("Take gain", gain_.getX(), gain_.getY() - 15, 120, 15, juce::Justification::left);
    graphics.drawText("Dry / wet", dry_wet_.getX(), dry_wet_.getY() - 15, 120, 15, juce::Justification::left);
}

void Content::paintOverChildren(juce::Graphics& graphics) {
    const auto* focused = juce::Component::getCurrentlyFocusedComponent();
    if (focused == nullptr || !isParentOf(focused)) return;
    const auto area = getLocalArea(focused, focused->getLocalBounds()).toFloat().expanded(1.0f);
    graphics.setColour(static_cast<Look&>(getLookAndFeel()).colours().accent);
    graphics.drawRoundedRectangle(area, 4.0f, 1.5f);
}

void Content::resized() {
    auto area = getLocalBounds().reduced(kMargin, 10);
    auto top = area.removeFromTop(32);
    theme.setBounds(top.removeFromRight(70));
    top.removeFromRight(8);
    start_daemon_.setBounds(top.removeFromRight(110));
    status_.setBounds(132, 8, top.getRight() - 136, 34);
    area.removeFromTop(8);

    auto side = area.removeFromRight(kSideWidth);
    area.removeFromRight(kMargin);
    takes_.setBounds(side);

    auto mixer = area.removeFromBottom(28);
    area.removeFromBottom(22);
    is_on_.setBounds(mixer.removeFromLeft(86));
    gain_.setBounds(mixer.removeFromLeft(150));
    mixer.removeFromLeft(8);
    dry_wet_.setBounds(mixer.removeFromLeft(150));
    mixer.removeFromLeft(8);
    mute_input_.setBounds(mixer.removeFromLeft(100));
    match_loudness_.setBounds(mixer.removeFromLeft(mixer.getWidth()));

    recipe_.setBounds(area.removeFromTop(228));
    auto buttons = area.removeFromTop(32);
    generate_.setBounds(buttons.removeFromLeft(114));
    for (auto* button : {&repaint_, &continue_, &restyle_, &cancel_, &capture_, &record_}) {
        buttons.removeFromLeft(6);
        button->setBounds(buttons.removeFromLeft(button == &record_ ? buttons.getWidth() : 82));
    }
    area.removeFromTop(8);
    progress_bar_.setBounds(area.removeFromBottom(18));
    area.removeFromBottom(6);
    waveform_.setBounds(area);
}

Editor::Editor(Processor& processor) : juce::AudioProcessorEditor(processor), processor_(processor), content_(processor) {
    addAndMakeVisible(content_);
    apply_theme();  // after the content is in: it takes its colours from here
    content_.theme.onClick = [this] {
        processor_.set_dark(!processor_.is_dark());
        apply_theme();
    };
    const double scale = processor.window_scale();
    setResizable(true, true);
    getConstrainer()->setFixedAspectRatio(static_cast<double>(Content::kWidth) / Content::kHeight);
    setResizeLimits(Content::kWidth / 2, Content::kHeight / 2, Content::kWidth * 3, Content::kHeight * 3);
    setSize(juce::roundToInt(Content::kWidth * scale), juce::roundToInt(Content::kHeight * scale));
    startTimerHz(kRefreshHz);
    timerCallback();
}

Editor::~Editor() {
    stopTimer();
    setLookAndFeel(nullptr);
}

void Editor::apply_theme() {
    auto look = std::make_unique<Look>(processor_.is_dark());
    setLookAndFeel(look.get());
    look_ = std::move(look);
    content_.theme.setButtonText(processor_.is_dark() ? "Light" : "Dark");
    sendLookAndFeelChange();
    repaint();
}

void Editor::timerCallback() { content_.show(processor_.session().view()); }

void Editor::resized() {
    const float scale = static_cast<float>(getWidth()) / Content::kWidth;
    content_.setTransform(juce::AffineTransform::scale(scale));
    processor_.set_window_scale(scale);
}

void Editor::paint(juce::Graphics& graphics) { graphics.fillAll(look_->colours().background); }

}  // namespace sa3::plugin
