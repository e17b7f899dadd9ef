// momentum: forward and backward, float32.  Made by `derive emit momentum`; do not edit.
//
//     param mu = 0.9
//     M_new[i] = mu*M[i] + G[i]
//     W_new[i] = W[i] - eta*M_new[i]
//     output W_new, M_new
//
//     dM = mu dM_new_total
//     dG = dM_new_total
//     dW = dW_new
//     deta = −(M_newᵀ dW_new)
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

// M_new[i] = G[i] + 0.9*M[i]
// W_new[i] = W[i] - M_new[i]*eta
extern "C" __global__ void forward_M_new_W_new(
    const float* __restrict__ M,  // [i]
    const float* __restrict__ G,  // [i]
    const float* __restrict__ W,  // [i]
    const float* __restrict__ eta,  // []
    float* __restrict__ W_new,  // [i]
    float* __restrict__ M_new,  // [i]
    INDEX size_i
)
{
    const INDEX count = size_i;
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        const float m_new = G[i] + 0.9f*M[i];
        M_new[i] = m_new;
        W_new[i] = W[i] - m_new*eta[0];
    }
}

// dM_new_total[i] = dM_new[i] - dW_new[i]*eta
// dM[i] = 0.9*dM_new_total[i]
// dG[i] = dM_new_total[i]
extern "C" __global__ void backward_dM_dG(
    const float* __restrict__ eta,  // []
    const float* __restrict__ dW_new,  // [i]
    const float* __restrict__ dM_new,  // [i]
    float* __restrict__ dM,  // [i]
    float* __restrict__ dG,  // [i]
    INDEX size_i,
    int accumulate
)
{
    const INDEX count = size_i;
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        const float dm_new_total = dM_new[i] - dW_new[i]*eta[0];
        const float dm = 0.9f*dm_new_total;
        dM[i] = accumulate ? dM[i] + dm : dm;
        dG[i] = accumulate ? dG[i] + dm_new_total : dm_new_total;
    }
}

// deta_sum = sum(i, M_new[i]*dW_new[i])
// deta = -deta_sum
extern "C" __global__ void backward_deta(
    const float* __restrict__ M_new,  // [i]
    const float* __restrict__ dW_new,  // [i]
    float* __restrict__ deta,  // []
    INDEX size_i,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = 1, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_i : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float deta_sum_value = 0;
    for (INDEX i = threadIdx.x; i < stop; i += blockDim.x) {
        deta_sum_value = deta_sum_value + M_new[i]*dW_new[i];
    }
    deta_sum_value = row_sum(deta_sum_value);
    const float deta_value = -deta_sum_value;
    if (writer) {
        deta[0] = accumulate ? deta[0] + deta_value : deta_value;
    }
}

// dW[i] = dW_new[i]
extern "C" __global__ void backward_dW(
    const float* __restrict__ dW_new,  // [i]
    float* __restrict__ dW,  // [i]
    INDEX size_i,
    int accumulate
)
{
    const INDEX count = size_i;
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        const float dw = dW_new[i];
        dW[i] = accumulate ? dW[i] + dw : dw;
    }
}
