// The play head of the test host: what it claims about its transport, lies included. Knows no plugin.
#pragma once

#include <juce_audio_processors/juce_audio_processors.h>

#include <iterator>
#include <limits>
#include <map>

/// What the host claims about its transport; moves on with the blocks unless frozen.
class Claims : public juce::AudioPlayHead {
public:
    juce::Optional<PositionInfo> getPosition() const override { return told; }

    void set(const juce::var& command) {
        told = {};
        told.setIsPlaying(command.getProperty("playing", false));
        told.setPpqPosition(number(command["ppq"], 0.0));
        told.setBpm(number(command["bpm"], 120.0));
        told.setTimeInSamples(juce::int64{0});
        told.setTimeSignature(TimeSignature{command.getProperty("numerator", 4), command.getProperty("denominator", 4)});
        if (const auto* cycle = command["cycle"].getArray(); cycle && cycle->size() == 2) {
            told.setIsLooping(true);
            told.setLoopPoints(LoopPoints{number((*cycle)[0], 0.0), number((*cycle)[1], 0.0)});
        }
        is_frozen = command.getProperty("frozen", false);
        tempo_changes.clear();
        if (const auto* changes = command["tempo_changes"].getArray())
            for (const auto& change : *changes) tempo_changes[change[0]] = change[1];
        follow_tempo(*told.getPpqPosition());
    }
    void advance(int num_samples, double rate) {
        if (!told.getIsPlaying() || is_frozen) return;
        auto ppq = further(*told.getPpqPosition(), num_samples / rate);
        if (const auto loop = told.getLoopPoints(); loop && told.getIsLooping() && loop->ppqEnd > loop->ppqStart)
            while (ppq >= loop->ppqEnd) ppq -= loop->ppqEnd - loop->ppqStart;
        told.setPpqPosition(ppq);
        told.setTimeInSamples(*told.getTimeInSamples() + num_samples);
        follow_tempo(ppq);
    }

private:
    /// JSON has no NaN and no infinity: they come as texts.
    static double number(const juce::var& value, double otherwise) {
        if (value.toString() == "nan") return std::numeric_limits<double>::quiet_NaN();
        if (value.toString() == "inf") return std::numeric_limits<double>::infinity();
        return value.isVoid() ? otherwise : static_cast<double>(value);
    }

    void follow_tempo(double ppq) {
        const auto next = tempo_changes.upper_bound(ppq);
        if (next != tempo_changes.begin()) told.setBpm(std::prev(next)->second);
    }

    /// Where the song is `seconds` after `ppq`, over all tempo changes between.
    double further(double ppq, double seconds) const {
        double bpm = *told.getBpm();
        for (auto next = tempo_changes.upper_bound(ppq); next != tempo_changes.end(); ++next) {
            const double until = (next->first - ppq) * 60.0 / bpm;
            if (until > seconds) break;
            seconds -= until;
            ppq = next->first;
            bpm = next->second;
        }
        return ppq + seconds * bpm / 60.0;
    }

    PositionInfo told;
    bool is_frozen = false;
    std::map<double, double> tempo_changes;  // by ppq
};
