// Integer intrinsics, and the bits of floating-point numbers.
#pragma once

#include "vectors.h"

template <class To, class From>
inline To derive_bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  __builtin_memcpy(&result, &value, sizeof(To));
  return result;
}

inline int __float_as_int(float v) { return derive_bits<int>(v); }
inline unsigned __float_as_uint(float v) { return derive_bits<unsigned>(v); }
inline float __int_as_float(int v) { return derive_bits<float>(v); }
inline float __uint_as_float(unsigned v) { return derive_bits<float>(v); }
inline long long __double_as_longlong(double v) { return derive_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return derive_bits<double>(v); }
inline int __double2hiint(double v) { return static_cast<int>(derive_bits<unsigned long long>(v) >> 32); }
inline int __double2loint(double v) { return static_cast<int>(derive_bits<unsigned long long>(v)); }
inline double __hiloint2double(int high, int low) {
  return derive_bits<double>(static_cast<unsigned long long>(static_cast<unsigned>(high)) << 32 |
                             static_cast<unsigned>(low));
}

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(static_cast<unsigned>(v)); }
inline int __clzll(long long v) { return v == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(v);
}
inline unsigned long long __brevll(unsigned long long v) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(v))) << 32 |
         __brev(static_cast<unsigned>(v >> 32));
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  unsigned long long bytes = static_cast<unsigned long long>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    unsigned pick = selector >> 4 * i & 15, byte = bytes >> 8 * (pick & 7) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << 8 * i;
  }
  return result;
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline long long __mul64hi(long long a, long long b) {
  return static_cast<long long>(static_cast<__int128>(a) * b >> 64);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __mul24(int a, int b) {
  return static_cast<int>(static_cast<unsigned>((a << 8) >> 8) * static_cast<unsigned>((b << 8) >> 8));
}
inline unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffffu) * (b & 0xffffffu); }
inline unsigned __sad(int a, int b, unsigned c) { return c + static_cast<unsigned>(a < b ? b - a : a - b); }
inline unsigned __usad(unsigned a, unsigned b, unsigned c) { return c + (a < b ? b - a : a - b); }
inline int __hadd(int a, int b) { return static_cast<int>((static_cast<long long>(a) + b) >> 1); }
inline int __rhadd(int a, int b) { return static_cast<int>((static_cast<long long>(a) + b + 1) >> 1); }
inline unsigned __uhadd(unsigned a, unsigned b) { return static_cast<unsigned>((0ull + a + b) >> 1); }
inline unsigned __urhadd(unsigned a, unsigned b) { return static_cast<unsigned>((1ull + a + b) >> 1); }
// The place of the `offset`th bit set, from `base` upwards or, for a negative one, downwards; ~0 if there is none.
inline unsigned __fns(unsigned mask, unsigned base, int offset) {
  int left = offset < 0 ? -offset : offset > 0 ? offset : 1;
  for (unsigned at = base; at < 32; at += offset < 0 ? -1u : 1u) {
    if (mask >> at & 1 && --left == 0) return at;
    if (offset == 0) break;
  }
  return ~0u;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift & 31));
}
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift < 32 ? shift : 32) >> 32);
}
inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
  unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift < 32 ? shift : 32));
}
// Products of `count` parts of two words, and a sum: of 8 bits times 8 bits, or of 16 bits times 8 bits.
template <class Wide, class Narrow, class T>
inline T derive_dot(int count, T a, T b, T c) {
  for (int i = 0; i < count; ++i)
    c += static_cast<T>(static_cast<Wide>(a >> 8 * sizeof(Wide) * i)) * static_cast<Narrow>(b >> 8 * i);
  return c;
}
#define DERIVE_DOT(NAME, COUNT, SHIFT, SIGN, T, WIDE, WIDES, BYTES)                                             \
  inline T NAME(T a, T b, T c) { return derive_dot<SIGN WIDE, SIGN char>(COUNT, a, b >> SHIFT, c); }            \
  inline T NAME(WIDES a, BYTES b, T c) { return NAME(derive_bits<T>(a), derive_bits<T>(b), c); }
DERIVE_DOT(__dp4a, 4, 0, signed, int, char, char4, char4)
DERIVE_DOT(__dp4a, 4, 0, unsigned, unsigned, char, uchar4, uchar4)
DERIVE_DOT(__dp2a_lo, 2, 0, signed, int, short, short2, char4)
DERIVE_DOT(__dp2a_lo, 2, 0, unsigned, unsigned, short, ushort2, uchar4)
DERIVE_DOT(__dp2a_hi, 2, 16, signed, int, short, short2, char4)
DERIVE_DOT(__dp2a_hi, 2, 16, unsigned, unsigned, short, ushort2, uchar4)
#undef DERIVE_DOT

// Conversions saturate, as on a device, and NaN becomes 0; a plain C++ cast out of range is undefined.
template <class To, class From>
inline To derive_saturate(From v) {
  constexpr bool is_signed = static_cast<To>(-1) < static_cast<To>(0);
  constexpr int bits = 8 * sizeof(To) - is_signed;
  constexpr To top = static_cast<To>((static_cast<To>(1) << (bits - 1)) - 1 + (static_cast<To>(1) << (bits - 1)));
  constexpr From limit = static_cast<From>(static_cast<To>(1) << (bits - 1)) * 2;
  if (v != v) return 0;
  if (v >= limit) return top;
  if (is_signed ? v < -limit : v <= 0) return is_signed ? static_cast<To>(-top - 1) : 0;
  return static_cast<To>(v);
}
#define DERIVE_CONVERT(FROM_NAME, FROM, TO_NAME, TO, SUFFIX)                                                        \
  inline TO __##FROM_NAME##2##TO_NAME##_rn(FROM v) { return derive_saturate<TO>(__builtin_rint##SUFFIX(v)); }       \
  inline TO __##FROM_NAME##2##TO_NAME##_rz(FROM v) { return derive_saturate<TO>(__builtin_trunc##SUFFIX(v)); }      \
  inline TO __##FROM_NAME##2##TO_NAME##_ru(FROM v) { return derive_saturate<TO>(__builtin_ceil##SUFFIX(v)); }       \
  inline TO __##FROM_NAME##2##TO_NAME##_rd(FROM v) { return derive_saturate<TO>(__builtin_floor##SUFFIX(v)); }
DERIVE_CONVERT(float, float, int, int, f)
DERIVE_CONVERT(float, float, uint, unsigned, f)
DERIVE_CONVERT(float, float, ll, long long, f)
DERIVE_CONVERT(float, float, ull, unsigned long long, f)
DERIVE_CONVERT(double, double, int, int, )
DERIVE_CONVERT(double, double, uint, unsigned, )
DERIVE_CONVERT(double, double, ll, long long, )
DERIVE_CONVERT(double, double, ull, unsigned long long, )
#undef DERIVE_CONVERT
