// Mouse and key events for a window's peer. Knows no plugin.
#include "hand.h"

#include <stdexcept>

namespace sa3::test {

namespace {

constexpr int kDragSteps = 12;

juce::Component* find(juce::Component& in, const juce::String& id) {
    if (in.getComponentID() == id && in.isShowing()) return &in;
    for (auto* child : in.getChildren())
        if (auto* found = find(*child, id)) return found;
    return nullptr;
}

juce::ComponentPeer& peer_of(juce::Component& part) {
    auto* peer = part.getPeer();
    if (peer == nullptr) throw std::runtime_error("the part has no window");
    return *peer;
}

/// A place on a part, as its window counts.
juce::Point<float> in_window(juce::Component& part, juce::Point<float> at) {
    if (at.x >= 0.0f && at.x <= 1.0f) at.x *= static_cast<float>(part.getWidth());
    if (at.y >= 0.0f && at.y <= 1.0f) at.y *= static_cast<float>(part.getHeight());
    auto& window = peer_of(part).getComponent();
    return window.getLocalPoint(&part, at);
}

void send(juce::ComponentPeer& peer, juce::Point<float> at, bool is_down) {
    static juce::int64 time = juce::Time::currentTimeMillis();
    time = juce::jmax(time + 20, juce::Time::currentTimeMillis());
    const juce::ModifierKeys keys(is_down ? juce::ModifierKeys::leftButtonModifier : 0);
    juce::ModifierKeys::currentModifiers = keys;
    peer.handleMouseEvent(juce::MouseInputSource::InputSourceType::mouse, at, keys, 0.0f, 0.0f, time);
}

juce::var described(juce::Component& part) {
    auto* object = new juce::DynamicObject;
    const auto bounds = part.getScreenBounds();
    object->setProperty("enabled", part.isEnabled());
    object->setProperty("bounds", juce::Array<juce::var>{bounds.getX(), bounds.getY(), bounds.getWidth(), bounds.getHeight()});
    if (auto* button = dynamic_cast<juce::Button*>(&part)) {
        object->setProperty("text", button->getButtonText());
        object->setProperty("on", button->getToggleState());
    } else if (auto* slider = dynamic_cast<juce::Slider*>(&part)) {
        object->setProperty("value", slider->getValue());
    } else if (auto* box = dynamic_cast<juce::ComboBox*>(&part)) {
        object->setProperty("text", box->getText());
    } else if (auto* label = dynamic_cast<juce::Label*>(&part)) {
        object->setProperty("text", label->getText());
    } else if (auto* editor = dynamic_cast<juce::TextEditor*>(&part)) {
        object->setProperty("text", editor->getText());
    } else if (auto* list = dynamic_cast<juce::ListBox*>(&part)) {
        object->setProperty("rows", list->getModel() ? list->getModel()->getNumRows() : 0);
        object->setProperty("row", list->getSelectedRow());
    }
    return object;
}

void describe_all(juce::Component& in, juce::DynamicObject& parts) {
    if (in.getComponentID().isNotEmpty() && in.isShowing()) parts.setProperty(in.getComponentID(), described(in));
    for (auto* child : in.getChildren()) describe_all(*child, parts);
}

}  // namespace

juce::Component& part(const juce::String& id) {
    auto& desktop = juce::Desktop::getInstance();
    for (int i = desktop.getNumComponents(); --i >= 0;)
        if (auto* found = find(*desktop.getComponent(i), id)) return *found;
    throw std::runtime_error(("nothing shows that is called " + id).toStdString());
}

void click(juce::Component& part, juce::Point<float> at, int num_times) {
    auto& peer = peer_of(part);
    const auto place = in_window(part, at);
    send(peer, place, false);
    for (int i = 0; i < num_times; ++i) {
        send(peer, place, true);
        send(peer, place, false);
    }
}

void drag(juce::Component& part, juce::Point<float> from, juce::Point<float> to) {
    auto& peer = peer_of(part);
    const auto start = in_window(part, from), end = in_window(part, to);
    send(peer, start, false);
    for (int i = 0; i <= kDragSteps; ++i)
        send(peer, start + (end - start) * (static_cast<float>(i) / static_cast<float>(kDragSteps)), true);
    send(peer, end, false);
}

void press_keys(juce::Component& window, const juce::StringArray& keys) {
    for (const auto& key : keys) peer_of(window).handleKeyPress(juce::KeyPress::createFromDescription(key));
}

void write_text(juce::Component& window, const juce::String& text) {
    for (auto letter = text.getCharPointer(); !letter.isEmpty();) {
        const auto character = letter.getAndAdvance();
        peer_of(window).handleKeyPress(static_cast<int>(juce::CharacterFunctions::toLowerCase(character)), character);
    }
}

juce::var parts_of_all_windows() {
    auto* parts = new juce::DynamicObject;
    const juce::var owned(parts);
    auto& desktop = juce::Desktop::getInstance();
    for (int i = 0; i < desktop.getNumComponents(); ++i) describe_all(*desktop.getComponent(i), *parts);
    return owned;
}

juce::String focused_id() {
    const auto* focused = juce::Component::getCurrentlyFocusedComponent();
    return focused ? focused->getComponentID() : juce::String();
}

}  // namespace sa3::test
