// What the musician has asked for, as plain values. Knows no window, no host and no daemon.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sa3/job.h"

namespace sa3::plugin {

/// Where the length of what is made comes from.
enum class RangeMode : std::int64_t { kCycle, kBars, kSeconds, kCaptured };

struct Recipe {
    std::string prompt;
    std::string negative_prompt;
    std::string model = "nano";
    std::int64_t seed = 1;
    bool seed_locked = false;
    std::int64_t range_mode = static_cast<std::int64_t>(RangeMode::kCycle);
    double num_bars = 4.0;
    double seconds = 8.0;
    double continue_bars = 2.0;
    std::int64_t steps = 0;  // 0: the model's default
    std::int64_t num_variations = 1;
    double init_level = 0.6;  // restyle: how far the source is noised
    bool loop = false;
    std::optional<double> headroom_seconds;  // nullopt: the model's default
    std::vector<AdapterUse> adapters;

    RangeMode mode() const { return static_cast<RangeMode>(range_mode); }

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.optional("prompt", self.prompt);
        visit.optional("negative_prompt", self.negative_prompt);
        visit.optional("model", self.model);
        visit.optional("seed", self.seed);
        visit.optional("seed_locked", self.seed_locked);
        visit.optional("range_mode", self.range_mode);
        visit.optional("num_bars", self.num_bars);
        visit.optional("seconds", self.seconds);
        visit.optional("continue_bars", self.continue_bars);
        visit.optional("steps", self.steps);
        visit.optional("num_variations", self.num_variations);
        visit.optional("init_level", self.init_level);
        visit.optional("loop", self.loop);
        visit.optional("headroom_seconds", self.headroom_seconds);
        visit.optional("adapters", self.adapters);
    }
};

/// Bring every number into its range, whatever a state file said.
Recipe cleaned(Recipe recipe);

}  // namespace sa3::plugin
