// Integer intrinsics over the 8- or 16-bit parts of a word, each part a signed or an unsigned number.
#pragma once

#include "bits.h"

// Part by part: `f` gets them as numbers of type Part, and gives one.
template <class Part, class F, class... Words>
inline unsigned derive_by_parts(F f, Words... words) {
  constexpr int bits = 8 * sizeof(Part);
  unsigned long long result = 0;
  for (int at = 0; at < 32; at += bits)
    result |= (static_cast<unsigned long long>(f(static_cast<Part>(words >> at)...)) & ((1ull << bits) - 1)) << at;
  return static_cast<unsigned>(result);
}
template <class Part>
inline unsigned derive_sum_of_distances(unsigned a, unsigned b) {
  unsigned sum = 0;
  for (int at = 0; at < 32; at += 8 * sizeof(Part)) {
    int x = static_cast<Part>(a >> at), y = static_cast<Part>(b >> at);
    sum += static_cast<unsigned>(x < y ? y - x : x - y);
  }
  return sum;
}
template <class Part>
inline int derive_clamped(int x) {
  constexpr bool is_signed = static_cast<Part>(-1) < 0;
  constexpr int span = 1 << 8 * sizeof(Part), low = is_signed ? -span / 2 : 0, high = low + span - 1;
  return x < low ? low : x > high ? high : x;
}

// NAME2 and NAME4 of words whose parts are x and y, int by promotion.
#define DERIVE_PARTS_OF(NAME, PART, EXPRESSION)                             \
  DERIVE_ON_USE unsigned NAME(unsigned a, unsigned b) {                         \
    using part = PART;                                                      \
    return derive_by_parts<part>([](int x, int y) { return EXPRESSION; }, a, b); \
  }
#define DERIVE_PARTS_OF_ONE(NAME, PART, EXPRESSION)                         \
  DERIVE_ON_USE unsigned NAME(unsigned a) {                                   \
    using part = PART;                                                      \
    return derive_by_parts<part>([](int x) { return EXPRESSION; }, a);      \
  }
#define DERIVE_SIGNED_PARTS(NAME, EXPRESSION)      \
  DERIVE_PARTS_OF(NAME##2, short, EXPRESSION)      \
  DERIVE_PARTS_OF(NAME##4, signed char, EXPRESSION)
#define DERIVE_UNSIGNED_PARTS(NAME, EXPRESSION)        \
  DERIVE_PARTS_OF(NAME##2, unsigned short, EXPRESSION) \
  DERIVE_PARTS_OF(NAME##4, unsigned char, EXPRESSION)
#define DERIVE_SIGNED_PARTS_OF_ONE(NAME, EXPRESSION)   \
  DERIVE_PARTS_OF_ONE(NAME##2, short, EXPRESSION)      \
  DERIVE_PARTS_OF_ONE(NAME##4, signed char, EXPRESSION)
DERIVE_UNSIGNED_PARTS(__vadd, x + y)
DERIVE_UNSIGNED_PARTS(__vsub, x - y)
DERIVE_SIGNED_PARTS(__vaddss, derive_clamped<part>(x + y))
DERIVE_SIGNED_PARTS(__vsubss, derive_clamped<part>(x - y))
DERIVE_UNSIGNED_PARTS(__vaddus, derive_clamped<part>(x + y))
DERIVE_UNSIGNED_PARTS(__vsubus, derive_clamped<part>(x - y))
DERIVE_SIGNED_PARTS(__vavgs, (x + y + (x + y >= 0)) >> 1)  // ties away from zero
DERIVE_UNSIGNED_PARTS(__vavgu, (x + y + 1) >> 1)
DERIVE_UNSIGNED_PARTS(__vhaddu, (x + y) >> 1)
DERIVE_SIGNED_PARTS(__vabsdiffs, x < y ? y - x : x - y)
DERIVE_UNSIGNED_PARTS(__vabsdiffu, x < y ? y - x : x - y)
DERIVE_SIGNED_PARTS(__vmaxs, x < y ? y : x)
DERIVE_SIGNED_PARTS(__vmins, x < y ? x : y)
DERIVE_UNSIGNED_PARTS(__vmaxu, x < y ? y : x)
DERIVE_UNSIGNED_PARTS(__vminu, x < y ? x : y)
DERIVE_SIGNED_PARTS_OF_ONE(__vabs, x < 0 ? -x : x)
DERIVE_SIGNED_PARTS_OF_ONE(__vabsss, derive_clamped<part>(x < 0 ? -x : x))
DERIVE_SIGNED_PARTS_OF_ONE(__vneg, -x)
DERIVE_SIGNED_PARTS_OF_ONE(__vnegss, derive_clamped<part>(-x))

// A comparison gives all ones (vcmp) or 1 (vset) in each part where it holds.
#define DERIVE_COMPARED_PARTS(SIGN, NAME, OP)         \
  DERIVE_##SIGN##_PARTS(__vcmp##NAME, -(x OP y))      \
  DERIVE_##SIGN##_PARTS(__vset##NAME, x OP y)
DERIVE_COMPARED_PARTS(UNSIGNED, eq, ==)
DERIVE_COMPARED_PARTS(UNSIGNED, ne, !=)
DERIVE_COMPARED_PARTS(SIGNED, ges, >=)
DERIVE_COMPARED_PARTS(SIGNED, gts, >)
DERIVE_COMPARED_PARTS(SIGNED, les, <=)
DERIVE_COMPARED_PARTS(SIGNED, lts, <)
DERIVE_COMPARED_PARTS(UNSIGNED, geu, >=)
DERIVE_COMPARED_PARTS(UNSIGNED, gtu, >)
DERIVE_COMPARED_PARTS(UNSIGNED, leu, <=)
DERIVE_COMPARED_PARTS(UNSIGNED, ltu, <)

inline unsigned __vsads2(unsigned a, unsigned b) { return derive_sum_of_distances<short>(a, b); }
inline unsigned __vsads4(unsigned a, unsigned b) { return derive_sum_of_distances<signed char>(a, b); }
inline unsigned __vsadu2(unsigned a, unsigned b) { return derive_sum_of_distances<unsigned short>(a, b); }
inline unsigned __vsadu4(unsigned a, unsigned b) { return derive_sum_of_distances<unsigned char>(a, b); }

// Sums that wrap and extrema, of whole words and of their halves; `relu` takes what is negative for 0.
template <class T>
inline T derive_least(T a, T b) { return b < a ? b : a; }
template <class T>
inline T derive_most(T a, T b) { return a < b ? b : a; }
template <class T>
inline T derive_wrapped_sum(T a, T b) { return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); }

#define DERIVE_EXTREMA_OF(NAME, WORD, PART, RESULT)                                                   \
  DERIVE_ON_USE WORD NAME(WORD a, WORD b, WORD c) {                                                   \
    return static_cast<WORD>(derive_by_parts<PART>(                                                   \
        [](PART x, PART y, PART z) { return RESULT; }, static_cast<unsigned>(a), static_cast<unsigned>(b), \
        static_cast<unsigned>(c)));                                                                   \
  }
#define DERIVE_SIGNED_EXTREMA(NAME, SUFFIX, EXPRESSION)                  \
  DERIVE_EXTREMA_OF(NAME##_s32##SUFFIX, int, int, EXPRESSION)            \
  DERIVE_EXTREMA_OF(NAME##_s16x2##SUFFIX, unsigned, short, EXPRESSION)
#define DERIVE_EXTREMA_OF_THREE(NAME, EXPRESSION)                        \
  DERIVE_SIGNED_EXTREMA(NAME, , EXPRESSION)                              \
  DERIVE_SIGNED_EXTREMA(NAME, _relu, (EXPRESSION) < 0 ? 0 : (EXPRESSION)) \
  DERIVE_EXTREMA_OF(NAME##_u32, unsigned, unsigned, EXPRESSION)          \
  DERIVE_EXTREMA_OF(NAME##_u16x2, unsigned, unsigned short, EXPRESSION)
DERIVE_EXTREMA_OF_THREE(__viaddmax, derive_most(derive_wrapped_sum(x, y), z))
DERIVE_EXTREMA_OF_THREE(__viaddmin, derive_least(derive_wrapped_sum(x, y), z))
DERIVE_EXTREMA_OF_THREE(__vimax3, derive_most(derive_most(x, y), z))
DERIVE_EXTREMA_OF_THREE(__vimin3, derive_least(derive_least(x, y), z))
inline int __vimax_s32_relu(int a, int b) { return __vimax3_s32(a, b, 0); }
inline int __vimin_s32_relu(int a, int b) { return derive_most(derive_least(a, b), 0); }
inline unsigned __vimax_s16x2_relu(unsigned a, unsigned b) { return __vimax3_s16x2(a, b, 0); }
inline unsigned __vimin_s16x2_relu(unsigned a, unsigned b) { return __vmaxs2(__vmins2(a, b), 0); }

// The extremum, and whether it is `a`.
#define DERIVE_CHOICE(NAME, PART, WORD, OP)                                                      \
  inline WORD NAME##32(WORD a, WORD b, bool* first) {                                            \
    *first = a OP b;                                                                             \
    return *first ? a : b;                                                                       \
  }                                                                                              \
  DERIVE_ON_USE unsigned NAME##16x2(unsigned a, unsigned b, bool* first_high, bool* first_low) { \
    *first_high = static_cast<PART>(a >> 16) OP static_cast<PART>(b >> 16);                      \
    *first_low = static_cast<PART>(a) OP static_cast<PART>(b);                                   \
    return derive_by_parts<PART>([](PART x, PART y) { return x OP y ? x : y; }, a, b);           \
  }
DERIVE_CHOICE(__vibmax_s, short, int, >=)
DERIVE_CHOICE(__vibmax_u, unsigned short, unsigned, >=)
DERIVE_CHOICE(__vibmin_s, short, int, <=)
DERIVE_CHOICE(__vibmin_u, unsigned short, unsigned, <=)
#undef DERIVE_PARTS_OF
#undef DERIVE_PARTS_OF_ONE
#undef DERIVE_SIGNED_PARTS
#undef DERIVE_UNSIGNED_PARTS
#undef DERIVE_SIGNED_PARTS_OF_ONE
#undef DERIVE_COMPARED_PARTS
#undef DERIVE_EXTREMA_OF
#undef DERIVE_SIGNED_EXTREMA
#undef DERIVE_EXTREMA_OF_THREE
#undef DERIVE_CHOICE
