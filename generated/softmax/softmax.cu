// softmax: forward and backward, float32.  Made by `derive emit softmax -o DIR`; do not edit.
//
//     P[i,j] = softmax(j, S[i,j])
//
//     dS = P ∘ (dP − (P ∘ dP) 1 1ᵀ)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dS over dP, dS over P.

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

// P_max[i] = max(j, S[i,j])
// P_sum[i] = sum(j, where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])))
// P[i,j] = where(S[i,j] <= -5e+29, 0, exp(S[i,j] - P_max[i])/P_sum[i])
extern "C" __global__ void forward_P(
    const float* __restrict__ S,  // [i, j]
    float* __restrict__ P,  // [i, j]
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
    float* const s_row = kept + thread;  // S[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float p_max = -INFINITY;
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float s = S[i*size_j + j];
        if (held) s_row[at] = s;
        p_max = fmaxf(p_max, s);
    }
    p_max = row_max(p_max, part[0]);

    float p_sum = 0;
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float s = held ? s_row[at] : S[i*size_j + j];
        p_sum += s <= -5e29f ? 0.0f : expf(s - p_max);
    }
    p_sum = row_sum(p_sum, part[1]);

    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float s = held ? s_row[at] : S[i*size_j + j];
        P[i*size_j + j] = s <= -5e29f ? 0.0f : expf(s - p_max) / p_sum;
    }
}

// dS_sum[i] = sum(j, P[i,j]*dP[i,j])
// dS[i,j] = P[i,j]*(dP[i,j] - dS_sum[i])
extern "C" __global__ void backward_dS(
    const float* P,  // [i, j]
    const float* dP,  // [i, j]
    float* dS,  // [i, j]
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
    const INDEX slots = (count + blockDim.x - 1)/blockDim.x*threads;
    float* const p_row = kept + thread;  // P[i,j]
    float* const dp_row = kept + slots + thread;  // dP[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;

    float ds_sum = 0;
    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float p = P[i*size_j + j];
        if (held) p_row[at] = p;
        const float dp = dP[i*size_j + j];
        if (held) dp_row[at] = dp;
        ds_sum += p*dp;
    }
    ds_sum = row_sum(ds_sum, part[0]);

    for (INDEX j = threadIdx.x, at = 0; j < stop; j += blockDim.x, at += threads) {
        const float p = held ? p_row[at] : P[i*size_j + j];
        const float dp = held ? dp_row[at] : dP[i*size_j + j];
        const float ds = p*(dp - ds_sum);
        dS[i*size_j + j] = accumulate ? dS[i*size_j + j] + ds : ds;
    }
}
