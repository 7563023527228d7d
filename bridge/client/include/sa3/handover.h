// Gives objects from the message thread to the audio thread and back to be freed. Knows nothing of what it carries.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "sa3/nonblocking.h"
#include "sa3/ring_buffer.h"

namespace sa3 {

/// The message thread owns every object from give() until the audio thread has retired it and collect() was called.
template <class Object>
class Handover {
public:
    Handover() : retired_(kMaxRetired) {}

    /// Hand over an object; one that was not picked up yet is freed instead of it. [message-thread]
    Object* give(std::unique_ptr<Object> object) {
        collect();
        auto* given = object.get();
        owned_.push_back(std::move(object));
        if (auto* passed_over = mailbox_.exchange(given, std::memory_order_acq_rel)) free(passed_over);
        return given;
    }

    /// The object given since the last call, or null. Not more are given out than could be retired. [audio-thread]
    Object* pick_up() SA3_NONBLOCKING {
        if (retired_.num_ready() == retired_.capacity()) return nullptr;
        return mailbox_.exchange(nullptr, std::memory_order_acq_rel);
    }

    /// Let go of an object that was picked up. [audio-thread]
    void retire(Object* object) SA3_NONBLOCKING {
        if (object) retired_.push(object);
    }

    /// Free what was retired. [message-thread]
    void collect() {
        Object* object = nullptr;
        while (retired_.pop(object)) free(object);
    }

private:
    static constexpr std::size_t kMaxRetired = 16;

    void free(Object* object) {
        for (auto& owned : owned_)
            if (owned.get() == object) {
                std::swap(owned, owned_.back());
                owned_.pop_back();
                return;
            }
    }

    std::vector<std::unique_ptr<Object>> owned_;
    std::atomic<Object*> mailbox_{nullptr};
    RingBuffer<Object*> retired_;
};

}  // namespace sa3
