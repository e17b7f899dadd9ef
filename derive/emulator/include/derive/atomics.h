// Atomics. The threads of a launch take turns on one core, so plain code between two calls is atomic.
#pragma once

#include "bits.h"

// What check mode learns of an atomic operation: that it reads (1), writes (2), compares (4); nothing in fast mode.
#ifdef DERIVE_CHECK
#define DERIVE_ATOMIC(place, kind) derive_rt_atomic(place, sizeof(*(place)), kind, line)
#else
#define DERIVE_ATOMIC(place, kind) static_cast<void>(line)
#endif

template <class T>
struct derive_same { typedef T type; };

#define DERIVE_ATOMIC_UPDATE(NAME, EXPRESSION, KIND)                                                \
  template <class T>                                                                                \
  DERIVE_UNSEEN inline T NAME(T* place, typename derive_same<T>::type value, DERIVE_LINE) {         \
    DERIVE_ATOMIC(place, KIND);                                                                     \
    T old = *place;                                                                                 \
    *place = static_cast<T>(EXPRESSION);                                                            \
    return old;                                                                                     \
  }                                                                                                 \
  template <class T>                                                                                \
  inline T NAME##_block(T* place, typename derive_same<T>::type value, DERIVE_LINE) {               \
    return NAME(place, value, line);                                                                \
  }                                                                                                 \
  template <class T>                                                                                \
  inline T NAME##_system(T* place, typename derive_same<T>::type value, DERIVE_LINE) {              \
    return NAME(place, value, line);                                                                \
  }
DERIVE_ATOMIC_UPDATE(atomicAdd, old + value, 3)
DERIVE_ATOMIC_UPDATE(atomicSub, old - value, 3)
DERIVE_ATOMIC_UPDATE(atomicMin, value < old ? value : old, 3)
DERIVE_ATOMIC_UPDATE(atomicMax, value > old ? value : old, 3)
DERIVE_ATOMIC_UPDATE(atomicExch, value, 2)
DERIVE_ATOMIC_UPDATE(atomicAnd, old & value, 3)
DERIVE_ATOMIC_UPDATE(atomicOr, old | value, 3)
DERIVE_ATOMIC_UPDATE(atomicXor, old ^ value, 3)
DERIVE_ATOMIC_UPDATE(atomicInc, old >= value ? 0 : old + 1, 3)
DERIVE_ATOMIC_UPDATE(atomicDec, old == 0 || old > value ? value : old - 1, 3)
#undef DERIVE_ATOMIC_UPDATE

template <class T>
DERIVE_UNSEEN inline T atomicCAS(T* place, typename derive_same<T>::type compare,
                                 typename derive_same<T>::type value, DERIVE_LINE) {
  DERIVE_ATOMIC(place, 7);
  T old = *place;
  if (__builtin_memcmp(&old, &compare, sizeof(T)) == 0) *place = value;
  return old;
}
template <class T>
inline T atomicCAS_block(T* place, typename derive_same<T>::type compare, typename derive_same<T>::type value,
                         DERIVE_LINE) {
  return atomicCAS(place, compare, value, line);
}
template <class T>
inline T atomicCAS_system(T* place, typename derive_same<T>::type compare, typename derive_same<T>::type value,
                          DERIVE_LINE) {
  return atomicCAS(place, compare, value, line);
}

// Each number of a vector by itself.
#define DERIVE_ATOMIC_VECTOR(NAME, V, ...)                          \
  DERIVE_UNSEEN inline V NAME(V* place, V value, DERIVE_LINE) {     \
    DERIVE_ATOMIC(place, 3);                                        \
    V old = *place;                                                 \
    *place = V(__VA_ARGS__);                                        \
    return old;                                                     \
  }
#define DERIVE_ATOMIC_VECTORS(NAME)                                           \
  DERIVE_ATOMIC_VECTOR(NAME, float2, old.x + value.x, old.y + value.y)        \
  DERIVE_ATOMIC_VECTOR(NAME, float4, old.x + value.x, old.y + value.y, old.z + value.z, old.w + value.w)
DERIVE_ATOMIC_VECTORS(atomicAdd)
DERIVE_ATOMIC_VECTORS(atomicAdd_block)
DERIVE_ATOMIC_VECTORS(atomicAdd_system)
#undef DERIVE_ATOMIC_VECTOR
#undef DERIVE_ATOMIC_VECTORS
