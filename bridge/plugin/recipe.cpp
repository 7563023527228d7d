// The ranges of the recipe's values. Knows no window, no host and no daemon.
#include "recipe.h"

#include <algorithm>
#include <limits>

namespace sa3::plugin {

Recipe cleaned(Recipe recipe) {
    constexpr std::size_t kMaxAdapters = 16;
    recipe.seed = std::clamp<std::int64_t>(recipe.seed, 0, std::numeric_limits<std::int64_t>::max());
    recipe.range_mode = std::clamp<std::int64_t>(recipe.range_mode, 0, 3);
    recipe.num_bars = std::clamp(recipe.num_bars, 0.25, 512.0);
    recipe.seconds = std::clamp(recipe.seconds, 0.1, 380.0);
    recipe.continue_bars = std::clamp(recipe.continue_bars, 0.25, 128.0);
    recipe.steps = std::clamp<std::int64_t>(recipe.steps, 0, 200);
    recipe.num_variations = std::clamp<std::int64_t>(recipe.num_variations, 1, 8);
    recipe.init_level = std::clamp(recipe.init_level, 0.01, 0.99);
    if (recipe.headroom_seconds) recipe.headroom_seconds = std::clamp(*recipe.headroom_seconds, 0.0, 60.0);
    if (recipe.adapters.size() > kMaxAdapters) recipe.adapters.resize(kMaxAdapters);
    for (auto& adapter : recipe.adapters) adapter.strength = std::clamp(adapter.strength, -10.0, 10.0);
    return recipe;
}

}  // namespace sa3::plugin
