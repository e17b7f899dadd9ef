// CUDA's declaration specifiers, and the variables every thread knows.
#pragma once

#include "abi.h"

#define __host__
#define __device__
#define __global__
#define __constant__ __attribute__((used))  // the host may write what no kernel writes
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __attribute__((aligned(bytes)))

// `used` keeps the compiler from treating an array that is only read as zeros; the tag marks it in the symbol table.
#define __shared__ static __attribute__((used, abi_tag("derive_shared")))

// Emitted text declares its dynamic shared memory through this macro; `extern __shared__` is rewritten to it.
#define DYN_SHARED(T, name) T* const name = reinterpret_cast<T*>(DERIVE_DYNAMIC)

#define DERIVE_EMULATOR 1
#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 800
#endif
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define CUDART_VERSION 13000

#ifndef NULL
#define NULL __null
#endif
using size_t = decltype(sizeof 0);
using ptrdiff_t = decltype(static_cast<char*>(nullptr) - static_cast<char*>(nullptr));
typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

alignas(256) static char derive_dynamic_shared[DERIVE_DYNAMIC_CAPACITY] __asm__("derive_dynamic_shared")
    __attribute__((used));
#ifdef DERIVE_CHECK
// A compiler that knows the array knows which accesses are misaligned, and calls check mode as for bytes.
inline char* derive_dynamic() {
  char* start = derive_dynamic_shared;
  __asm__("" : "+r"(start));
  return start;
}
#define DERIVE_DYNAMIC derive_dynamic()
#else
#define DERIVE_DYNAMIC derive_dynamic_shared
#endif

constexpr int warpSize = 32;  // a variable, as in CUDA: a kernel may have a local one of this name

// Calls that check mode must not see as the kernel's own accesses.
#define DERIVE_INLINE inline __attribute__((always_inline))
// Compiled where it is called, and nowhere else: hundreds of functions cost no time then.
#define DERIVE_ON_USE template <class = void> DERIVE_INLINE
#define DERIVE_UNSEEN __attribute__((no_sanitize("thread")))
#define DERIVE_LINE int line = __builtin_LINE()
