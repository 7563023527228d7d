// The mark of functions that the audio thread may call: no allocation, no lock, no system call. Knows nothing else.
#pragma once

// With clang 20 or newer the compiler checks the mark (-Wfunction-effects) and RealtimeSanitizer checks it at run time.
#if defined(__clang__) && __clang_major__ >= 20
#define SA3_NONBLOCKING noexcept [[clang::nonblocking]]
#else
#define SA3_NONBLOCKING noexcept
#endif
