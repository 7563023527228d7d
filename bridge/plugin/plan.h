// What a generation would make, from recipe and transport: place, length, tempo. Knows no daemon and no window.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipe.h"
#include "sa3/timeline.h"
#include "sa3/transport.h"

namespace sa3::plugin {

struct Plan {
    Selection selection;
    std::int64_t sample_rate = 0;
    double bpm = 120.0;
    std::int64_t numerator = 4;
    std::int64_t denominator = 4;
    std::string problem;  // one sentence; empty when it can be made
};

/// Where captured audio lies and how long it is; `num_samples` 0: nothing was captured.
struct CapturedPlace {
    std::int64_t num_samples = 0;
    std::int64_t sample_rate = 0;
    double start_ppq = 0.0;
    double bpm = 120.0;
    std::int64_t numerator = 4;
    std::int64_t denominator = 4;
};

/// The rate a job is asked at: the host's where the daemon makes it, else 48 kHz (the player converts).
std::int64_t job_rate(double host_rate, const std::vector<std::int64_t>& rates);

/// `anchor_ppq` is where Bars and Seconds start from.
Plan make_plan(const Recipe& recipe, const Transport& transport, double anchor_ppq, std::int64_t sample_rate,
               const CapturedPlace& captured);

/// The plan in one line, or its problem.
std::string describe(const Plan& plan);

}  // namespace sa3::plugin
