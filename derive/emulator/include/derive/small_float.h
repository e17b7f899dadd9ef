// Bits of half and bfloat16: conversions with one correct rounding, from float and from double.
#pragma once

#include "bits.h"
#include "math_fast.h"
#include "rounding.h"

inline unsigned short derive_half_from_float_portable(float x) {
  unsigned bits = derive_bits<unsigned>(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size >= 0x7f800000u) return static_cast<unsigned short>(sign | (size > 0x7f800000u ? 0x7fffu : 0x7c00u));
  if (size >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);
  if (size < 0x38800000u) {  // subnormal: adding 0.5 lets the processor round at the last bit of a half
    unsigned shifted = derive_bits<unsigned>(derive_bits<float>(size) + 0.5f);
    return static_cast<unsigned short>(sign | (shifted - 0x3f000000u));
  }
  size += 0xc8000fffu + (size >> 13 & 1u);
  return static_cast<unsigned short>(sign | size >> 13);
}

inline float derive_half_to_float_portable(unsigned short half) {
  unsigned bits = (half & 0x7fffu) << 13, exponent = bits & 0x0f800000u;
  bits += 112u << 23;
  if (exponent == 0x0f800000u) {
    bits += 112u << 23;
  } else if (exponent == 0) {
    bits = derive_bits<unsigned>(derive_bits<float>(bits + (1u << 23)) - derive_bits<float>(113u << 23));
  }
  return derive_bits<float>(bits | (half & 0x8000u) << 16);
}

#if defined(__F16C__) && defined(__GNUC__) && !defined(__clang__)
typedef float derive_float_4 __attribute__((vector_size(16)));
typedef short derive_short_8 __attribute__((vector_size(16)));
inline unsigned short derive_half_from_float(float x) {
  return static_cast<unsigned short>(__builtin_ia32_vcvtps2ph(derive_float_4{x}, 0)[0]);
}
inline float derive_half_to_float(unsigned short half) {
  return __builtin_ia32_vcvtph2ps(derive_short_8{static_cast<short>(half)})[0];
}
#elif defined(__aarch64__)
inline unsigned short derive_half_from_float(float x) {
  return derive_bits<unsigned short>(static_cast<__fp16>(x));
}
inline float derive_half_to_float(unsigned short half) { return static_cast<float>(derive_bits<__fp16>(half)); }
#else
inline unsigned short derive_half_from_float(float x) { return derive_half_from_float_portable(x); }
inline float derive_half_to_float(unsigned short half) { return derive_half_to_float_portable(half); }
#endif

inline unsigned short derive_bfloat_from_float(float x) {
  unsigned bits = derive_bits<unsigned>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline float derive_bfloat_to_float(unsigned short bfloat) {
  return derive_bits<float>(static_cast<unsigned>(bfloat) << 16);
}

// Rounded to odd, so that rounding once more to a shorter format is as good as rounding once.
inline float derive_float_to_odd(double x) {
  float near = static_cast<float>(x);
  if (static_cast<double>(near) == x || x != x || near - near != 0.0f) return near;
  unsigned bits = derive_bits<unsigned>(near);
  if (__builtin_fabs(static_cast<double>(near)) > __builtin_fabs(x)) --bits;
  return derive_bits<float>(bits | 1u);
}

// The same for an integer that a double cannot hold: its last bits become one that says that there were some.
template <class T>
inline double derive_double_to_odd(T v) {
  constexpr T exact = static_cast<T>(1) << 53;
  bool is_large = v > exact || (static_cast<T>(-1) < 0 && v < -exact);
  return static_cast<double>(is_large && (v & 0xfff) ? ((v & ~static_cast<T>(0xfff)) | 0x800) : v);
}

enum derive_rounding { DERIVE_ZERO, DERIVE_LOW, DERIVE_HIGH };

// From the nearest value to the directed one; the bits of a magnitude count up with it.
inline unsigned short derive_directed(unsigned short nearest, float back, float x, derive_rounding to) {
  bool negative = nearest >> 15 & 1;
  bool above = back > x, below = back < x;
  if (to == DERIVE_ZERO && (negative ? below : above)) return static_cast<unsigned short>(nearest - 1);
  if (to == DERIVE_LOW && above) return static_cast<unsigned short>(negative ? nearest + 1 : nearest == 0 ? 0x8001 : nearest - 1);
  if (to == DERIVE_HIGH && below) return static_cast<unsigned short>(negative ? (nearest == 0x8000 ? 1 : nearest - 1) : nearest + 1);
  return nearest;
}

// Everything that half and bfloat16 have alike. Arithmetic in float and one rounding is exact for + - * /.
#define DERIVE_SMALL_FLOAT(T, T2, FROM, TO)  \
  struct T##_raw { unsigned short x; };  \
  struct alignas(2) T {  \
    unsigned short __x;  \
    typedef void derive_small;  \
    T() = default;  \
    template <class Other, class = typename Other::derive_small>  \
    DERIVE_INLINE explicit T(const Other& v) : T(static_cast<float>(v)) {}  \
    DERIVE_INLINE T(const T##_raw& raw) : __x(raw.x) {}  \
    DERIVE_INLINE operator T##_raw() const { return {__x}; }  \
    DERIVE_INLINE T(float v) : __x(FROM(v)) {}  \
    DERIVE_INLINE T(double v) : __x(FROM(derive_float_to_odd(v))) {}  \
    DERIVE_INLINE T(int v) : T(static_cast<double>(v)) {}  \
    DERIVE_INLINE T(unsigned v) : T(static_cast<double>(v)) {}  \
    DERIVE_INLINE T(long v) : T(derive_double_to_odd(v)) {}  \
    DERIVE_INLINE T(unsigned long v) : T(derive_double_to_odd(v)) {}  \
    DERIVE_INLINE T(long long v) : T(derive_double_to_odd(v)) {}  \
    DERIVE_INLINE T(unsigned long long v) : T(derive_double_to_odd(v)) {}  \
    DERIVE_INLINE T(short v) : T(static_cast<float>(v)) {}  \
    DERIVE_INLINE T(unsigned short v) : T(static_cast<float>(v)) {}  \
    DERIVE_INLINE operator float() const { return TO(__x); }  \
    DERIVE_INLINE explicit operator bool() const { return (__x & 0x7fff) != 0; }  \
    DERIVE_INLINE operator int() const { return derive_saturate<int>(TO(__x)); }  \
    DERIVE_INLINE operator unsigned() const { return derive_saturate<unsigned>(TO(__x)); }  \
    DERIVE_INLINE operator long long() const { return derive_saturate<long long>(TO(__x)); }  \
    DERIVE_INLINE operator unsigned long long() const { return derive_saturate<unsigned long long>(TO(__x)); }  \
    DERIVE_INLINE operator long() const { return derive_saturate<long>(TO(__x)); }  \
    DERIVE_INLINE operator unsigned long() const { return derive_saturate<unsigned long>(TO(__x)); }  \
    DERIVE_INLINE operator char() const { return derive_saturate<char>(TO(__x)); }  \
    DERIVE_INLINE operator signed char() const { return derive_saturate<signed char>(TO(__x)); }  \
    DERIVE_INLINE operator unsigned char() const { return derive_saturate<unsigned char>(TO(__x)); }  \
    DERIVE_INLINE operator short() const { return derive_saturate<short>(TO(__x)); }  \
    DERIVE_INLINE operator unsigned short() const { return derive_saturate<unsigned short>(TO(__x)); }  \
    DERIVE_INLINE static T bits(unsigned short raw) { T r; r.__x = raw; return r; }  \
    DERIVE_INLINE T operator-() const { return bits(__x ^ 0x8000); }  \
    DERIVE_INLINE T operator+() const { return *this; }  \
    DERIVE_INLINE T& operator++() { return *this = T(TO(__x) + 1.0f); }  \
    DERIVE_INLINE T& operator--() { return *this = T(TO(__x) - 1.0f); }  \
    DERIVE_SMALL_POSTFIX(T)  \
  };  \
  struct alignas(4) T2 {  \
    T x, y;  \
    T2() = default;  \
    T2(const T& a, const T& b) : x(a), y(b) {}  \
    DERIVE_COPIES_WHOLE(T2)  \
    DERIVE_INLINE T2 operator-() const { return T2(-x, -y); }  \
    DERIVE_INLINE T2 operator+() const { return *this; }  \
    DERIVE_INLINE T2& operator++() { return ++x, ++y, *this; }  \
    DERIVE_INLINE T2& operator--() { return --x, --y, *this; }  \
    DERIVE_SMALL_POSTFIX(T2)  \
  };  \
  DERIVE_INLINE float derive_float(T a) { return TO(a.__x); }  \
  DERIVE_SMALL_OPERATOR(T, T2, +, __hadd, __hadd2)  \
  DERIVE_SMALL_OPERATOR(T, T2, -, __hsub, __hsub2)  \
  DERIVE_SMALL_OPERATOR(T, T2, *, __hmul, __hmul2)  \
  DERIVE_SMALL_OPERATOR(T, T2, /, __hdiv, __h2div)  \
  DERIVE_SMALL_COMPARE(T, T2, ==, eq)  \
  DERIVE_SMALL_COMPARE(T, T2, !=, ne)  \
  DERIVE_SMALL_COMPARE(T, T2, <, lt)  \
  DERIVE_SMALL_COMPARE(T, T2, <=, le)  \
  DERIVE_SMALL_COMPARE(T, T2, >, gt)  \
  DERIVE_SMALL_COMPARE(T, T2, >=, ge)  \
  DERIVE_INLINE bool operator==(const T2& a, const T2& b) { return __hbeq2(a, b); }  \
  DERIVE_INLINE bool operator!=(const T2& a, const T2& b) { return __hbneu2(a, b); }  \
  DERIVE_INLINE bool operator<(const T2& a, const T2& b) { return __hblt2(a, b); }  \
  DERIVE_INLINE bool operator<=(const T2& a, const T2& b) { return __hble2(a, b); }  \
  DERIVE_INLINE bool operator>(const T2& a, const T2& b) { return __hbgt2(a, b); }  \
  DERIVE_INLINE bool operator>=(const T2& a, const T2& b) { return __hbge2(a, b); }  \
  DERIVE_ON_USE T __hneg(T a) { return -a; }  \
  DERIVE_ON_USE T __habs(T a) { return T::bits(a.__x & 0x7fff); }  \
  DERIVE_INLINE bool __hisnan(T a) { return isnan(derive_float(a)); }  \
  DERIVE_ON_USE int __hisinf(T a) { return isinf(derive_float(a)) ? (derive_float(a) > 0 ? 1 : -1) : 0; }  \
  DERIVE_ON_USE T __hfma(T a, T b, T c) {  \
    return T(fma(static_cast<double>(derive_float(a)), static_cast<double>(derive_float(b)),  \
                 static_cast<double>(derive_float(c))));  \
  }  \
  DERIVE_ON_USE T derive_relu(T a) { return __hisnan(a) || derive_float(a) > 0.0f ? a : T(0.0f); }  \
  DERIVE_ON_USE T derive_saturated(T a) { return T(__saturatef(derive_float(a))); }  \
  DERIVE_ON_USE T __hadd_rn(T a, T b) { return a + b; }  \
  DERIVE_ON_USE T __hsub_rn(T a, T b) { return a - b; }  \
  DERIVE_ON_USE T __hmul_rn(T a, T b) { return a * b; }  \
  DERIVE_ON_USE T __hadd_sat(T a, T b) { return derive_saturated(a + b); }  \
  DERIVE_ON_USE T __hsub_sat(T a, T b) { return derive_saturated(a - b); }  \
  DERIVE_ON_USE T __hmul_sat(T a, T b) { return derive_saturated(a * b); }  \
  DERIVE_ON_USE T __hfma_sat(T a, T b, T c) { return derive_saturated(__hfma(a, b, c)); }  \
  DERIVE_ON_USE T __hfma_relu(T a, T b, T c) { return derive_relu(__hfma(a, b, c)); }  \
  DERIVE_SMALL_EXTREMUM(T, T2, max, >, &)  \
  DERIVE_SMALL_EXTREMUM(T, T2, min, <, |)  \
  DERIVE_SMALL_PAIRED(T2, __hneg2, __hneg, (T2 a), (a.x), (a.y))  \
  DERIVE_SMALL_PAIRED(T2, __habs2, __habs, (T2 a), (a.x), (a.y))  \
  DERIVE_SMALL_PAIRED(T2, __hisnan2, 1.0f * __hisnan, (T2 a), (a.x), (a.y))  \
  DERIVE_SMALL_PAIRED_2(T2, __hadd2_rn, __hadd_rn)  \
  DERIVE_SMALL_PAIRED_2(T2, __hsub2_rn, __hsub_rn)  \
  DERIVE_SMALL_PAIRED_2(T2, __hmul2_rn, __hmul_rn)  \
  DERIVE_SMALL_PAIRED_2(T2, __hadd2_sat, __hadd_sat)  \
  DERIVE_SMALL_PAIRED_2(T2, __hsub2_sat, __hsub_sat)  \
  DERIVE_SMALL_PAIRED_2(T2, __hmul2_sat, __hmul_sat)  \
  DERIVE_SMALL_PAIRED(T2, __hfma2, __hfma, (T2 a, T2 b, T2 c), (a.x, b.x, c.x), (a.y, b.y, c.y))  \
  DERIVE_SMALL_PAIRED(T2, __hfma2_sat, __hfma_sat, (T2 a, T2 b, T2 c), (a.x, b.x, c.x), (a.y, b.y, c.y))  \
  DERIVE_SMALL_PAIRED(T2, __hfma2_relu, __hfma_relu, (T2 a, T2 b, T2 c), (a.x, b.x, c.x), (a.y, b.y, c.y))  \
  DERIVE_ON_USE T2 __hcmadd(T2 a, T2 b, T2 c) {  \
    return T2(__hfma(-a.y, b.y, __hfma(a.x, b.x, c.x)), __hfma(a.y, b.x, __hfma(a.x, b.y, c.y)));  \
  }  \
  DERIVE_ON_USE float __low2float(T2 a) { return derive_float(a.x); }  \
  DERIVE_ON_USE float __high2float(T2 a) { return derive_float(a.y); }  \
  DERIVE_ON_USE T2 __lowhigh2highlow(T2 a) { return T2(a.y, a.x); }  \
  DERIVE_SMALL_FUNCTION(T, T2, exp)  \
  DERIVE_SMALL_FUNCTION(T, T2, exp2)  \
  DERIVE_SMALL_FUNCTION(T, T2, exp10)  \
  DERIVE_SMALL_FUNCTION(T, T2, log)  \
  DERIVE_SMALL_FUNCTION(T, T2, log2)  \
  DERIVE_SMALL_FUNCTION(T, T2, log10)  \
  DERIVE_SMALL_FUNCTION(T, T2, sqrt)  \
  DERIVE_SMALL_FUNCTION(T, T2, rsqrt)  \
  DERIVE_SMALL_FUNCTION(T, T2, sin)  \
  DERIVE_SMALL_FUNCTION(T, T2, cos)  \
  DERIVE_SMALL_FUNCTION(T, T2, tanh)  \
  DERIVE_SMALL_FUNCTION(T, T2, ceil)  \
  DERIVE_SMALL_FUNCTION(T, T2, floor)  \
  DERIVE_SMALL_FUNCTION(T, T2, trunc)  \
  DERIVE_SMALL_FUNCTION(T, T2, rint)  \
  DERIVE_ON_USE T htanh_approx(T a) { return htanh(a); }  \
  DERIVE_ON_USE T2 h2tanh_approx(T2 a) { return h2tanh(a); }  \
  DERIVE_ON_USE T hrcp(T a) { return T(1.0f / derive_float(a)); }  \
  DERIVE_ON_USE T2 h2rcp(T2 a) { return T2(hrcp(a.x), hrcp(a.y)); }  \
  DERIVE_UNSEEN inline T2 atomicAdd(T2* place, T2 value, DERIVE_LINE) {  \
    DERIVE_ATOMIC(place, 3);  \
    T2 old = *place;  \
    *place = T2(old.x + value.x, old.y + value.y);  \
    return old;  \
  }

#define DERIVE_SMALL_OPERATOR(T, T2, OP, NAME, NAME2)  \
  DERIVE_INLINE T operator OP(const T& a, const T& b) { return T(derive_float(a) OP derive_float(b)); }  \
  DERIVE_INLINE T& operator OP##=(T& a, const T& b) { return a = a OP b; }  \
  DERIVE_ON_USE T NAME(T a, T b) { return a OP b; }  \
  DERIVE_INLINE T2 operator OP(const T2& a, const T2& b) { return T2(a.x OP b.x, a.y OP b.y); }  \
  DERIVE_INLINE T2& operator OP##=(T2& a, const T2& b) { return a = a OP b; }  \
  DERIVE_ON_USE T2 NAME2(T2 a, T2 b) { return a OP b; }

#define DERIVE_SMALL_POSTFIX(T)  \
  DERIVE_INLINE T operator++(int) { T old = *this; ++*this; return old; }  \
  DERIVE_INLINE T operator--(int) { T old = *this; --*this; return old; }

// Of both parts of a pair.
#define DERIVE_SMALL_PAIRED(T2, NAME2, NAME, PARAMETERS, LOW, HIGH)  \
  DERIVE_ON_USE T2 NAME2 PARAMETERS { return T2(NAME LOW, NAME HIGH); }
#define DERIVE_SMALL_PAIRED_2(T2, NAME2, NAME)  \
  DERIVE_SMALL_PAIRED(T2, NAME2, NAME, (T2 a, T2 b), (a.x, b.x), (a.y, b.y))

// The operator, as in C++; __hNAME, which is false where one of the two is a NaN, and __hNAMEu, which is true there.
#define DERIVE_SMALL_COMPARE(T, T2, OP, NAME)  \
  DERIVE_INLINE bool operator OP(const T& a, const T& b) { return derive_float(a) OP derive_float(b); }  \
  DERIVE_SMALL_PREDICATE(T, T2, NAME, !__builtin_isunordered(x, y) && x OP y)  \
  DERIVE_SMALL_PREDICATE(T, T2, NAME##u, __builtin_isunordered(x, y) || x OP y)
#define DERIVE_SMALL_PREDICATE(T, T2, NAME, EXPRESSION)  \
  DERIVE_ON_USE bool __h##NAME(T a, T b) {  \
    float x = derive_float(a), y = derive_float(b);  \
    return EXPRESSION;  \
  }  \
  DERIVE_SMALL_PAIRED_2(T2, __h##NAME##2, 1.0f * __h##NAME)  \
  DERIVE_ON_USE bool __hb##NAME##2(T2 a, T2 b) { return __h##NAME(a.x, b.x) && __h##NAME(a.y, b.y); }  \
  DERIVE_ON_USE unsigned __h##NAME##2_mask(T2 a, T2 b) {  \
    return (__h##NAME(a.x, b.x) ? 0xffffu : 0u) | (__h##NAME(a.y, b.y) ? 0xffff0000u : 0u);  \
  }

// Zeros are ordered by their signs; of a NaN and a number the number, by the names with _nan the NaN.
#define DERIVE_SMALL_EXTREMUM(T, T2, NAME, OP, OF_BITS)  \
  DERIVE_ON_USE T __h##NAME(T a, T b) {  \
    float x = derive_float(a), y = derive_float(b);  \
    if (x == y) return T::bits(a.__x OF_BITS b.__x);  \
    return __hisnan(a) && __hisnan(b) ? T::bits(0x7fff) : x OP y || __hisnan(b) ? a : b;  \
  }  \
  DERIVE_ON_USE T __h##NAME##_nan(T a, T b) {  \
    return __hisnan(a) || __hisnan(b) ? T::bits(0x7fff) : __h##NAME(a, b);  \
  }  \
  DERIVE_SMALL_PAIRED_2(T2, __h##NAME##2, __h##NAME)  \
  DERIVE_SMALL_PAIRED_2(T2, __h##NAME##2_nan, __h##NAME##_nan)

// Between a 16-bit format, by its name in conversions, and integers; WIDE is the longest of their signedness.
#define DERIVE_SMALL_INTEGER(T, FORMAT, NAME, I, WIDE)  \
  DERIVE_ON_USE T __##NAME##2##FORMAT##_rn(I v) { return T(v); }  \
  DERIVE_ON_USE T __##NAME##2##FORMAT##_rz(I v) { return __float2##FORMAT##_rz(__##WIDE##2float_rz(v)); }  \
  DERIVE_ON_USE T __##NAME##2##FORMAT##_rd(I v) { return __float2##FORMAT##_rd(__##WIDE##2float_rd(v)); }  \
  DERIVE_ON_USE T __##NAME##2##FORMAT##_ru(I v) { return __float2##FORMAT##_ru(__##WIDE##2float_ru(v)); }  \
  DERIVE_ON_USE I __##FORMAT##2##NAME##_rn(T v) { return derive_saturate<I>(__builtin_rintf(derive_float(v))); }  \
  DERIVE_ON_USE I __##FORMAT##2##NAME##_rz(T v) { return derive_saturate<I>(derive_float(v)); }  \
  DERIVE_ON_USE I __##FORMAT##2##NAME##_rd(T v) { return derive_saturate<I>(__builtin_floorf(derive_float(v))); }  \
  DERIVE_ON_USE I __##FORMAT##2##NAME##_ru(T v) { return derive_saturate<I>(__builtin_ceilf(derive_float(v))); }
#define DERIVE_SMALL_INTEGERS(T, FORMAT)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, int, int, ll)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, uint, unsigned, ull)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, short, short, ll)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, ushort, unsigned short, ull)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, ll, long long, ll)  \
  DERIVE_SMALL_INTEGER(T, FORMAT, ull, unsigned long long, ull)  \
  DERIVE_ON_USE signed char __##FORMAT##2char_rz(T v) { return derive_saturate<signed char>(derive_float(v)); }  \
  DERIVE_ON_USE unsigned char __##FORMAT##2uchar_rz(T v) { return derive_saturate<unsigned char>(derive_float(v)); }

#define DERIVE_SMALL_FUNCTION(T, T2, F)  \
  DERIVE_ON_USE T h##F(T a) { return T(F##f(derive_float(a))); }  \
  DERIVE_ON_USE T2 h2##F(T2 a) { return T2(h##F(a.x), h##F(a.y)); }
