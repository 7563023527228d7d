// malloc, free and mutexes of this program, watched. Knows no audio.
#include "calm_guard.h"

#include <dlfcn.h>
#include <pthread.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SA3_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(realtime_sanitizer)
#define SA3_SANITIZED 1
#endif
#endif

namespace {
thread_local bool is_guarded = false;
thread_local std::int64_t num_caught = 0;
}  // namespace

#ifndef SA3_SANITIZED

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t num_bytes) {
    if (is_guarded) ++num_caught;
    return __libc_malloc(num_bytes);
}
void* calloc(std::size_t count, std::size_t num_bytes) {
    if (is_guarded) ++num_caught;
    return __libc_calloc(count, num_bytes);
}
void* realloc(void* memory, std::size_t num_bytes) {
    if (is_guarded) ++num_caught;
    return __libc_realloc(memory, num_bytes);
}
void free(void* memory) {
    if (is_guarded && memory) ++num_caught;
    __libc_free(memory);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) {
    using Lock = int (*)(pthread_mutex_t*);
    static const auto lock = reinterpret_cast<Lock>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
    if (is_guarded) ++num_caught;
    return lock(mutex);
}
}

bool CalmGuard::is_active() { return true; }
#else
bool CalmGuard::is_active() { return false; }
#endif

CalmGuard::CalmGuard() {
    num_caught = 0;
    is_guarded = true;
}
CalmGuard::~CalmGuard() { is_guarded = false; }
std::int64_t CalmGuard::num_violations() const { return num_caught; }
