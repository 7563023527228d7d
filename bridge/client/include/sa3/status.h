// What a daemon is doing, as status tells. Knows no bytes and no job's content.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sa3 {

/// Seconds per stage, in the order in which they came.
using NamedSeconds = std::vector<std::pair<std::string, double>>;

/// A model in memory; `num_bytes` are its weights', `precision_reason` says why it runs as it does.
struct ResidentModel {
    std::string name;
    std::string device;
    std::string precision;
    std::int64_t num_bytes = 0;
    std::string precision_reason;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("name", self.name);
        visit.required("device", self.device);
        visit.required("precision", self.precision);
        visit.required("num_bytes", self.num_bytes);
        visit.optional("precision_reason", self.precision_reason);
    }
};

/// `state` is stopped, starting, idle or busy; `num_deaths` counts engines that ended unasked.
/// `num_bytes` is the process's resident memory, 0 where the system does not tell.
struct EngineStatus {
    std::string state;
    std::int64_t pid = 0;
    std::int64_t num_deaths = 0;
    std::int64_t num_bytes = 0;
    std::vector<ResidentModel> models;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("state", self.state);
        visit.required("pid", self.pid);
        visit.required("num_deaths", self.num_deaths);
        visit.optional("num_bytes", self.num_bytes);
        visit.optional("models", self.models);
    }
};

/// One live job. `state` is running, queued, or delivering (computed, its audio waits for credit).
struct JobStatus {
    std::string job_id;
    std::string state;
    std::int64_t position = 0;
    std::string model;
    std::int64_t num_samples = 0;
    std::int64_t sample_rate = 0;
    std::string stage;
    std::int64_t step = 0;
    std::int64_t num_steps = 0;
    std::string priority = "normal";
    bool durable = false;
    std::optional<double> eta_seconds;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("job_id", self.job_id);
        visit.required("state", self.state);
        visit.required("position", self.position);
        visit.required("model", self.model);
        visit.required("num_samples", self.num_samples);
        visit.required("sample_rate", self.sample_rate);
        visit.required("stage", self.stage);
        visit.required("step", self.step);
        visit.required("num_steps", self.num_steps);
        visit.optional("priority", self.priority);
        visit.optional("durable", self.durable);
        visit.optional("eta_seconds", self.eta_seconds);
    }
};

/// How a job ended: `outcome` is finished, failed (then `code`) or cancelled.
struct JobEnd {
    std::string job_id;
    std::string outcome;
    std::string code;
    std::string model;
    std::int64_t num_samples = 0;
    std::int64_t sample_rate = 0;
    double waited_seconds = 0.0;
    double ran_seconds = 0.0;
    NamedSeconds timings_seconds;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("job_id", self.job_id);
        visit.required("outcome", self.outcome);
        visit.required("code", self.code);
        visit.required("model", self.model);
        visit.required("num_samples", self.num_samples);
        visit.required("sample_rate", self.sample_rate);
        visit.required("waited_seconds", self.waited_seconds);
        visit.required("ran_seconds", self.ran_seconds);
        visit.optional("timings_seconds", self.timings_seconds);
    }
};

/// Seconds that finished jobs spent in one stage. `counts[i]` jobs took at most `bounds_seconds[i]`,
/// and more than the bound before; the last count is of those beyond every bound.
struct StageTimes {
    std::string stage;
    std::vector<double> bounds_seconds;
    std::vector<std::int64_t> counts;
    double sum_seconds = 0.0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("stage", self.stage);
        visit.required("bounds_seconds", self.bounds_seconds);
        visit.required("counts", self.counts);
        visit.required("sum_seconds", self.sum_seconds);
    }
};

/// Stored takes and audio. `budget_bytes` 0 is none; `problem` says why nothing can be stored.
struct StoreStatus {
    std::int64_t num_takes = 0;
    std::int64_t num_bytes = 0;
    std::int64_t budget_bytes = 0;
    std::string problem;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("num_takes", self.num_takes);
        visit.required("num_bytes", self.num_bytes);
        visit.required("budget_bytes", self.budget_bytes);
        visit.optional("problem", self.problem);
    }
};

/// The daemon at this moment; `jobs` are in the order in which they run, `ended` the latest first.
struct StatusReply {
    std::int64_t pid = 0;
    double uptime_seconds = 0.0;
    std::int64_t num_finished = 0;
    std::int64_t num_failed = 0;
    std::int64_t num_cancelled = 0;
    EngineStatus engine;
    std::vector<JobStatus> jobs;
    std::int64_t num_bytes = 0;
    StoreStatus store;
    std::vector<StageTimes> stages;
    std::vector<JobEnd> ended;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("pid", self.pid);
        visit.required("uptime_seconds", self.uptime_seconds);
        visit.required("num_finished", self.num_finished);
        visit.required("num_failed", self.num_failed);
        visit.required("num_cancelled", self.num_cancelled);
        visit.required("engine", self.engine);
        visit.required("jobs", self.jobs);
        visit.required("num_bytes", self.num_bytes);
        visit.required("store", self.store);
        visit.required("stages", self.stages);
        visit.required("ended", self.ended);
    }
};

}  // namespace sa3
