// float4, int2, uchar4, dim3, ...: copied as one access of their full size, as the hardware does.
#pragma once

#include "qualifiers.h"

template <unsigned long Bytes>
struct derive_word;
template <>
struct derive_word<2> { typedef unsigned short type __attribute__((may_alias)); };
template <>
struct derive_word<4> { typedef unsigned int type __attribute__((may_alias)); };
template <>
struct derive_word<8> { typedef unsigned long long type __attribute__((may_alias)); };
template <>
struct derive_word<16> { typedef unsigned long long type __attribute__((vector_size(16), may_alias)); };

// Copying member by member would be several accesses, which is not what is counted on a device. In check mode g++
// copies aggregates whole by itself, with their scalar replacement off.
#if defined(DERIVE_CHECK) && !defined(__clang__)
#define DERIVE_COPIES_WHOLE(V)
#else
#define DERIVE_COPIES_WHOLE(V)                                                      \
  inline __attribute__((always_inline)) V(const V& other) { *this = other; }        \
  inline __attribute__((always_inline)) V& operator=(const V& other) {              \
    using word = typename derive_word<sizeof(V)>::type;                             \
    *reinterpret_cast<word*>(this) = *reinterpret_cast<const word*>(&other);        \
    return *this;                                                                   \
  }
#endif

#define DERIVE_VECTOR_1(T, V) \
  struct V { T x; };          \
  inline V make_##V(T x) { return V{x}; }
#define DERIVE_VECTOR_2(T, V)                 \
  struct alignas(2 * sizeof(T)) V {           \
    T x, y;                                   \
    V() = default;                            \
    constexpr V(T x_, T y_) : x(x_), y(y_) {} \
    DERIVE_COPIES_WHOLE(V)                    \
  };                                          \
  inline V make_##V(T x, T y) { return V(x, y); }
#define DERIVE_VECTOR_3(T, V) \
  struct V { T x, y, z; };    \
  inline V make_##V(T x, T y, T z) { return V{x, y, z}; }
#define DERIVE_VECTOR_4(T, V)                                           \
  struct alignas(4 * sizeof(T)) V {                                     \
    T x, y, z, w;                                                       \
    V() = default;                                                      \
    constexpr V(T x_, T y_, T z_, T w_) : x(x_), y(y_), z(z_), w(w_) {} \
    DERIVE_COPIES_WHOLE(V)                                              \
  };                                                                    \
  inline V make_##V(T x, T y, T z, T w) { return V(x, y, z, w); }
// 32 bytes: a device moves them as two accesses of 16.
#define DERIVE_VECTOR_4_ALIGNED(T, V, BYTES)  \
  struct alignas(BYTES) V { T x, y, z, w; };  \
  inline V make_##V(T x, T y, T z, T w) { return V{x, y, z, w}; }
#define DERIVE_VECTOR_4_WIDE(T, V)          \
  DERIVE_VECTOR_4_ALIGNED(T, V, 16)         \
  DERIVE_VECTOR_4_ALIGNED(T, V##_16a, 16)   \
  DERIVE_VECTOR_4_ALIGNED(T, V##_32a, 32)

#define DERIVE_VECTORS(T, V, FOUR) \
  DERIVE_VECTOR_1(T, V##1)         \
  DERIVE_VECTOR_2(T, V##2)         \
  DERIVE_VECTOR_3(T, V##3)         \
  FOUR(T, V##4)
DERIVE_VECTORS(signed char, char, DERIVE_VECTOR_4)
DERIVE_VECTORS(unsigned char, uchar, DERIVE_VECTOR_4)
DERIVE_VECTORS(short, short, DERIVE_VECTOR_4)
DERIVE_VECTORS(unsigned short, ushort, DERIVE_VECTOR_4)
DERIVE_VECTORS(int, int, DERIVE_VECTOR_4)
DERIVE_VECTORS(unsigned int, uint, DERIVE_VECTOR_4)
DERIVE_VECTORS(float, float, DERIVE_VECTOR_4)
DERIVE_VECTORS(double, double, DERIVE_VECTOR_4_WIDE)
DERIVE_VECTORS(long, long, DERIVE_VECTOR_4_WIDE)
DERIVE_VECTORS(unsigned long, ulong, DERIVE_VECTOR_4_WIDE)
DERIVE_VECTORS(long long, longlong, DERIVE_VECTOR_4_WIDE)
DERIVE_VECTORS(unsigned long long, ulonglong, DERIVE_VECTOR_4_WIDE)
#undef DERIVE_VECTORS
#undef DERIVE_VECTOR_1
#undef DERIVE_VECTOR_2
#undef DERIVE_VECTOR_3
#undef DERIVE_VECTOR_4
#undef DERIVE_VECTOR_4_WIDE
#undef DERIVE_VECTOR_4_ALIGNED

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return uint3{x, y, z}; }
};

// This object's copy of the indices, laid out as derive_state; the runner writes it before a thread goes on.
struct derive_indices {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
static_assert(sizeof(derive_indices) == sizeof(derive_state));
static derive_indices derive_own_indices __asm__("derive_own_indices") __attribute__((used));
// The same memory under another name: to a thread they are constant, and need not be read again after a store.
extern const derive_indices derive_constant_indices __asm__("derive_own_indices")
    __attribute__((visibility("hidden")));
#define threadIdx (derive_constant_indices.thread)
#define blockIdx (derive_constant_indices.block)
#define blockDim (derive_constant_indices.block_dim)
#define gridDim (derive_constant_indices.grid_dim)
