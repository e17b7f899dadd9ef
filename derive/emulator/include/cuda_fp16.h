// half and half2, for the emulator: the part of NVIDIA's header that kernels use, from scratch.
#pragma once

#include "derive_cuda.h"
#include "derive/small_float.h"

#define DERIVE_FP16 1
#define __CUDA_FP16_TYPES_EXIST__ 1
DERIVE_SMALL_FLOAT(__half, __half2, derive_half_from_float, derive_half_to_float)
typedef __half half;
typedef __half2 half2;

inline __half __float2half(float v) { return __half(v); }
inline __half __float2half_rn(float v) { return __half(v); }
inline __half derive_half_directed(float v, derive_rounding to) {
  __half near(v);
  return __half::bits(derive_directed(near.__x, derive_float(near), v, to));
}
inline __half __float2half_rz(float v) { return derive_half_directed(v, DERIVE_ZERO); }
inline __half __float2half_rd(float v) { return derive_half_directed(v, DERIVE_LOW); }
inline __half __float2half_ru(float v) { return derive_half_directed(v, DERIVE_HIGH); }
inline __half __double2half(double v) { return __half(v); }
inline float __half2float(__half v) { return derive_float(v); }

DERIVE_SMALL_INTEGERS(__half, half)

inline __half2 make_half2(__half a, __half b) { return __half2(a, b); }
inline __half2 __halves2half2(__half a, __half b) { return __half2(a, b); }
inline __half2 __half2half2(__half a) { return __half2(a, a); }
inline __half2 __float2half2_rn(float v) { return __half2(__half(v), __half(v)); }
inline __half2 __floats2half2_rn(float a, float b) { return __half2(__half(a), __half(b)); }
inline __half2 __float22half2_rn(float2 v) { return __half2(__half(v.x), __half(v.y)); }
inline float2 __half22float2(__half2 v) { return float2(derive_float(v.x), derive_float(v.y)); }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline __half2 __low2half2(__half2 v) { return __half2(v.x, v.x); }
inline __half2 __high2half2(__half2 v) { return __half2(v.y, v.y); }
inline __half2 __lows2half2(__half2 a, __half2 b) { return __half2(a.x, b.x); }
inline __half2 __highs2half2(__half2 a, __half2 b) { return __half2(a.y, b.y); }
inline short __half_as_short(__half v) { return static_cast<short>(v.__x); }
inline unsigned short __half_as_ushort(__half v) { return v.__x; }
inline __half __short_as_half(short v) { return __half::bits(static_cast<unsigned short>(v)); }
inline __half __ushort_as_half(unsigned short v) { return __half::bits(v); }
#define CUDART_INF_FP16 __ushort_as_half(static_cast<unsigned short>(0x7C00U))
#define CUDART_NAN_FP16 __ushort_as_half(static_cast<unsigned short>(0x7FFFU))
#define CUDART_MAX_NORMAL_FP16 __ushort_as_half(static_cast<unsigned short>(0x7BFFU))
#define CUDART_ZERO_FP16 __ushort_as_half(static_cast<unsigned short>(0x0000U))
#define CUDART_ONE_FP16 __ushort_as_half(static_cast<unsigned short>(0x3C00U))
