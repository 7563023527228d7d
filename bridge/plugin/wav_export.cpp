// Resampling and writing the WAV file. Knows no daemon and no window.
#include "wav_export.h"

#include <juce_audio_formats/juce_audio_formats.h>

#include <cmath>
#include <memory>

#include "sa3/resampler.h"

namespace sa3::plugin {

namespace {

constexpr int kBlockSamples = 4096;

juce::File takes_folder() {
    const auto music = juce::File::getSpecialLocation(juce::File::userMusicDirectory);
    const auto parent = music.isDirectory() ? music : juce::File::getSpecialLocation(juce::File::userHomeDirectory);
    return parent.getChildFile("sa3-daw takes");
}

/// Reads the audio at the host's rate, whatever its own is.
class RateReader {
public:
    RateReader(const TakeAudio& audio, double host_rate)
        : audio_(audio), step_(audio.sample_rate() / host_rate), table_(audio.sample_rate(), host_rate) {}

    std::int64_t num_samples() const {
        return std::llround(static_cast<double>(audio_.num_available()) / step_);
    }
    void read(std::int64_t start, int count, float* left, float* right) const {
        if (step_ == 1.0) {
            audio_.read(0, start, count, left);
            audio_.read(1, start, count, right);
            return;
        }
        table_.read(audio_, {0.0, step_, start, count}, 0, left, right);
    }

private:
    const TakeAudio& audio_;
    double step_;
    SincTable table_;
};

bool write_all(const RateReader& reader, juce::AudioFormatWriter& writer) {
    juce::AudioBuffer<float> block(kNumChannels, kBlockSamples);
    for (std::int64_t start = 0; start < reader.num_samples(); start += kBlockSamples) {
        const auto count = static_cast<int>(std::min<std::int64_t>(kBlockSamples, reader.num_samples() - start));
        reader.read(start, count, block.getWritePointer(0), block.getWritePointer(1));
        if (!writer.writeFromAudioSampleBuffer(block, 0, count)) return false;
    }
    return writer.flush();
}

}  // namespace

ExportedFile export_wav(const TakeAudio& audio, double host_rate, double start_seconds, const juce::String& name) {
    const auto folder = takes_folder();
    if (folder.createDirectory().failed()) return {{}, "The folder " + folder.getFullPathName() + " cannot be made."};
    const auto file = folder.getNonexistentChildFile(juce::File::createLegalFileName(name), ".wav", false);
    const juce::TemporaryFile temporary(file);
    const juce::String no_room = "The file " + file.getFullPathName() + " cannot be written. Is the disk full?";
    {
        auto stream = temporary.getFile().createOutputStream();
        if (stream == nullptr) return {{}, no_room};
        const auto reference = static_cast<juce::int64>(std::llround(std::max(0.0, start_seconds) * host_rate));
        const auto metadata = juce::WavAudioFormat::createBWAVMetadata(name, "sa3-daw", "", juce::Time::getCurrentTime(),
                                                                       reference, "A=PCM");
        std::unique_ptr<juce::AudioFormatWriter> writer(
            juce::WavAudioFormat().createWriterFor(stream.get(), host_rate, kNumChannels, 32, metadata, 0));
        if (writer == nullptr) return {{}, no_room};
        stream.release();  // the writer owns it now
        if (!write_all(RateReader(audio, host_rate), *writer)) return {{}, no_room};
    }
    if (!temporary.overwriteTargetFileWithTemporary()) return {{}, no_room};
    return {file, {}};
}

}  // namespace sa3::plugin
