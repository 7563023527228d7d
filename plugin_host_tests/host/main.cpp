// The host that loads the VST3, as a DAW would; with CHECK PATH it only makes one of the strict checks. Knows no command.
#include "host.h"
#include "strict.h"

namespace {

class Vst3Host : public sa3::test::Host {
public:
    Vst3Host() { formats_.addDefaultFormats(); }

private:
    std::unique_ptr<juce::AudioProcessor> make(const juce::String& path, juce::String& problem) override {
        juce::OwnedArray<juce::PluginDescription> found;
        for (auto* format : formats_.getFormats()) format->findAllTypesForFile(found, path);
        if (!found.isEmpty()) return formats_.createPluginInstance(*found[0], rate(), block(), problem);
        problem = "no plugin in " + path;
        return nullptr;
    }

    juce::AudioPluginFormatManager formats_;
};

}  // namespace

int main(int num_words, char** words) {
    const juce::ScopedJuceInitialiser_GUI gui;
    if (num_words == 3) return sa3::test::check_strictly(words[1], words[2]);
    Vst3Host host;
    sa3::test::serve_until_the_end(host);
}
