// softmax: forward and backward, float32.  Made by `derive emit softmax`; do not edit.
//
//     P[i,j] = softmax(j, S[i,j])
//
//     dS = P ∘ (dP − (P ∘ dP) 1 1ᵀ)
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

// P_max[i] = max(j, S[i,j])
// P_sum[i] = sum(j, where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])))
// P[i,j] = where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])/P_sum[i])
extern "C" __global__ void forward_P(
    const float* __restrict__ S,  // [i, j]
    float* __restrict__ P,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_j : 0;

    float p_max = -INFINITY;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        p_max = fmaxf(p_max, S[i*size_j + j]);
    }
    p_max = row_max(p_max);

    float p_sum = 0;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        const float s = S[i*size_j + j];
        p_sum = p_sum + (s <= -5e29f ? 0.0f : expf(s - p_max));
    }
    p_sum = row_sum(p_sum);

    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        const float s = S[i*size_j + j];
        P[i*size_j + j] = s <= -5e29f ? 0.0f : expf(s - p_max) / p_sum;
    }
}

// dS_sum[i] = sum(j, P[i,j]*dP[i,j])
// dS[i,j] = P[i,j]*(dP[i,j] - dS_sum[i])
extern "C" __global__ void backward_dS(
    const float* __restrict__ P,  // [i, j]
    const float* __restrict__ dP,  // [i, j]
    float* __restrict__ dS,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_j : 0;

    float ds_sum = 0;
    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        ds_sum = ds_sum + P[i*size_j + j]*dP[i*size_j + j];
    }
    ds_sum = row_sum(ds_sum);

    for (INDEX j = threadIdx.x; j < stop; j += blockDim.x) {
        const float ds = P[i*size_j + j]*(dP[i*size_j + j] - ds_sum);
        dS[i*size_j + j] = accumulate ? dS[i*size_j + j] + ds : ds;
    }
}
