// nvcuda::wmma on the CPU. Which elements a lane holds is nobody's business; here it is as in the instructions that the
// hardware has (of each 8 by 8 elements two neighbours), so that bank conflicts are counted as they are there. A
// product is computed for the whole warp by the last lane that arrives.
#pragma once

#include "cuda_bf16.h"
#include "cuda_fp16.h"

namespace nvcuda {
namespace wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision {
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K>
struct derive_shape;
template <int M, int N, int K>
struct derive_shape<matrix_a, M, N, K> { static constexpr int rows = M, cols = K; };
template <int M, int N, int K>
struct derive_shape<matrix_b, M, N, K> { static constexpr int rows = K, cols = N; };
template <int M, int N, int K>
struct derive_shape<accumulator, M, N, K> { static constexpr int rows = M, cols = N; };

template <class T>
struct derive_storage { typedef T type; };
template <>
struct derive_storage<precision::tf32> { typedef float type; };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
  using shape = derive_shape<Use, M, N, K>;
  using element_type = typename derive_storage<T>::type;
  using storage_element_type = element_type;
  static constexpr int num_elements = shape::rows * shape::cols / 32;
  static constexpr int num_storage_elements = num_elements;
  static constexpr bool derive_by_rows = !__is_same(Layout, col_major);
  element_type x[num_elements];
};

struct derive_spot {
  unsigned row, col;
};
template <class Fragment>
DERIVE_INLINE derive_spot derive_lane_spot(unsigned e, unsigned lane) {
  constexpr unsigned rows = Fragment::shape::rows, cols = Fragment::shape::cols;
  if (rows % 8 || cols % 8) return {(e * 32 + lane) / cols, (e * 32 + lane) % cols};
  unsigned row = e / 2 % (rows / 8) * 8, col = e / 2 / (rows / 8) * 8, along = lane % 4 * 2 + e % 2;
  if (Fragment::derive_by_rows) return {row + lane / 4, col + along};
  return {row + along, col + lane / 4};
}
template <class Fragment>
DERIVE_INLINE unsigned long derive_offset(int e, unsigned ld, bool by_rows) {
  derive_spot at = derive_lane_spot<Fragment>(e, derive_rt_lane());
  unsigned long outer = by_rows ? at.row : at.col, inner = by_rows ? at.col : at.row;
  return outer * ld + inner;
}

template <class Fragment, class T>
DERIVE_INLINE void fill_fragment(Fragment& f, T value) {
  for (int e = 0; e < Fragment::num_elements; ++e) f.x[e] = static_cast<typename Fragment::element_type>(value);
}

// All lanes must come; what they load or store is ordered by no more than that. A matrix must be aligned to 32 bytes,
// its rows to 16.
template <class P>
DERIVE_INLINE void derive_all_lanes(const P* place, unsigned ld, int line) {
#ifdef DERIVE_CHECK
  derive_rt_vote(DERIVE_FULL_MASK, DERIVE_BALLOT, 1, line);
  derive_rt_matrix(place, ld * sizeof(P), line);
#else
  static_cast<void>(place);
  static_cast<void>(ld);
  static_cast<void>(line);
#endif
}

template <class Use, int M, int N, int K, class T, class Layout, class P>
DERIVE_INLINE void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const P* from, unsigned ld, DERIVE_LINE) {
  derive_all_lanes(from, ld, line);
  for (int e = 0; e < f.num_elements; ++e)
    f.x[e] = from[derive_offset<fragment<Use, M, N, K, T, Layout>>(e, ld, __is_same(Layout, row_major))];
}
template <int M, int N, int K, class T, class P>
DERIVE_INLINE void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const P* from, unsigned ld, layout_t layout,
                             DERIVE_LINE) {
  derive_all_lanes(from, ld, line);
  for (int e = 0; e < f.num_elements; ++e)
    f.x[e] = from[derive_offset<fragment<accumulator, M, N, K, T>>(e, ld, layout == mem_row_major)];
}
template <int M, int N, int K, class T, class P>
DERIVE_INLINE void store_matrix_sync(P* to, const fragment<accumulator, M, N, K, T>& f, unsigned ld, layout_t layout,
                              DERIVE_LINE) {
  derive_all_lanes(to, ld, line);
  if (layout == mem_row_major && sizeof(P) == 4 && M % 8 == 0 && N % 8 == 0) {  // two neighbours at once
    for (int e = 0; e < f.num_elements; e += 2) {
      typedef P pair __attribute__((vector_size(2 * sizeof(P)), may_alias));
      unsigned long at = derive_offset<fragment<accumulator, M, N, K, T>>(e, ld, true);
      *reinterpret_cast<pair*>(to + at) = pair{f.x[e], f.x[e + 1]};
    }
    return;
  }
  for (int e = 0; e < f.num_elements; ++e)
    to[derive_offset<fragment<accumulator, M, N, K, T>>(e, ld, layout == mem_row_major)] = f.x[e];
}

// Products and sums of 16-bit numbers are taken in float, those of integers in int, of double in double.
template <class T>
struct derive_wide { typedef float type; };
template <>
struct derive_wide<double> { typedef double type; };
template <>
struct derive_wide<int> { typedef int type; };
template <class T>
inline T derive_widen(T v) { return v; }
inline float derive_widen(__half v) { return derive_float(v); }
inline float derive_widen(__nv_bfloat16 v) { return derive_float(v); }

template <class Fragment>
DERIVE_INLINE unsigned derive_flat(unsigned e, unsigned lane) {
  derive_spot at = derive_lane_spot<Fragment>(e, lane);
  return at.row * Fragment::shape::cols + at.col;
}
template <class D, class A, class B, class C>
struct derive_product {
  D* d;
  const A* a;
  const B* b;
  const C* c;
};

template <int M, int N, int K, class D, class A, class B, class C>
DERIVE_UNSEEN void derive_multiply(void** payloads, unsigned mask) {
  using product = derive_product<D, A, B, C>;
  using wide = typename derive_wide<typename C::element_type>::type;
  if (mask != DERIVE_FULL_MASK) return derive_rt_trap(0);
  wide a[M * K], b[K * N], sum[M * N];
  for (int lane = 0; lane < 32; ++lane) {
    const product& p = *static_cast<product*>(payloads[lane]);
    for (int e = 0; e < A::num_elements; ++e) a[derive_flat<A>(e, lane)] = static_cast<wide>(derive_widen(p.a->x[e]));
    for (int e = 0; e < B::num_elements; ++e) b[derive_flat<B>(e, lane)] = static_cast<wide>(derive_widen(p.b->x[e]));
    for (int e = 0; e < C::num_elements; ++e) sum[derive_flat<C>(e, lane)] = static_cast<wide>(derive_widen(p.c->x[e]));
  }
  for (int i = 0; i < M; ++i)
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < N; ++j) sum[i * N + j] += a[i * K + k] * b[k * N + j];
  for (int lane = 0; lane < 32; ++lane)
    for (int e = 0; e < D::num_elements; ++e) {
      D& d = *static_cast<product*>(payloads[lane])->d;
      d.x[e] = static_cast<typename D::element_type>(sum[derive_flat<D>(e, lane)]);
    }
}

template <int M, int N, int K, class TD, class TA, class LA, class TB, class LB, class TC>
inline void mma_sync(fragment<accumulator, M, N, K, TD>& d, const fragment<matrix_a, M, N, K, TA, LA>& a,
                     const fragment<matrix_b, M, N, K, TB, LB>& b, const fragment<accumulator, M, N, K, TC>& c,
                     DERIVE_LINE) {
  using D = fragment<accumulator, M, N, K, TD>;
  using A = fragment<matrix_a, M, N, K, TA, LA>;
  using B = fragment<matrix_b, M, N, K, TB, LB>;
  using C = fragment<accumulator, M, N, K, TC>;
  derive_product<D, A, B, C> payload{&d, &a, &b, &c};
  derive_rt_collective(DERIVE_FULL_MASK, 8, &payload, derive_multiply<M, N, K, D, A, B, C>, line);
}

inline float __float_to_tf32(float v) {
  unsigned bits = derive_bits<unsigned>(v);
  return derive_bits<float>((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

}  // namespace wmma
}  // namespace nvcuda
