// max: forward and backward, float32.  Made by `derive emit max -o DIR`; do not edit.
//
//     Y[i] = max(j, X[i,j])
//
//     dX = where(X = Y, (dY ∘ ([X = Y] 1)⁻¹) 1ᵀ, 0)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over X.

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

// Y[i] = max(j, X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i]
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, count = size_j;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float y = -INFINITY;
    for (INDEX first = threadIdx.x*4; first < stop; first += blockDim.x*4) {
        const auto X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane;
            if (j < count) {
                y = greater(y, X_pack.lane[lane]);
            }
        }
    }
    y = row_max(y, part[0]);
    if (writer) Y[i] = y;
}

// dX_sum[i] = sum(j, where(X[i,j] == Y[i], 1, 0))
// dX[i,j] = where(X[i,j] == Y[i], dY[i]/dX_sum[i], 0)
extern "C" __global__ void backward_dX(
    const float* X,  // [i, j]
    const float* __restrict__ Y,  // [i]
    const float* __restrict__ dY,  // [i]
    float* dX,  // [i, j]
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
    float* const x_row = kept + thread;  // X[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const float y = Y[i];

    float dx_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                if (x == y) dx_sum += 1.0f;
            }
        }
    }
    dx_sum = row_sum(dx_sum, part[0]);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + i*size_j, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float dx = x == y ? dY[i] / dx_sum : 0.0f;
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + i*size_j, first, count, dX_pack);
    }
}
