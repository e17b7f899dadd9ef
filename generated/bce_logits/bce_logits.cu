// bce_logits: forward and backward, float32.  Made by `derive emit bce_logits`; do not edit.
//
//     L = mean(n, o, log(1 + exp(X[n,o])) - X[n,o]*T[n,o])
//
//     dX = g1 (σ(X) − T)
//     dT = −g1 X
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// log(1 + exp(x)), which neither overflows nor cancels.
__device__ inline float softplus(float x) { return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x))); }

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

// L_sum = sum(n, o, softplus(X[n,o]) - T[n,o]*X[n,o])
// L = L_sum/size(n)/size(o)
extern "C" __global__ void forward_L(
    const float* __restrict__ X,  // [n, o]
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
        const float x = X[element];
        l_sum = l_sum + (softplus(x) - T[element]*x);
    }
    l_sum = row_sum(l_sum);
    const float l = l_sum / (float)size_n / (float)size_o;
    if (writer) {
        L[0] = l;
    }
}

// g1 = dL/size(n)/size(o)
extern "C" __global__ void backward_g1(
    const float* __restrict__ dL,  // []
    float* __restrict__ g1,  // []
    INDEX size_n,
    INDEX size_o
)
{
    const INDEX count = 1;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        g1[0] = dL[0] / (float)size_n / (float)size_o;
    }
}

// dX[n,o] = g1*(sigmoid(X[n,o]) - T[n,o])
// dT[n,o] = -X[n,o]*g1
extern "C" __global__ void backward_dX_dT(
    const float* __restrict__ X,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    const float* __restrict__ g1,  // []
    float* __restrict__ dX,  // [n, o]
    float* __restrict__ dT,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    int accumulate
)
{
    const INDEX count = size_n*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float g1_value = g1[0];
        const float x = X[element];
        const float dx = g1_value*(sigmoid(x) - T[element]);
        dX[element] = accumulate ? dX[element] + dx : dx;
        const float dt = -(x*g1_value);
        dT[element] = accumulate ? dT[element] + dt : dt;
    }
}
