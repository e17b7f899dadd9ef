// Cached loads and stores, copies, printf, assert, clocks, address spaces.
#pragma once

#include "vectors.h"

#define DERIVE_LOAD(NAME)      \
  template <class T>           \
  DERIVE_INLINE T NAME(const T* place) { return *place; }
DERIVE_LOAD(__ldg)
DERIVE_LOAD(__ldcg)
DERIVE_LOAD(__ldca)
DERIVE_LOAD(__ldcs)
DERIVE_LOAD(__ldlu)
DERIVE_LOAD(__ldcv)
#undef DERIVE_LOAD
#define DERIVE_STORE(NAME)     \
  template <class T>           \
  DERIVE_INLINE void NAME(T* place, T value) { *place = value; }
DERIVE_STORE(__stcg)
DERIVE_STORE(__stcs)
DERIVE_STORE(__stwb)
DERIVE_STORE(__stwt)
#undef DERIVE_STORE

extern "C" void* malloc(size_t) noexcept;
extern "C" void free(void*) noexcept;
[[noreturn]] inline void derive_stop() {
  derive_rt_trap(0);
  __builtin_unreachable();
}
#ifdef DERIVE_CHECK
#define DERIVE_COPY(from, to) derive_rt_copy(from, to, size, line)
#else
#define DERIVE_COPY(from, to) static_cast<void>(line)
#endif
DERIVE_UNSEEN inline void* derive_memcpy(void* to, const void* from, size_t size, DERIVE_LINE) {
  DERIVE_COPY(from, to);
  return __builtin_memcpy(to, from, size);
}
DERIVE_UNSEEN inline void* derive_memmove(void* to, const void* from, size_t size, DERIVE_LINE) {
  DERIVE_COPY(from, to);
  return __builtin_memmove(to, from, size);
}
DERIVE_UNSEEN inline void* derive_memset(void* to, int value, size_t size, DERIVE_LINE) {
  DERIVE_COPY(nullptr, to);
  return __builtin_memset(to, value, size);
}
#define memcpy derive_memcpy
#define memmove derive_memmove
#define memset derive_memset
#define printf derive_rt_printf
#define assert(...) ((__VA_ARGS__) ? static_cast<void>(0) : derive_rt_assert(#__VA_ARGS__, __LINE__))

inline void __trap(DERIVE_LINE) { derive_rt_trap(line); }
inline void __brkpt(DERIVE_LINE) { derive_rt_trap(line); }
inline void __nanosleep(unsigned, DERIVE_LINE) { derive_rt_pause(line); }
inline void __prof_trigger(int) {}
inline long long clock64() { return derive_rt_clock(); }
typedef long clock_t;
inline clock_t clock() { return static_cast<clock_t>(derive_rt_clock()); }
inline unsigned long long __globaltimer() { return static_cast<unsigned long long>(derive_rt_clock()); }
#define __builtin_assume(condition) static_cast<void>(0)
#define __assume(condition) static_cast<void>(0)
