// Mathematics that CUDA and the C library share, under its names.
#pragma once

#include "vectors.h"

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VAL __builtin_huge_val()
#define HUGE_VALF __builtin_huge_valf()
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_INF __builtin_inf()
#define CUDART_NAN __builtin_nan("")
#define CUDART_PI_F 3.141592654f
#define CUDART_PI 3.1415926535897931
#define CUDART_MAX_NORMAL_F 3.402823466e38f
#define CUDART_MIN_DENORM_F 1.401298464e-45f
#define CUDART_SQRT_TWO_F 1.414213562f
#define CUDART_L2E_F 1.442695041f
#define CUDART_LN2_F 0.693147181f
#define FLT_MAX 3.402823466e38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-7f
#define DBL_MAX 1.7976931348623157e308
#define DBL_MIN 2.2250738585072014e-308
#define DBL_EPSILON 2.2204460492503131e-16
#ifndef INT_MAX
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LLONG_MAX 9223372036854775807ll
#define LLONG_MIN (-9223372036854775807ll - 1)
#define ULLONG_MAX 18446744073709551615ull
#endif
#ifndef M_PI
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_PI_4 0.78539816339744830962
#define M_1_PI 0.31830988618379067154
#define M_2_PI 0.63661977236758134308
#define M_2_SQRTPI 1.12837916709551257390
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
#define M_E 2.7182818284590452354
#define M_LN2 0.69314718055994530942
#define M_LN10 2.30258509299404568402
#define M_LOG2E 1.4426950408889634074
#define M_LOG10E 0.43429448190325182765
#endif

// Two numbers of different types meet in double, but a float and an integer in float; two integers in double.
template <class T>
struct derive_number { static constexpr int rank = 0; };
#define DERIVE_NUMBER(T, RANK) \
  template <>                  \
  struct derive_number<T> { static constexpr int rank = RANK; };
DERIVE_NUMBER(bool, 1)
DERIVE_NUMBER(char, 1)
DERIVE_NUMBER(signed char, 1)
DERIVE_NUMBER(unsigned char, 1)
DERIVE_NUMBER(short, 1)
DERIVE_NUMBER(unsigned short, 1)
DERIVE_NUMBER(int, 1)
DERIVE_NUMBER(unsigned, 1)
DERIVE_NUMBER(long, 1)
DERIVE_NUMBER(unsigned long, 1)
DERIVE_NUMBER(long long, 1)
DERIVE_NUMBER(unsigned long long, 1)
DERIVE_NUMBER(float, 2)
DERIVE_NUMBER(double, 3)
#undef DERIVE_NUMBER
template <int A, int B>
struct derive_meeting { typedef double type; };
template <int A>
struct derive_meeting<A, 0> {};
template <int B>
struct derive_meeting<0, B> {};
template <>
struct derive_meeting<0, 0> {};
template <>
struct derive_meeting<1, 2> { typedef float type; };
template <>
struct derive_meeting<2, 1> { typedef float type; };
#define DERIVE_MIXED(F)                                                                                          \
  template <class A, class B, class R = typename derive_meeting<derive_number<A>::rank, derive_number<B>::rank>::type> \
  inline R F(A x, B y) {                                                                                         \
    return F(static_cast<R>(x), static_cast<R>(y));                                                              \
  }

// f(float) and f(double), and ff(float) as in C.
#define DERIVE_UNARY(F)                    \
  extern "C" double F(double) noexcept;    \
  extern "C" float F##f(float) noexcept;   \
  inline float F(float x) { return F##f(x); }
#define DERIVE_BINARY(F)                                 \
  extern "C" double F(double, double) noexcept;          \
  extern "C" float F##f(float, float) noexcept;          \
  inline float F(float x, float y) { return F##f(x, y); } \
  DERIVE_MIXED(F)
DERIVE_UNARY(acos)
DERIVE_UNARY(acosh)
DERIVE_UNARY(asin)
DERIVE_UNARY(asinh)
DERIVE_UNARY(atan)
DERIVE_UNARY(atanh)
DERIVE_UNARY(cbrt)
DERIVE_UNARY(ceil)
DERIVE_UNARY(cos)
DERIVE_UNARY(cosh)
DERIVE_UNARY(erf)
DERIVE_UNARY(erfc)
DERIVE_UNARY(exp)
DERIVE_UNARY(exp2)
DERIVE_UNARY(expm1)
DERIVE_UNARY(fabs)
DERIVE_UNARY(floor)
DERIVE_UNARY(lgamma)
DERIVE_UNARY(log)
DERIVE_UNARY(log10)
DERIVE_UNARY(log1p)
DERIVE_UNARY(log2)
DERIVE_UNARY(logb)
DERIVE_UNARY(nearbyint)
DERIVE_UNARY(rint)
DERIVE_UNARY(round)
DERIVE_UNARY(sin)
DERIVE_UNARY(sinh)
DERIVE_UNARY(sqrt)
DERIVE_UNARY(tan)
DERIVE_UNARY(tanh)
DERIVE_UNARY(tgamma)
DERIVE_UNARY(trunc)
DERIVE_BINARY(atan2)
DERIVE_BINARY(copysign)
DERIVE_BINARY(fdim)
DERIVE_BINARY(fmod)
DERIVE_BINARY(hypot)
DERIVE_BINARY(nextafter)
DERIVE_BINARY(pow)
DERIVE_BINARY(remainder)
#undef DERIVE_UNARY
#undef DERIVE_BINARY

// Of a NaN and a number, the number. Inline, since the library's are calls.
#define DERIVE_EXTREMUM(F, OP)                                                                       \
  extern "C" inline float F##f(float x, float y) noexcept { return x OP y || y != y ? x : y; }       \
  extern "C" inline double F(double x, double y) noexcept { return x OP y || y != y ? x : y; }       \
  inline float F(float x, float y) { return F##f(x, y); }                                            \
  DERIVE_MIXED(F)
DERIVE_EXTREMUM(fmax, >=)
DERIVE_EXTREMUM(fmin, <=)
#undef DERIVE_EXTREMUM
#undef DERIVE_MIXED

// An integer argument means the double function, as in C++.
#define DERIVE_OF_INTEGER(F) \
  inline double F(int x) { return F(static_cast<double>(x)); }
DERIVE_OF_INTEGER(exp)
DERIVE_OF_INTEGER(log)
DERIVE_OF_INTEGER(log2)
DERIVE_OF_INTEGER(sqrt)
DERIVE_OF_INTEGER(ceil)
DERIVE_OF_INTEGER(floor)
DERIVE_OF_INTEGER(sin)
DERIVE_OF_INTEGER(cos)
#undef DERIVE_OF_INTEGER
inline float pow(float x, int n) { return powf(x, static_cast<float>(n)); }
inline double pow(double x, int n) { return pow(x, static_cast<double>(n)); }

extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }

#define DERIVE_WITH_INT(F)                           \
  extern "C" double F(double, int) noexcept;         \
  extern "C" float F##f(float, int) noexcept;        \
  inline float F(float x, int n) { return F##f(x, n); }
DERIVE_WITH_INT(ldexp)
DERIVE_WITH_INT(scalbn)
#undef DERIVE_WITH_INT
inline double scalbln(double x, long n) { return ldexp(x, n > 1 << 20 ? 1 << 20 : n < -(1 << 20) ? -(1 << 20) : n); }
inline float scalblnf(float x, long n) { return static_cast<float>(scalbln(static_cast<double>(x), n)); }
inline float scalbln(float x, long n) { return scalblnf(x, n); }

// A second result is stored here and not in the library: check mode sees it so.
#define DERIVE_TWO_RESULTS(F, T, PARAMETERS, SECOND, ...)                            \
  extern "C" T derive_##F PARAMETERS noexcept __asm__(#F);                           \
  inline T F PARAMETERS {                                                            \
    SECOND kept;                                                                     \
    T first = derive_##F(__VA_ARGS__, &kept);                                        \
    *second = kept;                                                                  \
    return first;                                                                    \
  }
DERIVE_TWO_RESULTS(frexp, double, (double x, int* second), int, x)
DERIVE_TWO_RESULTS(frexpf, float, (float x, int* second), int, x)
DERIVE_TWO_RESULTS(modf, double, (double x, double* second), double, x)
DERIVE_TWO_RESULTS(modff, float, (float x, float* second), float, x)
DERIVE_TWO_RESULTS(remquo, double, (double x, double y, int* second), int, x, y)
DERIVE_TWO_RESULTS(remquof, float, (float x, float y, int* second), int, x, y)
#undef DERIVE_TWO_RESULTS
inline float frexp(float x, int* e) { return frexpf(x, e); }
inline float modf(float x, float* whole) { return modff(x, whole); }
inline float remquo(float x, float y, int* quotient) { return remquof(x, y, quotient); }
#define DERIVE_TO_INTEGER(T, F)                \
  extern "C" T F(double) noexcept;             \
  extern "C" T F##f(float) noexcept;           \
  inline T F(float x) { return F##f(x); }
DERIVE_TO_INTEGER(int, ilogb)
DERIVE_TO_INTEGER(long, lround)
DERIVE_TO_INTEGER(long, lrint)
DERIVE_TO_INTEGER(long long, llround)
DERIVE_TO_INTEGER(long long, llrint)
#undef DERIVE_TO_INTEGER

inline void sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline void sincos(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }
inline void sincos(float x, float* s, float* c) { sincosf(x, s, c); }

#define DERIVE_CLASSIFY(F)                                              \
  inline bool F(float x) { return __builtin_##F(x); }                   \
  inline bool F(double x) { return __builtin_##F(x); }                  \
  DERIVE_CLASSIFY_AS(F, F)
#define DERIVE_CLASSIFY_AS(NAME, F)                                     \
  inline int __##NAME##f(float x) { return __builtin_##F(x) != 0; }     \
  inline int __##NAME(double x) { return __builtin_##F(x) != 0; }
DERIVE_CLASSIFY(isnan)
DERIVE_CLASSIFY(isinf)
DERIVE_CLASSIFY(isfinite)
DERIVE_CLASSIFY(signbit)
DERIVE_CLASSIFY_AS(finite, isfinite)
#undef DERIVE_CLASSIFY
#undef DERIVE_CLASSIFY_AS
inline double nan(const char*) { return __builtin_nan(""); }
inline float nanf(const char*) { return __builtin_nanf(""); }

#define DERIVE_ABS(T) \
  inline T abs(T x) { return x < 0 ? -x : x; }
DERIVE_ABS(int)
DERIVE_ABS(long)
DERIVE_ABS(long long)
#undef DERIVE_ABS
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline long labs(long x) { return x < 0 ? -x : x; }
inline long long llabs(long long x) { return x < 0 ? -x : x; }

#define DERIVE_EXTREMA(R, A, B)                                                                  \
  inline R min(A a, B b) { return static_cast<R>(b) < static_cast<R>(a) ? static_cast<R>(b) : static_cast<R>(a); } \
  inline R max(A a, B b) { return static_cast<R>(a) < static_cast<R>(b) ? static_cast<R>(b) : static_cast<R>(a); }
DERIVE_EXTREMA(int, int, int)
DERIVE_EXTREMA(unsigned, unsigned, unsigned)
DERIVE_EXTREMA(unsigned, int, unsigned)
DERIVE_EXTREMA(unsigned, unsigned, int)
DERIVE_EXTREMA(long, long, long)
DERIVE_EXTREMA(unsigned long, unsigned long, unsigned long)
DERIVE_EXTREMA(unsigned long, long, unsigned long)
DERIVE_EXTREMA(unsigned long, unsigned long, long)
DERIVE_EXTREMA(long long, long long, long long)
DERIVE_EXTREMA(unsigned long long, unsigned long long, unsigned long long)
DERIVE_EXTREMA(unsigned long long, long long, unsigned long long)
DERIVE_EXTREMA(unsigned long long, unsigned long long, long long)
#undef DERIVE_EXTREMA
// Of a NaN and a number, the number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(static_cast<double>(a), b); }
inline double max(float a, double b) { return fmax(static_cast<double>(a), b); }
inline double min(double a, float b) { return fmin(a, static_cast<double>(b)); }
inline double max(double a, float b) { return fmax(a, static_cast<double>(b)); }
inline unsigned umin(unsigned a, unsigned b) { return min(a, b); }
inline unsigned umax(unsigned a, unsigned b) { return max(a, b); }
inline long long llmin(long long a, long long b) { return min(a, b); }
inline long long llmax(long long a, long long b) { return max(a, b); }
inline unsigned long long ullmin(unsigned long long a, unsigned long long b) { return min(a, b); }
inline unsigned long long ullmax(unsigned long long a, unsigned long long b) { return max(a, b); }
