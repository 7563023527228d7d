// The newest value of a kind, from one thread to another without waiting. Knows nothing of what it carries.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>

#include "sa3/nonblocking.h"

namespace sa3 {

/// Three slots: one the writer fills, one the reader holds, one between them that holds the newest complete value.
/// Wait-free on both sides. One writer thread, one reader thread.
template <class Value>
class LatestValue {
    static_assert(std::is_trivially_copyable_v<Value>);

public:
    /// [writer thread]
    void write(const Value& value) SA3_NONBLOCKING {
        slots_[writing_] = value;
        writing_ = between_.exchange(writing_ | kFresh, std::memory_order_acq_rel) & kIndex;
    }

    /// The newest value written, or a default-made one. [reader thread]
    const Value& read() SA3_NONBLOCKING {
        if (between_.load(std::memory_order_relaxed) & kFresh)
            reading_ = between_.exchange(reading_, std::memory_order_acq_rel) & kIndex;
        return slots_[reading_];
    }

private:
    static constexpr std::uint32_t kIndex = 3, kFresh = 4;
    std::array<Value, 3> slots_{};
    std::uint32_t writing_ = 0, reading_ = 1;
    std::atomic<std::uint32_t> between_{2};
};

}  // namespace sa3
