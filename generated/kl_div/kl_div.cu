// kl_div: forward and backward, float32.  Made by `derive emit kl_div -o DIR`; do not edit.
//
//     Z[n] = logsumexp(v, X[n,v])
//     L = mean(n, sum(v, P[n,v]*(log(P[n,v]) - X[n,v] + Z[n])))
//
//     dX = g (diag(P 1) softmax(X) − P)
//     dP = g (Z 1ᵀ + log(P) + 1 − X)
//     where
//     g = dL/size(n)
//
// Saved for the backward: Z.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over X, dX over P.

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

// Z_max[n] = max(v, X[n,v])
// Z_sum[n] = sum(v, where(X[n,v] <= -5e+29, 0, exp(X[n,v] - Z_max[n])))
// Z[n] = where(Z_sum[n] <= 0, -1e+30, Z_max[n] + log(Z_sum[n]))
// L_sum_sum[n] = sum(v, P[n,v]*(Z[n] + log(P[n,v]) - X[n,v]))
extern "C" __global__ void forward_Z_L_sum_sum(
    const float* __restrict__ X,  // [n, v]
    const float* __restrict__ P,  // [n, v]
    float* __restrict__ Z,  // [n]
    float* __restrict__ L_sum_sum,  // [n]
    INDEX size_n,
    INDEX size_v,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n, count = size_v;
    __shared__ float part[3][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[n,v]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX n = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float z_max = -INFINITY;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + n*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                z_max = greater(z_max, x);
            }
        }
    }
    z_max = row_max(z_max, part[0]);

    float z_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + n*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                z_sum += x <= -5e29f ? 0.0f : expf(x - z_max);
            }
        }
    }
    z_sum = row_sum(z_sum, part[1]);
    const float z = z_sum <= 0.0f ? -1e30f : z_max + logf(z_sum);
    if (writer) Z[n] = z;

    float l_sum_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto P_pack = load<4>(P + n*size_v, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + n*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float p = P_pack.lane[lane];
                l_sum_sum += p*(z + logf(p) - x);
            }
        }
    }
    l_sum_sum = row_sum(l_sum_sum, part[2]);
    if (writer) L_sum_sum[n] = l_sum_sum;
}

// L_sum = sum(n, L_sum_sum[n]), of each block
extern "C" __global__ void forward_L_partial(
    const float* __restrict__ L_sum_sum,  // [n]
    float* __restrict__ L_sum_partial,  // [chunks]
    INDEX size_n
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_n;
    float l_sum = 0;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto L_sum_sum_pack = load<4>(L_sum_sum, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < count) {
                l_sum += L_sum_sum_pack.lane[lane];
            }
        }
    }
    __shared__ float part[1][32];
    l_sum = row_sum(l_sum, part[0]);
    if (threadIdx.x == 0) {
        L_sum_partial[blockIdx.x] = l_sum;
    }
}

// L_sum = sum(n, L_sum_sum[n])
// L = L_sum/size(n)
extern "C" __global__ void forward_L(
    const float* __restrict__ L_sum_partial,  // [chunks]
    float* __restrict__ L,  // []
    INDEX size_n,
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
        L[0] = l_sum / (float)size_n;
    }
}

// dX_sum[n] = sum(v, P[n,v])
// dX[n,v] = dL*(dX_sum[n]*exp(X[n,v] - Z[n]) - P[n,v])/size(n)
// dP[n,v] = dL*(1 + Z[n] + log(P[n,v]) - X[n,v])/size(n)
extern "C" __global__ void backward_dX_dP(
    const float* X,  // [n, v]
    const float* P,  // [n, v]
    const float* __restrict__ Z,  // [n]
    const float* __restrict__ dL,  // []
    float* dX,  // [n, v]
    float* __restrict__ dP,  // [n, v]
    INDEX size_n,
    INDEX size_v,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n, count = size_v;
    __shared__ float part[1][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const p_row = kept + thread;  // P[n,v]
    float* const x_row = kept + slots + thread;  // X[n,v]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX n = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const float dl = dL[0];
    const float scale = dl / (float)size_n;
    const float z = Z[n];

    float dx_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto P_pack = load<4>(P + n*size_v, first, count);
        const auto X_pack = load<4>(X + n*size_v, first, count);
        Pack<float, 4> dP_pack;
        if (accumulate) dP_pack = load<4>(dP + n*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float p = P_pack.lane[lane];
                if (held) p_row[at] = p;
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                dx_sum += p;
                const float dp = scale*(1.0f + z + logf(p) - x);
                dP_pack.lane[lane] = accumulate ? dP_pack.lane[lane] + dp : dp;
            }
        }
        store(dP + n*size_v, first, count, dP_pack);
    }
    dx_sum = row_sum(dx_sum, part[0]);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + n*size_v, first, count);
        Pack<float, 4> P_pack;
        if (!held) P_pack = load<4>(P + n*size_v, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + n*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float p = held ? p_row[at] : P_pack.lane[lane];
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float dx = scale*(dx_sum*expf(x - z) - p);
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + n*size_v, first, count, dX_pack);
    }
}
