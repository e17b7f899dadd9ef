// What the end of a translation unit tells the runner about its kernels. The compiler reads the types.
#pragma once

#include "vectors.h"

template <class T>
struct derive_element {
  static constexpr bool is_float = __is_same(T, float) || __is_same(T, double);
  static constexpr derive_class of = is_float                 ? DERIVE_FLOAT
                                     : __is_same(T, bool)     ? DERIVE_BOOL
                                     : __is_same(T, char)     ? DERIVE_SIGNED
                                     : __is_same(T, short) || __is_same(T, int) || __is_same(T, long) ||
                                             __is_same(T, long long) || __is_same(T, signed char)
                                         ? DERIVE_SIGNED
                                     : __is_same(T, unsigned char) || __is_same(T, unsigned short) ||
                                             __is_same(T, unsigned) || __is_same(T, unsigned long) ||
                                             __is_same(T, unsigned long long)
                                         ? DERIVE_UNSIGNED
                                         : DERIVE_OTHER;
  static constexpr unsigned scalar_size = sizeof(T);
};
template <>
struct derive_element<void> {
  static constexpr derive_class of = DERIVE_VOID;
  static constexpr unsigned scalar_size = 1;
};

// A vector is known by its scalar: float4* takes an array of float.
#define DERIVE_VECTOR_ELEMENT(V, T)                                  \
  template <>                                                        \
  struct derive_element<V> : derive_element<T> {};
#define DERIVE_VECTOR_ELEMENTS(V, T) \
  DERIVE_VECTOR_ELEMENT(V##1, T)     \
  DERIVE_VECTOR_ELEMENT(V##2, T)     \
  DERIVE_VECTOR_ELEMENT(V##3, T)     \
  DERIVE_VECTOR_ELEMENT(V##4, T)
DERIVE_VECTOR_ELEMENTS(char, signed char)
DERIVE_VECTOR_ELEMENTS(uchar, unsigned char)
DERIVE_VECTOR_ELEMENTS(short, short)
DERIVE_VECTOR_ELEMENTS(ushort, unsigned short)
DERIVE_VECTOR_ELEMENTS(int, int)
DERIVE_VECTOR_ELEMENTS(uint, unsigned)
DERIVE_VECTOR_ELEMENTS(long, long)
DERIVE_VECTOR_ELEMENTS(ulong, unsigned long)
DERIVE_VECTOR_ELEMENTS(longlong, long long)
DERIVE_VECTOR_ELEMENTS(ulonglong, unsigned long long)
DERIVE_VECTOR_ELEMENTS(float, float)
DERIVE_VECTOR_ELEMENTS(double, double)
#undef DERIVE_VECTOR_ELEMENTS

#ifdef DERIVE_FP16
template <>
struct derive_element<__half> {
  static constexpr derive_class of = DERIVE_FLOAT;
  static constexpr unsigned scalar_size = 2;
};
DERIVE_VECTOR_ELEMENT(__half2, __half)
#endif
#ifdef DERIVE_BF16
template <>
struct derive_element<__nv_bfloat16> {
  static constexpr derive_class of = DERIVE_BFLOAT16;
  static constexpr unsigned scalar_size = 2;
};
DERIVE_VECTOR_ELEMENT(__nv_bfloat162, __nv_bfloat16)
#endif

template <class T>
struct derive_plain { typedef T type; static constexpr bool is_const = false; };
template <class T>
struct derive_plain<const T> { typedef typename derive_plain<T>::type type; static constexpr bool is_const = true; };
template <class T>
struct derive_plain<volatile T> { typedef T type; static constexpr bool is_const = false; };
template <class T>
struct derive_plain<const volatile T> { typedef T type; static constexpr bool is_const = true; };

template <class T>
struct derive_size { static constexpr unsigned value = sizeof(T); };
template <>
struct derive_size<void> { static constexpr unsigned value = 1; };

template <class T>
struct derive_describe {
  using element = derive_element<typename derive_plain<T>::type>;
  static constexpr derive_param value{0, 0, element::of, sizeof(T), sizeof(T), element::scalar_size};
};
template <class T>
struct derive_describe<T*> {
  using plain = derive_plain<T>;
  using element = derive_element<typename plain::type>;
  static constexpr derive_param value{1, plain::is_const, element::of, sizeof(T*),
                                      derive_size<typename plain::type>::value, element::scalar_size};
};

template <class T>
struct derive_unqualified { typedef typename derive_plain<T>::type type; };
template <class T>
struct derive_unqualified<T&> { typedef T type; };

template <auto Kernel, class F>
struct derive_caller;
template <auto Kernel, class... A>
struct derive_caller<Kernel, void (*)(A...)> {
  static constexpr unsigned count = sizeof...(A);
  static constexpr derive_param params[count + 1] = {derive_describe<typename derive_unqualified<A>::type>::value..., {}};

  template <unsigned... I>
  struct numbers {};
  template <unsigned N, unsigned... I>
  struct count_up : count_up<N - 1, N - 1, I...> {};
  template <unsigned... I>
  struct count_up<0, I...> { typedef numbers<I...> type; };

  template <unsigned... I>
  DERIVE_UNSEEN static void call_with(void** args, numbers<I...>) {
    Kernel(*static_cast<typename derive_unqualified<A>::type*>(args[I])...);
  }
  DERIVE_UNSEEN static void call(void** args) { call_with(args, typename count_up<count>::type{}); }
};

#define DERIVE_KERNEL(name, parameters, max_threads, ...)                                 \
  derive_kernel {                                                                         \
    name, parameters, derive_caller<&__VA_ARGS__, decltype(&__VA_ARGS__)>::call,          \
        reinterpret_cast<void (*)()>(&__VA_ARGS__),                                       \
        derive_caller<&__VA_ARGS__, decltype(&__VA_ARGS__)>::params,                      \
        derive_caller<&__VA_ARGS__, decltype(&__VA_ARGS__)>::count, max_threads           \
  }
#define DERIVE_MODULE(...)                                                                                   \
  static const derive_kernel derive_internal_kernels[] = {__VA_ARGS__};                                      \
  extern "C" __attribute__((visibility("default"), used)) derive_module derive_module_table = {              \
      DERIVE_ABI, sizeof derive_internal_kernels / sizeof derive_internal_kernels[0],                        \
      derive_internal_kernels,                                                                               \
      reinterpret_cast<derive_state*>(&derive_own_indices), derive_dynamic_shared, sizeof derive_dynamic_shared};
#define DERIVE_VARIABLES(...) \
  __attribute__((used)) static const volatile void* const derive_internal_variables[] = {__VA_ARGS__};
