// log_softmax: forward and backward, float32.  Made by `derive emit log_softmax`; do not edit.
//
//     Y[i,j] = log(softmax(j, X[i,j]))
//
//     dX = dY − diag(dY 1) exp(Y)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif

// The sum of x over the threads of a row, known to all of them.
__device__ inline float row_sum(float x) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {  // a row a block: the warps meet in shared memory
        __shared__ float part[32];
        __syncthreads();
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

// The greatest of x over the threads of a row, known to all of them.
__device__ inline float row_max(float x) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = fmaxf(x, other);
    }
    if (blockDim.x > 32) {  // a row a block: the warps meet in shared memory
        __shared__ float part[32];
        __syncthreads();
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

// Y_1_max[i] = max(j, X[i,j])
// Y_1_sum[i] = sum(j, where(X[i,j] <= -5e+29, 0, exp(X[i,j] - Y_1_max[i])))
// Y_1[i] = where(Y_1_max[i] <= -5e+29, -1e+30, Y_1_max[i] + log(Y_1_sum[i]))
// Y[i,j] = X[i,j] - Y_1[i]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_j : 0;

    float y_1_max = -INFINITY;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        y_1_max = fmaxf(y_1_max, X[i*size_j + j]);
    }
    y_1_max = row_max(y_1_max);

    float y_1_sum = 0;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        const float x = X[i*size_j + j];
        y_1_sum = y_1_sum + (x <= -5e29f ? 0.0f : expf(x - y_1_max));
    }
    y_1_sum = row_sum(y_1_sum);
    const float y_1 = y_1_max <= -5e29f ? -1e30f : y_1_max + logf(y_1_sum);

    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        Y[i*size_j + j] = X[i*size_j + j] - y_1;
    }
}

// dX_sum[i] = sum(j, dY[i,j])
// dX[i,j] = dY[i,j] - dX_sum[i]*exp(Y[i,j])
extern "C" __global__ void backward_dX(
    const float* __restrict__ Y,  // [i, j]
    const float* __restrict__ dY,  // [i, j]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_j : 0;

    float dx_sum = 0;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        dx_sum = dx_sum + dY[i*size_j + j];
    }
    dx_sum = row_sum(dx_sum);

    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        const float dx = dY[i*size_j + j] - dx_sum*expf(Y[i*size_j + j]);
        dX[i*size_j + j] = accumulate ? dX[i*size_j + j] + dx : dx;
    }
}
