// A queue between exactly two threads that never waits and never allocates. Knows nothing of what it carries.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "sa3/nonblocking.h"

namespace sa3 {

/// Single producer, single consumer. The capacity is fixed at construction; a full ring takes nothing, an empty one
/// gives nothing, and both sides are told.
template <class Item>
class RingBuffer {
    static_assert(std::is_trivially_copyable_v<Item>);

public:
    /// [main-thread] Allocates here and never again.
    explicit RingBuffer(std::size_t capacity) : items_(capacity + 1) {}

    /// Append up to `num_items`; returns how many fitted. [producer thread]
    std::size_t push(const Item* items, std::size_t num_items) SA3_NONBLOCKING {
        const auto end = end_.load(std::memory_order_relaxed);
        const auto begin = begin_.load(std::memory_order_acquire);
        const auto num_free = (begin + items_.size() - end - 1) % items_.size();
        const auto num_taken = num_items < num_free ? num_items : num_free;
        auto at = end;
        for (std::size_t i = 0; i < num_taken; ++i) {
            items_[at] = items[i];
            at = at + 1 == items_.size() ? 0 : at + 1;
        }
        end_.store(at, std::memory_order_release);
        return num_taken;
    }
    bool push(const Item& item) SA3_NONBLOCKING { return push(&item, 1) == 1; }

    /// Take up to `num_items`; returns how many there were. [consumer thread]
    std::size_t pop(Item* items, std::size_t num_items) SA3_NONBLOCKING {
        const auto begin = begin_.load(std::memory_order_relaxed);
        const auto end = end_.load(std::memory_order_acquire);
        const auto num_ready = (end + items_.size() - begin) % items_.size();
        const auto num_given = num_items < num_ready ? num_items : num_ready;
        auto at = begin;
        for (std::size_t i = 0; i < num_given; ++i) {
            items[i] = items_[at];
            at = at + 1 == items_.size() ? 0 : at + 1;
        }
        begin_.store(at, std::memory_order_release);
        return num_given;
    }
    bool pop(Item& item) SA3_NONBLOCKING { return pop(&item, 1) == 1; }

    /// How many items wait: exact for the consumer, a lower bound of the truth a moment later for others. [thread-safe]
    std::size_t num_ready() const SA3_NONBLOCKING {
        const auto begin = begin_.load(std::memory_order_acquire);
        return (end_.load(std::memory_order_acquire) + items_.size() - begin) % items_.size();
    }
    std::size_t capacity() const SA3_NONBLOCKING { return items_.size() - 1; }

private:
    std::vector<Item> items_;
    alignas(64) std::atomic<std::size_t> begin_{0};
    alignas(64) std::atomic<std::size_t> end_{0};
};

}  // namespace sa3
