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

// The sum of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_sum(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {
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
        x = fmaxf(x, other);
    }
    if (blockDim.x > 32) {
        if (threadIdx.x % 32 == 0) part[threadIdx.x/32] = x;
        __syncthreads();
        x = part[0];
        for (int warp = 1; warp < blockDim.x/32; ++warp) {
            const float other = part[warp];
            x = fmaxf(x, other);
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
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float x = X[i*size_j + j];
        if (held) x_row[at] = x;
        y_lse_max = fmaxf(y_lse_max, x);
    }
    y_lse_max = row_max(y_lse_max, part[0]);

    float y_lse_sum = 0;
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float x = held ? x_row[at] : X[i*size_j + j];
        y_lse_sum += x <= -5e29f ? 0.0f : expf(x - y_lse_max);
    }
    y_lse_sum = row_sum(y_lse_sum, part[1]);
    const float y_lse = y_lse_sum <= 0.0f ? -1e30f : y_lse_max + logf(y_lse_sum);

    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float x = held ? x_row[at] : X[i*size_j + j];
        Y[i*size_j + j] = x - y_lse;
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
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float dy = dY[i*size_j + j];
        if (held) dy_row[at] = dy;
        dx_sum += dy;
    }
    dx_sum = row_sum(dx_sum, part[0]);

    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float dy = held ? dy_row[at] : dY[i*size_j + j];
        const float dx = dy - dx_sum*expf(Y[i*size_j + j]);
        dX[i*size_j + j] = accumulate ? dX[i*size_j + j] + dx : dx;
    }
}
