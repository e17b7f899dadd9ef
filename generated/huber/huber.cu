// huber: forward and backward, float32.  Made by `derive emit huber -o DIR`; do not edit.
//
//     param delta = 1
//     L = mean(n, o, where(abs(Y[n,o] - T[n,o]) <= delta, 0.5*(Y[n,o] - T[n,o])**2,
//                         delta*(abs(Y[n,o] - T[n,o]) - 0.5*delta)))
//
//     dY = g2 where(abs(c) ≤ delta, c, g)
//     dT = g2 where(abs(c) ≤ delta, −c, −g)
//     where
//     c[n,o] = Y[n,o] - T[n,o]
//     g[n,o] = delta*(where(c[n,o] > 0, 1, 0) - where(c[n,o] < 0, 1, 0))
//     g2 = dL/size(n)/size(o)
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: c.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dY over Y, dY over T, dT over Y, dT over T.

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

__device__ inline float square(float x) { return x*x; }

__device__ inline float sign(float x) { return (float)((x > 0) - (x < 0)); }

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

// c[n,o] = Y[n,o] - T[n,o]
// L_sum = sum(n, o, where(abs(c[n,o]) <= 1, 0.5*c[n,o]**2, abs(c[n,o]) - 0.5)), of each block
extern "C" __global__ void forward_L_partial(
    const float* __restrict__ Y,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    float* __restrict__ L_sum_partial,  // [chunks]
    INDEX size_n,
    INDEX size_o
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_n*size_o;
    float l_sum = 0;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto Y_pack = load<4>(Y, first, count);
        const auto T_pack = load<4>(T, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const float c = Y_pack.lane[lane] - T_pack.lane[lane];
                const float abs_ = fabsf(c);
                l_sum += abs_ <= 1.0f ? 0.5f*square(c) : abs_ - 0.5f;
            }
        }
    }
    __shared__ float part[1][32];
    l_sum = row_sum(l_sum, part[0]);
    if (threadIdx.x == 0) {
        L_sum_partial[blockIdx.x] = l_sum;
    }
}

// L_sum = sum(n, o, where(abs(c[n,o]) <= 1, 0.5*c[n,o]**2, abs(c[n,o]) - 0.5))
// L = L_sum/size(n)/size(o)
extern "C" __global__ void forward_L(
    const float* __restrict__ L_sum_partial,  // [chunks]
    float* __restrict__ L,  // []
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = chunks;
    float l_sum = 0;
    for (INDEX chunk = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; chunk < count; chunk += (INDEX)gridDim.x*blockDim.x) {
        l_sum += L_sum_partial[chunk];
    }
    __shared__ float part[1][32];
    l_sum = row_sum(l_sum, part[0]);
    if (threadIdx.x == 0) {
        L[0] = l_sum / (float)size_n / (float)size_o;
    }
}

// c[n,o] = Y[n,o] - T[n,o]
// g[n,o] = sign(c[n,o])
// dY[n,o] = dL*where(abs(c[n,o]) <= 1, c[n,o], g[n,o])/size(n)/size(o)
// dT[n,o] = dL*where(abs(c[n,o]) <= 1, -c[n,o], -g[n,o])/size(n)/size(o)
extern "C" __global__ void backward_dY_dT(
    const float* Y,  // [n, o]
    const float* T,  // [n, o]
    const float* __restrict__ dL,  // []
    float* dY,  // [n, o]
    float* dT,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    int accumulate
)
{
    const INDEX count = size_n*size_o;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto Y_pack = load<4>(Y, first, count);
        const auto T_pack = load<4>(T, first, count);
        Pack<float, 4> dY_pack;
        if (accumulate) dY_pack = load<4>(dY, first, count);
        Pack<float, 4> dT_pack;
        if (accumulate) dT_pack = load<4>(dT, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float c = Y_pack.lane[lane] - T_pack.lane[lane];
            const float g = sign(c);
            const float dl = dL[0];
            const float dy = dl*(fabsf(c) <= 1.0f ? c : g) / (float)size_n / (float)size_o;
            dY_pack.lane[lane] = accumulate ? dY_pack.lane[lane] + dy : dy;
            const float dt = dl*(fabsf(c) <= 1.0f ? -c : -g) / (float)size_n / (float)size_o;
            dT_pack.lane[lane] = accumulate ? dT_pack.lane[lane] + dt : dt;
        }
        store(dY, first, count, dY_pack);
        store(dT, first, count, dT_pack);
    }
}
