// What a generation would make, from recipe and transport: place, length, tempo. Knows no daemon and no window.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipe.h"
#include "sa3/tempo_trail.h"
#include "sa3/timeline.h"
#include "sa3/transport.h"

namespace sa3::plugin {

struct Plan {
    Selection selection;
    std::int64_t sample_rate = 0;
    std::vector<TempoPoint> tempo_map;  // as the job gets it; never empty in a plan that can be made
    std::string warning;                // what the musician should know before making it; often empty
    std::string problem;                // one sentence; empty when it can be made
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

/// `anchor_ppq` is where Bars and Seconds start from. Where all of the range has been played, its tempo map is what was
/// heard there; else the host's tempo of now holds throughout, and a warning says so when another one is known of.
Plan make_plan(const Recipe& recipe, const Transport& transport, const TempoMemory& memory, double anchor_ppq,
               std::int64_t sample_rate, const CapturedPlace& captured);

/// The plan in two lines, place and length (or the warning), or its problem.
std::string describe(const Plan& plan);

}  // namespace sa3::plugin
