// Catches allocation and locking on the audio path: while a CalmGuard lives, this thread may do neither. Knows no
// audio.
#pragma once

#include <cstdint>

/// Counts what its thread allocates, frees or locks while it lives. With sanitizers, which bring hooks of their own, it
/// counts nothing.
class CalmGuard {
public:
    CalmGuard();
    ~CalmGuard();
    CalmGuard(const CalmGuard&) = delete;
    CalmGuard& operator=(const CalmGuard&) = delete;

    std::int64_t num_violations() const;
    /// Whether this build can catch anything at all.
    static bool is_active();
};
