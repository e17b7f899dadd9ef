// Complex numbers as a float2 or a double2, for the emulator: the functions that CUDA documents, from scratch.
#pragma once

#include "derive_cuda.h"

typedef float2 cuFloatComplex;
typedef double2 cuDoubleComplex;
typedef cuFloatComplex cuComplex;

// x / y = (x / |y|) conj(y / |y|), where no square leaves the range of the numbers.
#define DERIVE_COMPLEX(T, C, F)                                                                        \
  inline C make_##C(T re, T im) { return C(re, im); }                                                  \
  inline T cuCreal##F(C x) { return x.x; }                                                             \
  inline T cuCimag##F(C x) { return x.y; }                                                             \
  inline C cuConj##F(C x) { return C(x.x, -x.y); }                                                     \
  inline C cuCadd##F(C x, C y) { return C(x.x + y.x, x.y + y.y); }                                     \
  inline C cuCsub##F(C x, C y) { return C(x.x - y.x, x.y - y.y); }                                     \
  inline C cuCmul##F(C x, C y) { return C(x.x * y.x - x.y * y.y, x.x * y.y + x.y * y.x); }             \
  inline C cuCfma##F(C x, C y, C z) { return cuCadd##F(cuCmul##F(x, y), z); }                          \
  inline T cuCabs##F(C x) { return hypot##F(x.x, x.y); }                                               \
  inline C cuCdiv##F(C x, C y) {                                                                       \
    T length = cuCabs##F(y);                                                                           \
    return cuCmul##F(C(x.x / length, x.y / length), C(y.x / length, -(y.y / length)));                 \
  }
DERIVE_COMPLEX(float, cuFloatComplex, f)
DERIVE_COMPLEX(double, cuDoubleComplex, )
#undef DERIVE_COMPLEX

inline cuComplex make_cuComplex(float re, float im) { return cuComplex(re, im); }
inline cuDoubleComplex cuComplexFloatToDouble(cuFloatComplex x) { return cuDoubleComplex(x.x, x.y); }
inline cuFloatComplex cuComplexDoubleToFloat(cuDoubleComplex x) {
  return cuFloatComplex(static_cast<float>(x.x), static_cast<float>(x.y));
}
