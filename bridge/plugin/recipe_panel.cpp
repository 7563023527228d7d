// Widgets <-> recipe. Knows no daemon.
#include "recipe_panel.h"

#include "look.h"

namespace sa3::plugin {

namespace {

constexpr int kLabelHeight = 16, kRowHeight = 26, kGap = 8;
const double kHeadroomChoices[] = {0.0, 2.0, 6.0};

/// Strengths of the installed adapters, in a call-out box.
class AdapterSliders : public juce::Component {
public:
    AdapterSliders(Session& session, const std::vector<AdapterInfo>& installed) : session_(session) {
        const auto recipe = session.recipe();
        for (const auto& info : installed) {
            auto* slider = sliders_.add(new juce::Slider(juce::Slider::LinearHorizontal, juce::Slider::TextBoxRight));
            slider->setTitle(info.name);
            slider->setComponentID("adapter " + juce::String(info.name));
            slider->setWantsKeyboardFocus(true);
            slider->setRange(0.0, 2.0, 0.01);
            for (const auto& use : recipe.adapters)
                if (use.name == info.name) slider->setValue(use.strength, juce::dontSendNotification);
            slider->onValueChange = [this] { store(); };
            auto* label = labels_.add(new juce::Label({}, info.name));
            addAndMakeVisible(slider);
            addAndMakeVisible(label);
        }
        setSize(340, std::max(1, sliders_.size()) * 30 + 8);
    }
    void resized() override {
        auto area = getLocalBounds().reduced(4);
        for (int i = 0; i < sliders_.size(); ++i) {
            auto row = area.removeFromTop(30);
            labels_[i]->setBounds(row.removeFromLeft(130));
            sliders_[i]->setBounds(row);
        }
    }

private:
    void store() {
        auto recipe = session_.recipe();
        recipe.adapters.clear();
        for (auto* slider : sliders_)
            if (slider->getValue() > 0.0) recipe.adapters.push_back({slider->getTitle().toStdString(), slider->getValue()});
        session_.set_recipe(recipe);
    }

    Session& session_;
    juce::OwnedArray<juce::Slider> sliders_;
    juce::OwnedArray<juce::Label> labels_;
};

}  // namespace

RecipePanel::RecipePanel(Session& session) : session_(session) {
    const auto add_text = [this](juce::TextEditor& editor, const char* title, const char* hint) {
        editor.setTitle(title);
        editor.setTextToShowWhenEmpty(hint, juce::Colours::grey);
        editor.setSelectAllWhenFocused(false);
        editor.onTextChange = [this] { store(); };
        addAndMakeVisible(editor);
    };
    add_text(prompt_, "Prompt", "What shall it sound like?  e.g. house drums and bass");
    prompt_.setMultiLine(true);
    prompt_.onReturnKey = [this] {
        if (on_enter) on_enter();
    };
    add_text(negative_prompt_, "Negative prompt", "What shall it not sound like?");
    add_text(seed_, "Seed", "seed");
    seed_.setInputRestrictions(19, "0123456789");

    const auto add_slider = [this](juce::Slider& slider, const char* title, double low, double high, double step) {
        slider.setSliderStyle(juce::Slider::LinearHorizontal);
        slider.setTextBoxStyle(juce::Slider::TextBoxRight, false, 52, 22);
        slider.setRange(low, high, step);
        slider.setTitle(title);
        slider.setWantsKeyboardFocus(true);
        slider.onValueChange = [this] { store(); };
        addAndMakeVisible(slider);
    };
    add_slider(num_bars_, "Bars", 1, 64, 0.25);
    add_slider(seconds_, "Seconds", 0.5, 380, 0.1);
    add_slider(steps_, "Steps", 0, 50, 1);
    steps_.textFromValueFunction = [](double value) { return value < 0.5 ? juce::String("auto") : juce::String(juce::roundToInt(value)); };
    add_slider(num_variations_, "Variations", 1, 8, 1);
    add_slider(init_level_, "Change", 0.05, 0.95, 0.01);
    init_level_.setTooltip("Restyle: how far the sound is taken from what it was");
    add_slider(continue_bars_, "Continue by", 0.25, 32, 0.25);

    range_mode_.addItemList({"Cycle", "Bars", "Seconds", "Captured"}, 1);
    headroom_.addItemList({"auto", "ends", "2 s", "6 s"}, 1);
    headroom_.setTooltip("What is made beyond the end and cut away; 'ends' lets the music come to an end");
    for (auto* box : {&range_mode_, &model_, &headroom_}) {
        box->onChange = [this] { store(); };
        addAndMakeVisible(box);
    }
    range_mode_.setTitle("Length");
    model_.setTitle("Model");
    headroom_.setTitle("Headroom");
    for (auto* toggle : {&seed_locked_, &loop_}) {
        toggle->onClick = [this] { store(); };
        addAndMakeVisible(toggle);
    }
    roll_.onClick = [this] { seed_.setText(juce::String(random_seed())); };
    adapters_.onClick = [this] { pick_adapters(); };
    addAndMakeVisible(roll_);
    addAndMakeVisible(adapters_);
    const std::initializer_list<std::pair<juce::Component*, const char*>> ids = {
        {&prompt_, "prompt"},           {&negative_prompt_, "negative_prompt"}, {&seed_, "seed"},
        {&num_bars_, "num_bars"},       {&seconds_, "seconds"},                 {&steps_, "steps"},
        {&init_level_, "init_level"},   {&continue_bars_, "continue_bars"},     {&num_variations_, "num_variations"},
        {&range_mode_, "range_mode"},   {&model_, "model"},                     {&headroom_, "headroom"},
        {&seed_locked_, "seed_locked"}, {&loop_, "loop"},                       {&roll_, "roll"},
        {&adapters_, "adapters"},       {&plan_, "plan"}};
    for (const auto& [part, id] : ids) part->setComponentID(id);
    plan_.setFont(juce::Font(12.0f));
    plan_.setMinimumHorizontalScale(0.9f);
    plan_.setBorderSize({});
    addAndMakeVisible(plan_);
    load(session_.recipe());
}

void RecipePanel::load(const Recipe& recipe) {
    const juce::ScopedValueSetter<bool> loading(is_loading_, true);
    const auto set_text = [](juce::TextEditor& editor, const juce::String& text) {
        if (editor.getText() != text) editor.setText(text, false);
    };
    set_text(prompt_, juce::String::fromUTF8(recipe.prompt.c_str()));
    set_text(negative_prompt_, juce::String::fromUTF8(recipe.negative_prompt.c_str()));
    set_text(seed_, juce::String(recipe.seed));
    range_mode_.setSelectedItemIndex(static_cast<int>(recipe.range_mode), juce::dontSendNotification);
    model_.setText(recipe.model, juce::dontSendNotification);
    int headroom = 0;
    if (recipe.headroom_seconds)
        for (int i = 0; i < 3; ++i)
            if (*recipe.headroom_seconds >= kHeadroomChoices[i]) headroom = i + 1;
    headroom_.setSelectedItemIndex(headroom, juce::dontSendNotification);
    num_bars_.setValue(recipe.num_bars, juce::dontSendNotification);
    seconds_.setValue(recipe.seconds, juce::dontSendNotification);
    steps_.setValue(static_cast<double>(recipe.steps), juce::dontSendNotification);
    num_variations_.setValue(static_cast<double>(recipe.num_variations), juce::dontSendNotification);
    init_level_.setValue(recipe.init_level, juce::dontSendNotification);
    continue_bars_.setValue(recipe.continue_bars, juce::dontSendNotification);
    seed_locked_.setToggleState(recipe.seed_locked, juce::dontSendNotification);
    loop_.setToggleState(recipe.loop, juce::dontSendNotification);
    num_bars_.setVisible(recipe.mode() == RangeMode::kBars);
    seconds_.setVisible(recipe.mode() == RangeMode::kSeconds);
    loaded_ = read();
}

/// What the widgets tell; what has no widget is as it is by default.
Recipe RecipePanel::read() const {
    Recipe recipe;
    recipe.prompt = prompt_.getText().toStdString();
    recipe.negative_prompt = negative_prompt_.getText().toStdString();
    recipe.model = model_.getText().toStdString();
    recipe.seed = seed_.getText().getLargeIntValue();
    recipe.seed_locked = seed_locked_.getToggleState();
    recipe.range_mode = range_mode_.getSelectedItemIndex();
    recipe.num_bars = num_bars_.getValue();
    recipe.seconds = seconds_.getValue();
    recipe.continue_bars = continue_bars_.getValue();
    recipe.steps = juce::roundToInt(steps_.getValue());
    recipe.num_variations = juce::roundToInt(num_variations_.getValue());
    recipe.init_level = init_level_.getValue();
    recipe.loop = loop_.getToggleState();
    if (const int headroom = headroom_.getSelectedItemIndex(); headroom > 0)
        recipe.headroom_seconds = kHeadroomChoices[headroom - 1];
    return recipe;
}

/// Write what was changed here, and only that: a state or a rolled seed may have come that is not shown yet.
void RecipePanel::store() {
    if (is_loading_) return;
    auto recipe = session_.recipe();
    const auto now = read();
    const auto take_over = [&](auto... fields) {
        ((now.*fields != loaded_.*fields ? void(recipe.*fields = now.*fields) : void()), ...);
    };
    take_over(&Recipe::prompt, &Recipe::negative_prompt, &Recipe::model, &Recipe::seed, &Recipe::seed_locked,
              &Recipe::range_mode, &Recipe::num_bars, &Recipe::seconds, &Recipe::continue_bars, &Recipe::steps,
              &Recipe::num_variations, &Recipe::init_level, &Recipe::loop, &Recipe::headroom_seconds);
    session_.set_recipe(recipe);
    load(session_.recipe());
}

void RecipePanel::show_models(const SessionView& view) {
    if (view.daemon.hello == hello_) return;
    hello_ = view.daemon.hello;
    const juce::ScopedValueSetter<bool> loading(is_loading_, true);
    model_.clear(juce::dontSendNotification);
    int item = 1;
    if (hello_)
        for (const auto& model : hello_->models) model_.addItem(model.name, item++);
    model_.setText(view.recipe.model, juce::dontSendNotification);
    loaded_.model = view.recipe.model;
}

void RecipePanel::show(const SessionView& view) {
    show_models(view);
    const bool has_unsaid_text = prompt_.getText() != juce::String::fromUTF8(loaded_.prompt.c_str()) ||
                                 negative_prompt_.getText() != juce::String::fromUTF8(loaded_.negative_prompt.c_str());
    if (has_unsaid_text) store();  // typed a moment ago; an editor tells its text later
    if (view.recipe_version != shown_version_) load(has_unsaid_text ? session_.recipe() : view.recipe);
    shown_version_ = view.recipe_version;
    const auto& c = static_cast<Look&>(getLookAndFeel()).colours();
    plan_.setText(juce::String::fromUTF8(describe(view.plan).c_str()), juce::dontSendNotification);
    plan_.setColour(juce::Label::textColourId, view.plan.problem.empty() && view.plan.warning.empty() ? c.text : c.warning);
    const auto num_adapters = view.recipe.adapters.size();
    adapters_.setButtonText(num_adapters == 0 ? juce::String("Style packs ...")
                                              : "Style packs: " + juce::String(static_cast<int>(num_adapters)));
    adapters_.setEnabled(hello_ && !hello_->adapters.empty());
}

void RecipePanel::pick_adapters() {
    if (!hello_) return;
    auto sliders = std::make_unique<AdapterSliders>(session_, hello_->adapters);
    juce::CallOutBox::launchAsynchronously(std::move(sliders), adapters_.getScreenBounds(), nullptr);
}

void RecipePanel::resized() {
    auto area = getLocalBounds();
    const auto labelled_row = [&area](int height) {
        area.removeFromTop(kLabelHeight);
        auto row = area.removeFromTop(height);
        area.removeFromTop(kGap);
        return row;
    };
    auto texts = labelled_row(52);
    negative_prompt_.setBounds(texts.removeFromRight(texts.getWidth() / 3));
    texts.removeFromRight(kGap);
    prompt_.setBounds(texts);

    auto first = labelled_row(kRowHeight);
    const int column = (first.getWidth() - 3 * kGap) / 4;
    const auto next = [column](juce::Rectangle<int>& row) {
        auto cell = row.removeFromLeft(column);
        row.removeFromLeft(kGap);
        return cell;
    };
    range_mode_.setBounds(next(first));
    num_bars_.setBounds(next(first));
    seconds_.setBounds(num_bars_.getBounds());
    model_.setBounds(next(first));
    adapters_.setBounds(first);

    auto second = labelled_row(kRowHeight);
    auto seed = next(second);
    seed_locked_.setBounds(seed.removeFromRight(58));
    roll_.setBounds(seed.removeFromRight(44));
    seed.removeFromRight(4);
    seed_.setBounds(seed);
    num_variations_.setBounds(next(second));
    steps_.setBounds(next(second));
    auto last = second;
    headroom_.setBounds(last.removeFromLeft(last.getWidth() / 2));
    last.removeFromLeft(kGap);
    loop_.setBounds(last);

    auto third = labelled_row(kRowHeight);
    init_level_.setBounds(next(third));
    continue_bars_.setBounds(next(third));
    plan_.setBounds(third);
}

void RecipePanel::lookAndFeelChanged() {
    const auto colour = getLookAndFeel().findColour(juce::TextEditor::textColourId);
    for (auto* editor : {&prompt_, &negative_prompt_, &seed_}) editor->applyColourToAllText(colour, false);
}

void RecipePanel::paint(juce::Graphics& graphics) {
    graphics.setColour(static_cast<Look&>(getLookAndFeel()).colours().faint_text);
    graphics.setFont(12.0f);
    const auto label = [&graphics](const juce::Component& under, const juce::String& text) {
        graphics.drawText(text, under.getX() + 2, under.getY() - kLabelHeight, 200, kLabelHeight, juce::Justification::centredLeft);
    };
    label(prompt_, "Prompt");
    label(negative_prompt_, "Not");
    label(range_mode_, "Length from");
    if (num_bars_.isVisible()) label(num_bars_, "Bars");
    if (seconds_.isVisible()) label(seconds_, "Seconds");
    label(model_, "Model");
    label(adapters_, "LoRA");
    label(seed_, "Seed");
    label(num_variations_, "Variations");
    label(steps_, "Steps");
    label(headroom_, "Headroom");
    label(init_level_, "Restyle: how much");
    label(continue_bars_, "Continue by bars");
    label(plan_, "Will be made");
}

}  // namespace sa3::plugin
