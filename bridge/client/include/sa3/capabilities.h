// What a daemon is and can do, as hello tells. Knows no bytes and no job.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sa3 {

/// One installed model; `max_num_samples` counts at the model's `sample_rate`; longer clips are chained.
/// `precision` is what it runs in, "auto" until the engine has chosen.
struct ModelInfo {
    std::string name;
    std::int64_t sample_rate = 0;
    std::int64_t max_num_samples = 0;
    std::int64_t default_steps = 0;
    double default_guidance_scale = 0.0;
    std::string default_sampler;
    std::vector<std::string> samplers;
    double headroom_seconds = 0.0;
    std::string precision = "auto";

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("name", self.name);
        visit.required("sample_rate", self.sample_rate);
        visit.required("max_num_samples", self.max_num_samples);
        visit.required("default_steps", self.default_steps);
        visit.required("default_guidance_scale", self.default_guidance_scale);
        visit.optional("default_sampler", self.default_sampler);
        visit.optional("samplers", self.samplers);
        visit.optional("headroom_seconds", self.headroom_seconds);
        visit.optional("precision", self.precision);
    }
};

/// One installed adapter: the model it was trained on ("" unknown) and its kind, such as lora or dora-rows.
struct AdapterInfo {
    std::string name;
    std::string base_model;
    std::string kind;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("name", self.name);
        visit.required("base_model", self.base_model);
        visit.required("kind", self.kind);
    }
};

/// The largest values a request may carry; beyond them it fails with `limit_exceeded` or `invalid_field`.
struct Limits {
    std::vector<std::int64_t> sample_rates;
    std::int64_t max_prompt_bytes = 0;
    std::int64_t max_steps = 0;
    double max_guidance_scale = 0.0;
    std::int64_t max_tempo_points = 0;
    std::int64_t max_queued_jobs = 0;
    std::int64_t max_credit = 0;
    std::int64_t max_body_bytes = 0;
    std::int64_t max_clip_seconds = 0;
    std::int64_t max_rolls = 0;
    std::int64_t max_regions = 0;
    std::int64_t max_adapters = 0;
    std::int64_t max_buffer_bytes = 0;
    std::int64_t max_listed_takes = 0;
    std::int64_t max_tags = 0;
    std::int64_t max_tag_bytes = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("sample_rates", self.sample_rates);
        visit.required("max_prompt_bytes", self.max_prompt_bytes);
        visit.required("max_steps", self.max_steps);
        visit.required("max_guidance_scale", self.max_guidance_scale);
        visit.required("max_tempo_points", self.max_tempo_points);
        visit.required("max_queued_jobs", self.max_queued_jobs);
        visit.required("max_credit", self.max_credit);
        visit.required("max_body_bytes", self.max_body_bytes);
        visit.required("max_clip_seconds", self.max_clip_seconds);
        visit.required("max_rolls", self.max_rolls);
        visit.required("max_regions", self.max_regions);
        visit.required("max_adapters", self.max_adapters);
        visit.required("max_buffer_bytes", self.max_buffer_bytes);
        visit.required("max_listed_takes", self.max_listed_takes);
        visit.required("max_tags", self.max_tags);
        visit.required("max_tag_bytes", self.max_tag_bytes);
    }
};

/// What this daemon is. `verbs` are the request kinds it understands; `device`, `precision` and `is_compiled` are what
/// its engine was told at its start.
struct HelloReply {
    std::int64_t protocol_version = 0;
    std::string daemon_version;
    std::int64_t pid = 0;
    std::vector<std::string> verbs;
    std::vector<ModelInfo> models;
    Limits limits;
    std::vector<AdapterInfo> adapters;
    std::string device = "auto";
    std::string precision = "auto";
    bool is_compiled = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("protocol_version", self.protocol_version);
        visit.required("daemon_version", self.daemon_version);
        visit.required("pid", self.pid);
        visit.required("verbs", self.verbs);
        visit.required("models", self.models);
        visit.required("limits", self.limits);
        visit.optional("adapters", self.adapters);
        visit.optional("device", self.device);
        visit.optional("precision", self.precision);
        visit.optional("is_compiled", self.is_compiled);
    }
};

}  // namespace sa3
