// swiglu: forward and backward, float32.  Made by `derive emit swiglu -o DIR`; do not edit.
//
//     Y[n,h] = A[n,h]*sigmoid(A[n,h])*B[n,h]
//
//     dA = B ∘ dY ∘ (s + g ∘ (1 − s))
//     dB = dY ∘ g
//     where
//     s[n,h] = sigmoid(A[n,h])
//     g[n,h] = A[n,h]*s[n,h]
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: s.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dA over dY, dA over A, dA over B, dB over dY, dB over A, dB over B.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// Neighbours of an array, moved 16 bytes at once.
template <class T, int lanes = 16/sizeof(T)> struct alignas(16) Pack { T lane[lanes]; };

// Whether an array is aligned to 16 bytes at `first` and has so many elements from there on.
template <int lanes, class T> __device__ inline bool whole(const T* array, INDEX first, INDEX count) {
    return first + lanes <= count && (unsigned long long)(array + first)%16 == 0;
}

// The elements from `first` on: 16 bytes at once where that can be, else one by one; past the end, the first again.
template <int lanes, class T> __device__ inline Pack<T, lanes> load(const T* from, INDEX first, INDEX count) {
    if (whole<lanes>(from, first, count)) return *(const Pack<T, lanes>*)(from + first);
    Pack<T, lanes> pack;
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) pack.lane[lane] = from[first + lane < count ? first + lane : first];
    return pack;
}

// The first `count - first` lanes of a pack, and no more.
template <class T, int lanes> __device__ inline void store(T* into, INDEX first, INDEX count, const Pack<T, lanes>& pack) {
    if (whole<lanes>(into, first, count)) {
        *(Pack<T, lanes>*)(into + first) = pack;
        return;
    }
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
        if (first + lane < count) into[first + lane] = pack.lane[lane];
    }
}

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// s[n,h] = sigmoid(A[n,h])
// Y[n,h] = A[n,h]*B[n,h]*s[n,h]
extern "C" __global__ void forward_Y(
    const float* __restrict__ A,  // [n, h]
    const float* __restrict__ B,  // [n, h]
    float* __restrict__ Y,  // [n, h]
    INDEX size_n,
    INDEX size_h
)
{
    const INDEX count = size_n*size_h;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto A_pack = load<4>(A, first, count);
        const auto B_pack = load<4>(B, first, count);
        Pack<float, 4> Y_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float a = A_pack.lane[lane];
            const float s = sigmoid(a);
            Y_pack.lane[lane] = a*B_pack.lane[lane]*s;
        }
        store(Y, first, count, Y_pack);
    }
}

// s[n,h] = sigmoid(A[n,h])
// g[n,h] = A[n,h]*s[n,h]
// dA[n,h] = B[n,h]*dY[n,h]*(s[n,h] + g[n,h]*(1 - s[n,h]))
// dB[n,h] = dY[n,h]*g[n,h]
extern "C" __global__ void backward_dA_dB(
    const float* A,  // [n, h]
    const float* B,  // [n, h]
    const float* dY,  // [n, h]
    float* dA,  // [n, h]
    float* dB,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    int accumulate
)
{
    const INDEX count = size_n*size_h;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto A_pack = load<4>(A, first, count);
        const auto B_pack = load<4>(B, first, count);
        const auto dY_pack = load<4>(dY, first, count);
        Pack<float, 4> dA_pack;
        if (accumulate) dA_pack = load<4>(dA, first, count);
        Pack<float, 4> dB_pack;
        if (accumulate) dB_pack = load<4>(dB, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float a = A_pack.lane[lane];
            const float s = sigmoid(a);
            const float g = a*s;
            const float dy = dY_pack.lane[lane];
            const float da = B_pack.lane[lane]*dy*(s + g*(1.0f - s));
            dA_pack.lane[lane] = accumulate ? dA_pack.lane[lane] + da : da;
            const float db = dy*g;
            dB_pack.lane[lane] = accumulate ? dB_pack.lane[lane] + db : db;
        }
        store(dA, first, count, dA_pack);
        store(dB, first, count, dB_pack);
    }
}
