// The host that makes the plugin from its own code instead of the VST3, so that a hand finds the parts of its window.
//
//   {"op":"parts"}  {"op":"click","id":I,"at":[0.5,0.5],"times":1}  {"op":"drag","id":I,"from":[x,y],"to":[x,y]}
//   {"op":"keys","keys":["tab"]}  {"op":"text","text":T}  {"op":"clipboard"}
#include <stdexcept>

#include "hand.h"
#include "host.h"

juce::AudioProcessor* JUCE_CALLTYPE createPluginFilter();

namespace {

using juce::var;
using namespace sa3::test;

juce::Point<float> point(const var& from) {
    if (!from.isArray()) return {0.5f, 0.5f};
    return {static_cast<float>(from[0]), static_cast<float>(from[1])};
}

class WindowHost : public Host {
private:
    std::unique_ptr<juce::AudioProcessor> make(const juce::String&, juce::String&) override {
        return std::unique_ptr<juce::AudioProcessor>(createPluginFilter());
    }

    bool obey_more(const juce::String& op, const var& command, juce::DynamicObject& answer) override {
        bool is_known = true;
        std::string problem;
        on_message_thread([&] {
            try {
                is_known = lend_a_hand(op, command, answer);
            } catch (const std::exception& error) {
                problem = error.what();
            }
        });
        if (!problem.empty()) throw std::runtime_error(problem);
        return is_known;
    }

    static bool lend_a_hand(const juce::String& op, const var& command, juce::DynamicObject& answer) {
        if (op == "parts") {
            answer.setProperty("parts", parts_of_all_windows());
            answer.setProperty("focus", focused_id());
        } else if (op == "click") {
            click(part(command["id"].toString()), point(command["at"]), command.getProperty("times", 1));
        } else if (op == "drag") {
            drag(part(command["id"].toString()), point(command["from"]), point(command["to"]));
        } else if (op == "keys") {
            juce::StringArray keys;
            for (const auto& key : *command["keys"].getArray()) keys.add(key.toString());
            press_keys(part("status"), keys);
        } else if (op == "text") {
            write_text(part("status"), command["text"].toString());
        } else if (op == "clipboard") {
            answer.setProperty("text", juce::SystemClipboard::getTextFromClipboard());
        } else {
            return false;
        }
        return true;
    }
};

}  // namespace

int main() {
    const juce::ScopedJuceInitialiser_GUI gui;
    WindowHost host;
    serve_until_the_end(host);
}
