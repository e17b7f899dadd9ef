// Barriers, shuffles, votes and fences: all of them calls into the runner, with the line they stand in.
#pragma once

#include "vectors.h"

inline void __syncthreads(DERIVE_LINE) { derive_rt_barrier(line); }
inline int __syncthreads_count(int value, DERIVE_LINE) { return derive_rt_barrier_reduce(line, DERIVE_COUNT, value); }
inline int __syncthreads_and(int value, DERIVE_LINE) { return derive_rt_barrier_reduce(line, DERIVE_AND, value); }
inline int __syncthreads_or(int value, DERIVE_LINE) { return derive_rt_barrier_reduce(line, DERIVE_OR, value); }
inline void __syncwarp(unsigned mask = DERIVE_FULL_MASK, DERIVE_LINE) { derive_rt_syncwarp(mask, line); }

inline void __threadfence(DERIVE_LINE) { derive_rt_fence(1, line); }
inline void __threadfence_block(DERIVE_LINE) { derive_rt_fence(0, line); }
inline void __threadfence_cluster(DERIVE_LINE) { derive_rt_fence(1, line); }
inline void __threadfence_system(DERIVE_LINE) { derive_rt_fence(2, line); }

// Any value of up to 8 bytes, moved through the runner as bits.
template <class T>
DERIVE_UNSEEN inline T derive_shuffle(unsigned mask, int from, T value, int operand, int width, int line) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = derive_rt_shuffle(mask, from, operand, width, bits, line);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, DERIVE_LINE) {
  return derive_shuffle(mask, DERIVE_INDEX, value, lane, width, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, DERIVE_LINE) {
  return derive_shuffle(mask, DERIVE_UP, value, static_cast<int>(delta), width, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, DERIVE_LINE) {
  return derive_shuffle(mask, DERIVE_DOWN, value, static_cast<int>(delta), width, line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, DERIVE_LINE) {
  return derive_shuffle(mask, DERIVE_XOR, value, lanes, width, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, DERIVE_LINE) {
  return derive_rt_vote(mask, DERIVE_BALLOT, predicate, line);
}
inline int __any_sync(unsigned mask, int predicate, DERIVE_LINE) {
  return derive_rt_vote(mask, DERIVE_BALLOT, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, DERIVE_LINE) {
  return derive_rt_vote(mask, DERIVE_BALLOT, !predicate, line) == 0;
}
inline int __uni_sync(unsigned mask, int predicate, DERIVE_LINE) {
  return derive_rt_vote(mask, DERIVE_BALLOT, predicate, line) == 0 || predicate;
}
// The lanes that come to the same line while the others of the warp wait elsewhere or have returned.
inline unsigned __activemask(DERIVE_LINE) { return derive_rt_vote(DERIVE_FULL_MASK, DERIVE_ACTIVE, 1, line); }

// Match and reduce: a value and a result a lane, handled by the last lane that arrives.
struct derive_lane_value {
  unsigned long long value;
  unsigned long long result;
};

DERIVE_UNSEEN inline void derive_match(void** payloads, unsigned mask) {
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    derive_lane_value* mine = static_cast<derive_lane_value*>(payloads[i]);
    mine->result = 0;
    for (int j = 0; j < 32; ++j)
      if (mask >> j & 1 && static_cast<derive_lane_value*>(payloads[j])->value == mine->value) mine->result |= 1u << j;
  }
}

template <class T>
inline unsigned __match_any_sync(unsigned mask, T value, DERIVE_LINE) {
  derive_lane_value payload{};
  __builtin_memcpy(&payload.value, &value, sizeof(T));
  derive_rt_collective(mask, 1, &payload, derive_match, line);
  return static_cast<unsigned>(payload.result);
}
template <class T>
inline unsigned __match_all_sync(unsigned mask, T value, int* all, DERIVE_LINE) {
  unsigned same = __match_any_sync(mask, value, line);
  unsigned present = derive_rt_vote(mask, DERIVE_BALLOT, 1, line);
  *all = same == present;
  return *all ? mask : 0;
}

template <class T, class Combine>
DERIVE_UNSEEN void derive_reduce(void** payloads, unsigned mask) {
  bool first = true;
  T total{};
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    T value = static_cast<T>(static_cast<derive_lane_value*>(payloads[i])->value);
    total = first ? value : Combine::combine(total, value);
    first = false;
  }
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) static_cast<derive_lane_value*>(payloads[i])->result = static_cast<unsigned long long>(total);
}

#define DERIVE_REDUCE(NAME, OPERATION, EXPRESSION)                                            \
  template <class T>                                                                          \
  struct derive_combine_##NAME {                                                              \
    static T combine(T a, T b) { return EXPRESSION; }                                         \
  };                                                                                          \
  template <class T>                                                                          \
  inline T __reduce_##NAME##_sync(unsigned mask, T value, DERIVE_LINE) {                      \
    derive_lane_value payload{static_cast<unsigned long long>(value), 0};                     \
    derive_rt_collective(mask, OPERATION, &payload, derive_reduce<T, derive_combine_##NAME<T>>, line); \
    return static_cast<T>(payload.result);                                                    \
  }
DERIVE_REDUCE(add, 2, a + b)
DERIVE_REDUCE(min, 3, a < b ? a : b)
DERIVE_REDUCE(max, 4, a > b ? a : b)
DERIVE_REDUCE(and, 5, a & b)
DERIVE_REDUCE(or, 6, a | b)
DERIVE_REDUCE(xor, 7, a ^ b)
#undef DERIVE_REDUCE
