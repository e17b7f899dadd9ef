// huber: forward and backward, float32.  Made by `derive emit huber`; do not edit.
//
//     param delta = 1
//     L = mean(n, o, where(abs(Y[n,o] - T[n,o]) <= delta, 0.5*(Y[n,o] - T[n,o])**2,
//                         delta*(abs(Y[n,o] - T[n,o]) - 0.5*delta)))
//
//     dY = g2 where(abs(c) ≤ delta, c, g)
//     dT = g2 where(abs(c) ≤ delta, −c, −g)
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: c.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float square(float x) { return x*x; }

__device__ inline float sign(float x) { return (float)((x > 0) - (x < 0)); }

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

// c[n,o] = Y[n,o] - T[n,o]
// L_sum = sum(n, o, where(abs(c[n,o]) <= 1, 0.5*c[n,o]**2, abs(c[n,o]) - 0.5))
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
        const float v = Y[element] - T[element];
        const float abs_ = fabsf(v);
        l_sum = l_sum + (abs_ <= 1.0f ? 0.5f*square(v) : abs_ - 0.5f);
    }
    l_sum = row_sum(l_sum);
    const float l = l_sum / (float)size_n / (float)size_o;
    if (writer) {
        L[0] = l;
    }
}

// g2 = dL/size(n)/size(o)
extern "C" __global__ void backward_g2(
    const float* __restrict__ dL,  // []
    float* __restrict__ g2,  // []
    INDEX size_n,
    INDEX size_o
)
{
    const INDEX count = 1;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        g2[0] = dL[0] / (float)size_n / (float)size_o;
    }
}

// g[n,o] = sign(Y[n,o] - T[n,o])
// dY[n,o] = g2*where(abs(Y[n,o] - T[n,o]) <= 1, Y[n,o] - T[n,o], g[n,o])
// dT[n,o] = g2*where(abs(Y[n,o] - T[n,o]) <= 1, -(Y[n,o] - T[n,o]), -g[n,o])
extern "C" __global__ void backward_dY_dT(
    const float* __restrict__ Y,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    const float* __restrict__ g2,  // []
    float* __restrict__ dY,  // [n, o]
    float* __restrict__ dT,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    int accumulate
)
{
    const INDEX count = size_n*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float v = Y[element] - T[element];
        const float g_value = sign(v);
        const float g2_value = g2[0];
        const float dy = g2_value*(fabsf(v) <= 1.0f ? v : g_value);
        dY[element] = accumulate ? dY[element] + dy : dy;
        const float dt = g2_value*(fabsf(v) <= 1.0f ? -v : -g_value);
        dT[element] = accumulate ? dT[element] + dt : dt;
    }
}
