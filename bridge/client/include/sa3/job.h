// One job: what a client asks for, complete; the editing verbs as jobs. Knows no bytes, no socket and no audio.
//
// Mirrors sa3_daw/job.py and sa3_daw/edits.py. Lengths and positions are integers in samples at `sample_rate`, ranges
// are half-open. `fields` lists a struct's fields in wire order: required ones, then optional ones with their defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sa3 {

/// Tempo (quarter notes per minute) and metre in force from `position_ppq` on.
struct TempoPoint {
    double position_ppq = 0.0;
    double bpm = 120.0;
    std::int64_t numerator = 4;
    std::int64_t denominator = 4;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("position_ppq", self.position_ppq);
        visit.required("bpm", self.bpm);
        visit.optional("numerator", self.numerator);
        visit.optional("denominator", self.denominator);
    }
};

/// Stored stereo audio by content address (see sha256.h); its first sample lies at `start_sample` of the job's clip.
struct Source {
    std::string audio;
    std::int64_t start_sample = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
        visit.optional("start_sample", self.start_sample);
    }
};

/// The half-open range [start_sample, end_sample) of the job's clip.
struct Region {
    std::int64_t start_sample = 0;
    std::int64_t end_sample = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("start_sample", self.start_sample);
        visit.required("end_sample", self.end_sample);
    }
};

/// A LoRA adapter by name, how strong (0 off, 1 as trained), and where it acts.
struct AdapterUse {
    std::string name;
    double strength = 1.0;
    double min_noise = 0.0;
    double max_noise = 1.0;
    std::string layer_filter;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("name", self.name);
        visit.optional("strength", self.strength);
        visit.optional("min_noise", self.min_noise);
        visit.optional("max_noise", self.max_noise);
        visit.optional("layer_filter", self.layer_filter);
    }
};

/// A request for a clip. Zero, empty and nullopt mean the model's default where the daemon writes it in.
struct Job {
    std::string job_id;
    std::string prompt;
    std::int64_t num_samples = 0;
    std::int64_t sample_rate = 0;
    std::int64_t seed = 0;
    std::vector<TempoPoint> tempo_map;
    std::int64_t start_sample = 0;
    std::string model = "nano";
    std::string negative_prompt;
    std::int64_t steps = 0;
    double guidance_scale = 0.0;
    std::optional<double> apg_scale;
    std::string sampler;
    std::optional<double> headroom_seconds;
    std::optional<Source> source;
    std::vector<Region> regions;
    double noise_level = 1.0;
    bool loop = false;
    std::int64_t num_variations = 1;
    std::int64_t best_of = 1;
    bool draft = false;
    std::optional<double> loudness_lufs;
    bool warp = false;
    std::vector<AdapterUse> adapters;
    std::string priority = "normal";
    bool durable = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("job_id", self.job_id);
        visit.required("prompt", self.prompt);
        visit.required("num_samples", self.num_samples);
        visit.required("sample_rate", self.sample_rate);
        visit.required("seed", self.seed);
        visit.required("tempo_map", self.tempo_map);
        visit.optional("start_sample", self.start_sample);
        visit.optional("model", self.model);
        visit.optional("negative_prompt", self.negative_prompt);
        visit.optional("steps", self.steps);
        visit.optional("guidance_scale", self.guidance_scale);
        visit.optional("apg_scale", self.apg_scale);
        visit.optional("sampler", self.sampler);
        visit.optional("headroom_seconds", self.headroom_seconds);
        visit.optional("source", self.source);
        visit.optional("regions", self.regions);
        visit.optional("noise_level", self.noise_level);
        visit.optional("loop", self.loop);
        visit.optional("num_variations", self.num_variations);
        visit.optional("best_of", self.best_of);
        visit.optional("draft", self.draft);
        visit.optional("loudness_lufs", self.loudness_lufs);
        visit.optional("warp", self.warp);
        visit.optional("adapters", self.adapters);
        visit.optional("priority", self.priority);
        visit.optional("durable", self.durable);
    }
};

/// Return an id no other job has: 16 hex digits. [thread-safe]
std::string new_job_id();

/// Return a seed to resolve "any seed" with, below 2^32: small enough to be read out and typed. [thread-safe]
std::int64_t random_seed();

// The editing verbs: each takes a plain generate job (prompt, seed, model, rate) and returns the job of the edit. The
// source, stored at the daemon under the content address `audio`, has `source_num_samples` at the job's rate. Leave
// `audio` empty when the source travels with the job (DaemonClient::submit uploads it and writes the address in).

/// Make `regions` of the source anew; the clip keeps the source's length.
Job inpaint(Job job, std::string audio, std::int64_t source_num_samples, std::vector<Region> regions);

/// Let the source run on for `num_samples`; the clip is the source followed by them.
Job continue_after(Job job, std::string audio, std::int64_t source_num_samples, std::int64_t num_samples);

/// Lead into the source with `num_samples` new ones; the clip is them followed by the source.
Job continue_before(Job job, std::string audio, std::int64_t source_num_samples, std::int64_t num_samples);

/// Make the whole source anew, starting from it at `noise_level` in (0, 1): the lower, the closer to it.
Job restyle(Job job, std::string audio, std::int64_t source_num_samples, double noise_level);

/// Keep the source but for its joint, so that it repeats.
Job loop(Job job, std::string audio, std::int64_t source_num_samples);

}  // namespace sa3
