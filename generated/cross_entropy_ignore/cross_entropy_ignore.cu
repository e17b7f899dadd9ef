// cross_entropy_ignore: forward and backward, float32.  Made by `derive emit cross_entropy_ignore -o DIR`; do not edit.
//
//     N = sum(b, s, where(labels[b,s] >= 0, 1, 0))
//     L = sum(b, s, where(labels[b,s] >= 0, logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]], 0))/maximum(N, 1)
//
//     dX = g1 softmax(X) ∘ [labels ≥ 0] − g1 [v = labels and labels ≥ 0]
//     where
//     g1 = dL/maximum(1, N)
//
// Saved for the backward: N, L_lse.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over X.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif
#ifndef labels_t
#define labels_t int  // element of labels: int or long long, as the wrapper finds it
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

// L_lse_max[b,s] = max(v, X[b,s,v])
// L_lse_sum[b,s] = sum(v, where(X[b,s,v] <= -5e+29, 0, exp(X[b,s,v] - L_lse_max[b,s])))
// L_lse[b,s] = where(L_lse_sum[b,s] <= 0, -1e+30, L_lse_max[b,s] + log(L_lse_sum[b,s]))
extern "C" __global__ void forward_L_lse(
    const float* __restrict__ X,  // [b, s, v]
    float* __restrict__ L_lse,  // [b, s]
    INDEX size_b,
    INDEX size_s,
    INDEX size_v,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, count = size_v;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[b,s,v]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float l_lse_max = -INFINITY;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + row*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                l_lse_max = greater(l_lse_max, x);
            }
        }
    }
    l_lse_max = row_max(l_lse_max, part[0]);

    float l_lse_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + row*size_v, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX v = first + lane, at = own + lane*threads;
            if (v < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                l_lse_sum += x <= -5e29f ? 0.0f : expf(x - l_lse_max);
            }
        }
    }
    l_lse_sum = row_sum(l_lse_sum, part[1]);
    const float l_lse = l_lse_sum <= 0.0f ? -1e30f : l_lse_max + logf(l_lse_sum);
    if (writer) L_lse[row] = l_lse;
}

// N = sum(b, s, where(labels[b,s] >= 0, 1, 0)), of each block
// L_sum = sum(b, s, where(labels[b,s] >= 0, L_lse[b,s] - X[b,s,labels[b,s]], 0)), of each block
extern "C" __global__ void forward_N_L_partial(
    const labels_t* __restrict__ labels,  // [b, s]
    const float* __restrict__ X,  // [b, s, v]
    const float* __restrict__ L_lse,  // [b, s]
    float* __restrict__ N_partial,  // [chunks]
    float* __restrict__ L_sum_partial,  // [chunks]
    INDEX size_b,
    INDEX size_s,
    INDEX size_v
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_b*size_s;
    float n = 0;
    float l_sum = 0;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX labels_value = labels[element];
        if (labels_value >= 0) n += 1.0f;
        if (labels_value >= 0) l_sum += L_lse[element] - X[element*size_v + labels_value];
    }
    __shared__ float part[2][32];
    n = row_sum(n, part[0]);
    l_sum = row_sum(l_sum, part[1]);
    if (threadIdx.x == 0) {
        N_partial[blockIdx.x] = n;
        L_sum_partial[blockIdx.x] = l_sum;
    }
}

// N = sum(b, s, where(labels[b,s] >= 0, 1, 0))
// L_sum = sum(b, s, where(labels[b,s] >= 0, L_lse[b,s] - X[b,s,labels[b,s]], 0))
// L = L_sum/maximum(1, N)
extern "C" __global__ void forward_N_L(
    const float* __restrict__ N_partial,  // [chunks]
    const float* __restrict__ L_sum_partial,  // [chunks]
    float* __restrict__ L,  // []
    float* __restrict__ N,  // []
    INDEX chunks
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = chunks;
    float n = 0;
    float l_sum = 0;
    for (INDEX chunk = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; chunk < count; chunk += (INDEX)gridDim.x*blockDim.x) {
        n += N_partial[chunk];
        l_sum += L_sum_partial[chunk];
    }
    __shared__ float part[2][32];
    n = row_sum(n, part[0]);
    l_sum = row_sum(l_sum, part[1]);
    if (threadIdx.x == 0) {
        N[0] = n;
        L[0] = l_sum / greater(1.0f, n);
    }
}

// dX[b,s,v] = where(labels[b,s] >= 0, dL*exp(X[b,s,v] - L_lse[b,s])/maximum(1, N), 0) + where(v == labels[b,s] and labels[b,s] >= 0, -dL/maximum(1, N), 0)
extern "C" __global__ void backward_dX(
    const labels_t* __restrict__ labels,  // [b, s]
    const float* X,  // [b, s, v]
    const float* __restrict__ N,  // []
    const float* __restrict__ L_lse,  // [b, s]
    const float* __restrict__ dL,  // []
    float* dX,  // [b, s, v]
    INDEX size_b,
    INDEX size_s,
    INDEX size_v,
    int accumulate
)
{
    const INDEX count = size_b*size_s*size_v;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX v = element%size_v;
                const INDEX labels_value = labels[element/size_v];
                const float dx = (labels_value >= 0 ? dL[0]*expf(X_pack.lane[lane] - L_lse[element/size_v]) / greater(1.0f, N[0]) : 0.0f) + (v == labels_value && labels_value >= 0 ? -(dL[0] / greater(1.0f, N[0])) : 0.0f);
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX, first, count, dX_pack);
    }
}
