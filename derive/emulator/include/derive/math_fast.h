// Fast intrinsics (here as exact as the ordinary functions), and arithmetic with a named rounding.
#pragma once

#include "math.h"

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline float __tanhf(float x) { return tanhf(x); }
inline void __sincosf(float x, float* s, float* c) { sincosf(x, s, c); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// Keeps a product or sum from being contracted into a fused multiply-add, which these names forbid.
inline __attribute__((always_inline)) float derive_rounded(float x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#else
  asm("" : "+m"(x));
#endif
  return x;
}
inline __attribute__((always_inline)) double derive_rounded(double x) {
#if defined(__x86_64__)
  asm("" : "+x"(x));
#elif defined(__aarch64__)
  asm("" : "+w"(x));
#else
  asm("" : "+m"(x));
#endif
  return x;
}

#define DERIVE_ROUNDED(NAME, T, EXPRESSION)                                    \
  inline T __##NAME##_rn(T a, T b) { return derive_rounded(EXPRESSION); }      \
  inline T __##NAME##_rz(T a, T b) { return derive_rounded(EXPRESSION); }      \
  inline T __##NAME##_ru(T a, T b) { return derive_rounded(EXPRESSION); }      \
  inline T __##NAME##_rd(T a, T b) { return derive_rounded(EXPRESSION); }
DERIVE_ROUNDED(fadd, float, a + b)
DERIVE_ROUNDED(fsub, float, a - b)
DERIVE_ROUNDED(fmul, float, a * b)
DERIVE_ROUNDED(fdiv, float, a / b)
DERIVE_ROUNDED(dadd, double, a + b)
DERIVE_ROUNDED(dsub, double, a - b)
DERIVE_ROUNDED(dmul, double, a * b)
DERIVE_ROUNDED(ddiv, double, a / b)
#undef DERIVE_ROUNDED
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frcp_rz(float x) { return 1.0f / x; }
inline double __drcp_rn(double x) { return 1.0 / x; }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
