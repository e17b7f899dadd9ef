// Arithmetic and conversions whose names say how they round: all modes are exact, by those of the processor.
#pragma once

#include "bits.h"
#include "math.h"

// A register of the kind that floating-point arithmetic uses.
#if defined(__x86_64__)
#define DERIVE_FLOAT_REGISTER "+x"
#elif defined(__aarch64__)
#define DERIVE_FLOAT_REGISTER "+w"
#else
#define DERIVE_FLOAT_REGISTER "+m"
#endif

// Keeps a product or sum from being contracted into a fused multiply-add, which these names forbid.
inline __attribute__((always_inline)) float derive_rounded(float x) {
  asm("" : DERIVE_FLOAT_REGISTER(x));
  return x;
}
inline __attribute__((always_inline)) double derive_rounded(double x) {
  asm("" : DERIVE_FLOAT_REGISTER(x));
  return x;
}
#undef DERIVE_FLOAT_REGISTER

// The C library's names are a kernel's to use.
extern "C" int derive_set_rounding(int mode) noexcept __asm__("fesetround");
#if defined(__x86_64__)
#define DERIVE_ROUNDING_MODES DERIVE_ROUND_DOWN = 0x400, DERIVE_ROUND_UP = 0x800, DERIVE_ROUND_ZERO = 0xc00
#else
#define DERIVE_ROUNDING_MODES DERIVE_ROUND_UP = 1 << 22, DERIVE_ROUND_DOWN = 2 << 22, DERIVE_ROUND_ZERO = 3 << 22
#endif
enum derive_rounding_mode { DERIVE_ROUND_NEAREST = 0, DERIVE_ROUNDING_MODES };
#undef DERIVE_ROUNDING_MODES

// Volatile statements stay in order: what is computed from one and goes into the next is computed between them.
template <class T>
inline __attribute__((always_inline)) void derive_pin(T& x) {
  asm volatile("" : "+m"(x) : : "memory");
}
template <derive_rounding_mode Mode, class F, class... A>
DERIVE_UNSEEN __attribute__((noinline)) auto derive_in_mode(F f, A... args) {
  derive_set_rounding(Mode);
  (derive_pin(args), ...);
  auto result = f(args...);
  derive_pin(result);
  derive_set_rounding(DERIVE_ROUND_NEAREST);
  return result;
}

// NAME_rn, NAME_rz, NAME_ru and NAME_rd.
#define DERIVE_ROUNDINGS(NAME, T, PARAMETERS, ARGUMENTS, EXPRESSION)                                            \
  inline T NAME##_rn PARAMETERS { return derive_rounded(EXPRESSION); }                                          \
  DERIVE_ROUNDING(NAME##_rz, DERIVE_ROUND_ZERO, T, PARAMETERS, ARGUMENTS, EXPRESSION)                              \
  DERIVE_ROUNDING(NAME##_ru, DERIVE_ROUND_UP, T, PARAMETERS, ARGUMENTS, EXPRESSION)                                   \
  DERIVE_ROUNDING(NAME##_rd, DERIVE_ROUND_DOWN, T, PARAMETERS, ARGUMENTS, EXPRESSION)
#define DERIVE_ROUNDING(NAME, MODE, T, PARAMETERS, ARGUMENTS, EXPRESSION)                                       \
  DERIVE_ON_USE T NAME PARAMETERS {                                                                             \
    return derive_in_mode<MODE>([] PARAMETERS { return static_cast<T>(EXPRESSION); }, DERIVE_LIST ARGUMENTS);   \
  }
#define DERIVE_LIST(...) __VA_ARGS__
#define DERIVE_ROUNDED_BINARY(NAME, T, OP) DERIVE_ROUNDINGS(NAME, T, (T a, T b), (a, b), a OP b)
DERIVE_ROUNDED_BINARY(__fadd, float, +)
DERIVE_ROUNDED_BINARY(__fsub, float, -)
DERIVE_ROUNDED_BINARY(__fmul, float, *)
DERIVE_ROUNDED_BINARY(__fdiv, float, /)
DERIVE_ROUNDED_BINARY(__dadd, double, +)
DERIVE_ROUNDED_BINARY(__dsub, double, -)
DERIVE_ROUNDED_BINARY(__dmul, double, *)
DERIVE_ROUNDED_BINARY(__ddiv, double, /)
DERIVE_ROUNDINGS(__fmaf, float, (float a, float b, float c), (a, b, c), __builtin_fmaf(a, b, c))
DERIVE_ROUNDINGS(__fmaf_ieee, float, (float a, float b, float c), (a, b, c), __builtin_fmaf(a, b, c))
DERIVE_ROUNDINGS(__fma, double, (double a, double b, double c), (a, b, c), __builtin_fma(a, b, c))
DERIVE_ROUNDINGS(__frcp, float, (float a), (a), 1.0f / a)
DERIVE_ROUNDINGS(__drcp, double, (double a), (a), 1.0 / a)
DERIVE_ROUNDINGS(__fsqrt, float, (float a), (a), __builtin_sqrtf(a))
DERIVE_ROUNDINGS(__dsqrt, double, (double a), (a), __builtin_sqrt(a))
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(x))); }

#define DERIVE_ROUNDED_CONVERSION(NAME, FROM, TO) DERIVE_ROUNDINGS(NAME, TO, (FROM v), (v), static_cast<TO>(v))
DERIVE_ROUNDED_CONVERSION(__double2float, double, float)
DERIVE_ROUNDED_CONVERSION(__int2float, int, float)
DERIVE_ROUNDED_CONVERSION(__uint2float, unsigned, float)
DERIVE_ROUNDED_CONVERSION(__ll2float, long long, float)
DERIVE_ROUNDED_CONVERSION(__ull2float, unsigned long long, float)
DERIVE_ROUNDED_CONVERSION(__ll2double, long long, double)
DERIVE_ROUNDED_CONVERSION(__ull2double, unsigned long long, double)
inline double __int2double_rn(int v) { return v; }
inline double __uint2double_rn(unsigned v) { return v; }
#undef DERIVE_ROUNDINGS
#undef DERIVE_ROUNDING
#undef DERIVE_LIST
#undef DERIVE_ROUNDED_BINARY
#undef DERIVE_ROUNDED_CONVERSION
