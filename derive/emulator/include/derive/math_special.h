// Mathematics that CUDA has beyond the C library. Double is good to a few units in the last place (what is not says
// so); float is computed in double and rounded once.
#pragma once

#include "math.h"

// F(float) and Ff(float), from F(double).
#define DERIVE_FLOAT_OF(F)                                                              \
  inline float F##f(float x) { return static_cast<float>(F(static_cast<double>(x))); }  \
  inline float F(float x) { return F##f(x); }

inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
DERIVE_FLOAT_OF(rcbrt)
inline float exp10f(float x) { return powf(10.0f, x); }
inline double exp10(double x) { return pow(10.0, x); }
inline float exp10(float x) { return exp10f(x); }

// sin(pi x) and cos(pi x), exact at multiples of one half.
inline double sinpi(double x) {
  double r = remainder(x, 2.0);
  if (r > 0.5) r = 1.0 - r;
  if (r < -0.5) r = -1.0 - r;
  return sin(r * M_PI);
}
inline double cospi(double x) {
  double r = fabs(remainder(x, 2.0));
  return r <= 0.25 ? cos(r * M_PI) : sin((0.5 - r) * M_PI);
}
DERIVE_FLOAT_OF(sinpi)
DERIVE_FLOAT_OF(cospi)
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
inline void sincospi(float x, float* s, float* c) { sincospif(x, s, c); }

// exp(x^2) erfc(x); beyond 25 the asymptotic series, whose terms are below 1e-16 from the seventh on.
inline double erfcx(double x) {
  if (x < 25.0) {
    double square = x * x, lost = fma(x, x, -square);
    double power = exp(square);
    return (isinf(power) ? power : power + power * lost) * erfc(x);
  }
  double step = -0.5 / (x * x), term = 1.0, sum = 1.0;
  for (int k = 1; k <= 7; ++k) sum += term *= (2 * k - 1) * step;
  return 0.5 * M_2_SQRTPI / x * sum;
}
DERIVE_FLOAT_OF(erfcx)

inline double erfinv(double y);
// Winitzki's approximation is a start; Newton on log(erfc), near 1 on erf, doubles its three digits at each step.
inline double derive_inverse_start(double log_of_product) {
  double t = 2.0 / (M_PI * 0.147) + 0.5 * log_of_product;
  return sqrt(sqrt(t * t - log_of_product / 0.147) - t);
}
inline double erfcinv(double y) {
  if (!(y > 0.0 && y < 2.0)) return y == 0.0 ? __builtin_inf() : y == 2.0 ? -__builtin_inf() : __builtin_nan("");
  if (y > 1.5) return -erfcinv(2.0 - y);
  if (y >= 0.5) return erfinv(1.0 - y);
  double goal = log(y), x = derive_inverse_start(goal + log(2.0 - y));
  for (int i = 0; i < 4; ++i) {
    double scaled = erfcx(x);
    x += (log(scaled) - x * x - goal) * scaled / M_2_SQRTPI;
  }
  return x;
}
inline double erfinv(double y) {
  double size = fabs(y);
  if (size > 0.5 || y != y) return copysign(erfcinv(1.0 - size), y);
  if (size < 1e-9) return y / M_2_SQRTPI;
  double x = copysign(derive_inverse_start(log1p(-size * size)), y);
  for (int i = 0; i < 4; ++i) x -= (erf(x) - y) / (M_2_SQRTPI * exp(-x * x));
  return x;
}
DERIVE_FLOAT_OF(erfcinv)
DERIVE_FLOAT_OF(erfinv)

// erfc(-x / sqrt(2)) / 2, and what the rounding of its argument changes in it.
inline double normcdf(double x) {
  double at = -x * M_SQRT1_2, lost = fma(-x, M_SQRT1_2, -at) + x * 4.833646656726457e-17;
  double change = isfinite(at) ? lost * M_2_SQRTPI * exp(-at * at) : 0.0;
  return 0.5 * (erfc(at) - change);
}
inline double normcdfinv(double y) { return -M_SQRT2 * erfcinv(2.0 * y); }
DERIVE_FLOAT_OF(normcdf)
DERIVE_FLOAT_OF(normcdfinv)

// Bessel functions of the first and second kind, by the C library: some 1e-15 absolutely. No negative order or,
// for the second kind, argument.
extern "C" double derive_j(int, double) noexcept __asm__("jn");
extern "C" double derive_y(int, double) noexcept __asm__("yn");
inline double jn(int n, double x) { return n < 0 ? __builtin_nan("") : derive_j(n, x); }
inline double yn(int n, double x) { return n < 0 || x < 0.0 ? __builtin_nan("") : derive_y(n, x); }
inline double j0(double x) { return jn(0, x); }
inline double j1(double x) { return jn(1, x); }
inline double y0(double x) { return yn(0, x); }
inline double y1(double x) { return yn(1, x); }
inline float jnf(int n, float x) { return static_cast<float>(jn(n, static_cast<double>(x))); }
inline float ynf(int n, float x) { return static_cast<float>(yn(n, static_cast<double>(x))); }
inline float jn(int n, float x) { return jnf(n, x); }
inline float yn(int n, float x) { return ynf(n, x); }
DERIVE_FLOAT_OF(j0)
DERIVE_FLOAT_OF(j1)
DERIVE_FLOAT_OF(y0)
DERIVE_FLOAT_OF(y1)

// Modified Bessel functions of order 0 and 1: the power series, whose terms are all positive; beyond 30 Hankel's
// expansion (Abramowitz and Stegun 9.7.1), whose smallest term is below 1e-26 there.
inline double derive_bessel_i(int order, double x) {
  double size = fabs(x), term = 1.0, sum = 1.0;
  if (isinf(size) || x != x) return order == 0 ? size : x;
  bool near = size <= 30.0;
  for (int k = 1; fabs(term) > 1e-18 * sum; ++k) {
    double odd = 2 * k - 1;
    term *= near ? 0.25 * size * size / (k * (k + order)) : (odd * odd - 4 * order) / (8 * k * size);
    sum += term;
  }
  double half = exp(0.5 * size);  // its square may exceed what a double holds where the result does not
  double value = near ? (order == 0 ? sum : 0.5 * size * sum) : half * (half / sqrt(2.0 * M_PI * size) * sum);
  return order == 1 ? copysign(value, x) : value;
}
inline double cyl_bessel_i0(double x) { return derive_bessel_i(0, x); }
inline double cyl_bessel_i1(double x) { return derive_bessel_i(1, x); }
DERIVE_FLOAT_OF(cyl_bessel_i0)
DERIVE_FLOAT_OF(cyl_bessel_i1)
#undef DERIVE_FLOAT_OF

// Euclidean lengths, of two to four numbers and of an array, and their reciprocals; no square on the way is too large.
inline double norm3d(double a, double b, double c) { return hypot(hypot(a, b), c); }
inline double norm4d(double a, double b, double c, double d) { return hypot(hypot(a, b), hypot(c, d)); }
inline double rhypot(double a, double b) { return 1.0 / hypot(a, b); }
inline double rnorm3d(double a, double b, double c) { return 1.0 / norm3d(a, b, c); }
inline double rnorm4d(double a, double b, double c, double d) { return 1.0 / norm4d(a, b, c, d); }
#define DERIVE_NORM(NAME, PARAMETERS, ARGUMENTS) \
  inline float NAME##f PARAMETERS { return static_cast<float>(NAME ARGUMENTS); }
#define DERIVE_WIDE(x) static_cast<double>(x)
DERIVE_NORM(norm3d, (float a, float b, float c), (DERIVE_WIDE(a), DERIVE_WIDE(b), DERIVE_WIDE(c)))
DERIVE_NORM(rnorm3d, (float a, float b, float c), (DERIVE_WIDE(a), DERIVE_WIDE(b), DERIVE_WIDE(c)))
DERIVE_NORM(norm4d, (float a, float b, float c, float d),
            (DERIVE_WIDE(a), DERIVE_WIDE(b), DERIVE_WIDE(c), DERIVE_WIDE(d)))
DERIVE_NORM(rnorm4d, (float a, float b, float c, float d),
            (DERIVE_WIDE(a), DERIVE_WIDE(b), DERIVE_WIDE(c), DERIVE_WIDE(d)))
DERIVE_NORM(rhypot, (float a, float b), (DERIVE_WIDE(a), DERIVE_WIDE(b)))
inline float rhypot(float a, float b) { return rhypotf(a, b); }
#undef DERIVE_NORM
#undef DERIVE_WIDE
template <class T>
inline double derive_norm(int count, const T* of) {
  double length = 0.0;
  for (int i = 0; i < count; ++i) length = hypot(length, static_cast<double>(of[i]));
  return length;
}
inline double norm(int count, const double* of) { return derive_norm(count, of); }
inline double rnorm(int count, const double* of) { return 1.0 / derive_norm(count, of); }
inline float normf(int count, const float* of) { return static_cast<float>(derive_norm(count, of)); }
inline float rnormf(int count, const float* of) { return static_cast<float>(1.0 / derive_norm(count, of)); }
