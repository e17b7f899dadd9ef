// mean: forward and backward, float32.  Made by `derive emit mean`; do not edit.
//
//     Y[i] = mean(j, X[i,j])
//
//     dX = dY 1ᵀ / |j|
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
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

// Y_sum[i] = sum(j, X[i,j])
// Y[i] = Y_sum[i]/size(j)
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i]
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_j : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float y_sum = 0;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        y_sum = y_sum + X[i*size_j + j];
    }
    y_sum = row_sum(y_sum);
    const float y = y_sum / (float)size_j;
    if (writer) {
        Y[i] = y;
    }
}

// dX[i,j] = dY[i]/size(j)
extern "C" __global__ void backward_dX(
    const float* __restrict__ dY,  // [i]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX i = element/size_j;
        const float dx = dY[i] / (float)size_j;
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
