// log_softmax: forward and backward, float32.  Made by `derive emit log_softmax -o DIR`; do not edit.
//
//     Y[i,j] = log(softmax(j, X[i,j]))
//
//     dX = dY − diag(dY 1) exp(Y)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dX over Y.

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

// Y_lse_max[i] = max(j, X[i,j])
// Y_lse_sum[i] = sum(j, where(X[i,j] <= -5e+29, 0, exp(X[i,j] - Y_lse_max[i])))
// Y_lse[i] = where(Y_lse_sum[i] <= 0, -1e+30, Y_lse_max[i] + log(Y_lse_sum[i]))
// Y[i,j] = X[i,j] - Y_lse[i]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
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
    float* const x_row = kept + thread;  // X[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float y_lse_max = -INFINITY;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                y_lse_max = greater(y_lse_max, x);
            }
        }
    }
    y_lse_max = row_max(y_lse_max, part[0]);

    float y_lse_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                y_lse_sum += x <= -5e29f ? 0.0f : expf(x - y_lse_max);
            }
        }
    }
    y_lse_sum = row_sum(y_lse_sum, part[1]);
    const float y_lse = y_lse_sum <= 0.0f ? -1e30f : y_lse_max + logf(y_lse_sum);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> Y_pack;
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                Y_pack.lane[lane] = x - y_lse;
            }
        }
        store(Y + i*size_j, first, count, Y_pack);
    }
}

// dX_sum[i] = sum(j, dY[i,j])
// dX[i,j] = dY[i,j] - dX_sum[i]*exp(Y[i,j])
extern "C" __global__ void backward_dX(
    const float* Y,  // [i, j]
    const float* dY,  // [i, j]
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
    float* const dy_row = kept + thread;  // dY[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float dx_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto dY_pack = load<4>(dY + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float dy = dY_pack.lane[lane];
                if (held) dy_row[at] = dy;
                dx_sum += dy;
            }
        }
    }
    dx_sum = row_sum(dx_sum, part[0]);

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto Y_pack = load<4>(Y + i*size_j, first, count);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + i*size_j, first, count);
        Pack<float, 4> dY_pack;
        if (!held) dY_pack = load<4>(dY + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float dy = held ? dy_row[at] : dY_pack.lane[lane];
                const float dx = dy - dx_sum*expf(Y_pack.lane[lane]);
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + i*size_j, first, count, dX_pack);
    }
}
