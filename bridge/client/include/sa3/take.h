// What is known of one take: levels, beats, key, what changed; and how the store lists it. Knows no bytes and no audio.
//
// Mirrors sa3_daw/take.py; docs/protocol.md is the authority.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sa3/job.h"

namespace sa3 {

/// Beats as measured in a take: tempo, mean offset from the asked grid (positive: late), both with a confidence.
struct BeatReport {
    double bpm = 0.0;
    double phase_error_seconds = 0.0;
    double confidence = 0.0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("bpm", self.bpm);
        visit.required("phase_error_seconds", self.phase_error_seconds);
        visit.required("confidence", self.confidence);
    }
};

/// Key as estimated in a take, for example "A minor"; confidence 0 to 1.
struct KeyReport {
    std::string key;
    double confidence = 0.0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("key", self.key);
        visit.required("confidence", self.confidence);
    }
};

/// One variation is complete; all its audio has been sent.
/// `changed` are the ranges that differ from the source (all of the clip without one); `kept_sha256` is the
/// SHA-256 of the planar float32 bytes of every sample outside them, in time order per channel, "" without a source.
/// `stretch` is the declared time-stretch (1.0: none), `seam_db` the worst level jump across the edges of the
/// changed ranges and of chained windows, None where there is none.
struct TakeMade {
    std::int64_t variation = 0;
    std::int64_t seed = 0;
    std::int64_t num_samples = 0;
    double peak_db = 0.0;
    double rms_db = 0.0;
    std::optional<double> loudness_lufs;
    std::optional<BeatReport> beats;
    std::optional<KeyReport> key;
    std::vector<Region> changed;
    std::string kept_sha256;
    double stretch = 1.0;
    std::optional<double> seam_db;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("variation", self.variation);
        visit.required("seed", self.seed);
        visit.required("num_samples", self.num_samples);
        visit.required("peak_db", self.peak_db);
        visit.required("rms_db", self.rms_db);
        visit.required("loudness_lufs", self.loudness_lufs);
        visit.required("beats", self.beats);
        visit.required("key", self.key);
        visit.optional("changed", self.changed);
        visit.optional("kept_sha256", self.kept_sha256);
        visit.optional("stretch", self.stretch);
        visit.optional("seam_db", self.seam_db);
    }
};

/// One stored take. `parents` are the takes its source was; `interrupted`: its job ended before it was whole.
/// `created_seconds` counts from 1970 in UTC by the clock of that moment; ids alone give the order.
struct TakeInfo {
    std::string take_id;
    std::string audio;
    std::string job_id;
    double created_seconds = 0.0;
    std::string model;
    std::string prompt;
    std::int64_t sample_rate = 0;
    TakeMade made;
    std::string source;
    std::vector<std::string> parents;
    bool starred = false;
    std::vector<std::string> tags;
    bool interrupted = false;
    std::string daemon_version;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take_id", self.take_id);
        visit.required("audio", self.audio);
        visit.required("job_id", self.job_id);
        visit.required("created_seconds", self.created_seconds);
        visit.required("model", self.model);
        visit.required("prompt", self.prompt);
        visit.required("sample_rate", self.sample_rate);
        visit.required("made", self.made);
        visit.optional("source", self.source);
        visit.optional("parents", self.parents);
        visit.optional("starred", self.starred);
        visit.optional("tags", self.tags);
        visit.optional("interrupted", self.interrupted);
        visit.optional("daemon_version", self.daemon_version);
    }
};

}  // namespace sa3
