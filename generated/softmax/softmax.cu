// softmax: forward and backward, float32.  Made by `derive emit softmax -o DIR`; do not edit.
//
//     P[i,j] = softmax(j, S[i,j])
//
//     dS = P ∘ (dP − (P ∘ dP) 1 1ᵀ)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dS over dP, dS over P.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif
#ifndef DYN_SHARED
#define DYN_SHARED(T, name) extern __shared__ T name[]
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

// The greater of two; NaN if one of them is.
__device__ inline float greater(float x, float y) { return x > y || x != x ? x : y; }

// The sum of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_sum(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {
        part += threadIdx.y*blockDim.x/32;  // the places of this row's warps
        if (threadIdx.x % 32 == 0) part[threadIdx.x/32] = x;
        __syncthreads();
        x = part[0];
        for (int warp = 1; warp < blockDim.x/32; ++warp) {
            const float other = part[warp];
            x = x + other;
        }
    }
    return x;
}

// The greatest of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_max(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = greater(x, other);
    }
    if (blockDim.x > 32) {
        part += threadIdx.y*blockDim.x/32;  // the places of this row's warps
        if (threadIdx.x % 32 == 0) part[threadIdx.x/32] = x;
        __syncthreads();
        x = part[0];
        for (int warp = 1; warp < blockDim.x/32; ++warp) {
            const float other = part[warp];
            x = greater(x, other);
        }
    }
    return x;
}

// P_max[i] = max(j, S[i,j])
// P_sum[i] = sum(j, where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])))
// P[i,j] = where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])/P_sum[i])
extern "C" __global__ void forward_P(
    const float* __restrict__ S,  // [i, j]
    float* __restrict__ P,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, count = size_j;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const s_row = kept + thread;  // S[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float p_max = -INFINITY;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto S_pack = load<4>(S + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float s = S_pack.lane[lane];
                if (held) s_row[at] = s;
                p_max = greater(p_max, s);
            }
        }
    }
    p_max = row_max(p_max, part[0]);

    float p_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> S_pack;
        if (!held) S_pack = load<4>(S + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float s = held ? s_row[at] : S_pack.lane[lane];
                p_sum += s <= -5e29f ? 0.0f : expf(s - p_max);
            }
        }
    }
    p_sum = row_sum(p_sum, part[1]);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> P_pack;
        Pack<float, 4> S_pack;
        if (!held) S_pack = load<4>(S + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float s = held ? s_row[at] : S_pack.lane[lane];
                P_pack.lane[lane] = s <= -5e29f ? 0.0f : expf(s - p_max) / p_sum;
            }
        }
        store(P + i*size_j, first, count, P_pack);
    }
}

// dS_sum[i] = sum(j, P[i,j]*dP[i,j])
// dS[i,j] = P[i,j]*(dP[i,j] - dS_sum[i])
extern "C" __global__ void backward_dS(
    const float* P,  // [i, j]
    const float* dP,  // [i, j]
    float* dS,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, count = size_j;
    __shared__ float part[1][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const p_row = kept + thread;  // P[i,j]
    float* const dp_row = kept + slots + thread;  // dP[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float ds_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto P_pack = load<4>(P + i*size_j, first, count);
        const auto dP_pack = load<4>(dP + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float p = P_pack.lane[lane];
                if (held) p_row[at] = p;
                const float dp = dP_pack.lane[lane];
                if (held) dp_row[at] = dp;
                ds_sum += p*dp;
            }
        }
    }
    ds_sum = row_sum(ds_sum, part[0]);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> dS_pack;
        if (accumulate) dS_pack = load<4>(dS + i*size_j, first, count);
        Pack<float, 4> P_pack;
        if (!held) P_pack = load<4>(P + i*size_j, first, count);
        Pack<float, 4> dP_pack;
        if (!held) dP_pack = load<4>(dP + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float p = held ? p_row[at] : P_pack.lane[lane];
                const float dp = held ? dp_row[at] : dP_pack.lane[lane];
                const float ds = p*(dp - ds_sum);
                dS_pack.lane[lane] = accumulate ? dS_pack.lane[lane] + ds : ds;
            }
        }
        store(dS + i*size_j, first, count, dS_pack);
    }
}
