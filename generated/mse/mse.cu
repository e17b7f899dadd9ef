// mse: forward and backward, float32.  Made by `derive emit mse`; do not edit.
//
//     L = mean(n, o, (Y[n,o] - T[n,o])**2)
//
//     dY = 2 dL (Y − T) / (|n| |o|)
//     dT = −dY
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float square(float x) { return x*x; }

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

// L_sum = sum(n, o, (Y[n,o] - T[n,o])**2)
// L = L_sum/size(n)/size(o)
extern "C" __global__ void forward_L(
    const float* __restrict__ Y,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    float* __restrict__ L,  // []
    INDEX size_n,
    INDEX size_o
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = 1, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_n*size_o : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float l_sum = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        l_sum = l_sum + square(Y[element] - T[element]);
    }
    l_sum = row_sum(l_sum);
    const float l = l_sum / (float)size_n / (float)size_o;
    if (writer) {
        L[0] = l;
    }
}

// dY[n,o] = 2*dL*(Y[n,o] - T[n,o])/size(n)/size(o)
// dT[n,o] = -dY[n,o]
extern "C" __global__ void backward_dY_dT(
    const float* __restrict__ Y,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    const float* __restrict__ dL,  // []
    float* __restrict__ dY,  // [n, o]
    float* __restrict__ dT,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    int accumulate
)
{
    const INDEX count = size_n*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float dy = 2.0f*dL[0]*(Y[element] - T[element]) / (float)size_n / (float)size_o;
        dY[element] = dy;
        const float dt = -dy;
        dT[element] = accumulate ? dT[element] + dt : dt;
    }
}

// into[i] += value[i]: gradients that kernels above read are added to given arrays at the end.
extern "C" __global__ void add_into(const float* __restrict__ value, float* __restrict__ into, INDEX count)
{
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        into[i] = (float)((float)into[i] + (float)value[i]);
    }
}
