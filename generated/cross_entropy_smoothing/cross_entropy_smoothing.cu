// cross_entropy_smoothing: forward and backward, float32.  Made by `derive emit cross_entropy_smoothing`; do not edit.
//
//     param alpha = 0.1
//     L = mean(b, s, logsumexp(v, X[b,s,v]) - (1 - alpha)*X[b,s,labels[b,s]] - alpha*mean(v, X[b,s,v]))
//
//     dX = dL (exp(X − L_1 1ᵀ) + (−(1 − alpha)) [v = labels] − alpha / |v|) / (|b| |s|)
//
// Saved for the backward: L_1.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif
#ifndef labels_t
#define labels_t int  // element of labels: int or long long, as the wrapper finds it
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

// L_1_max[b,s] = max(v, X[b,s,v])
// L_1_sum[b,s] = sum(v, where(X[b,s,v] <= -5e+29, 0, exp(X[b,s,v] - L_1_max[b,s])))
// L_1[b,s] = where(L_1_max[b,s] <= -5e+29, -1e+30, L_1_max[b,s] + log(L_1_sum[b,s]))
// L_sum[b,s] = sum(v, X[b,s,v])
extern "C" __global__ void forward_L_1_L_sum(
    const float* __restrict__ X,  // [b, s, v]
    float* __restrict__ L_1,  // [b, s]
    float* __restrict__ L_sum,  // [b, s]
    INDEX size_b,
    INDEX size_s,
    INDEX size_v
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_v : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float l_1_max = -INFINITY;
    float l_sum = 0;
    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        const float x = X[row*size_v + v];
        l_1_max = fmaxf(l_1_max, x);
        l_sum = l_sum + x;
    }
    l_1_max = row_max(l_1_max);
    l_sum = row_sum(l_sum);
    if (writer) {
        L_sum[row] = l_sum;
    }

    float l_1_sum = 0;
    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        const float x = X[row*size_v + v];
        l_1_sum = l_1_sum + (x <= -5e29f ? 0.0f : expf(x - l_1_max));
    }
    l_1_sum = row_sum(l_1_sum);
    const float l_1 = l_1_max <= -5e29f ? -1e30f : l_1_max + logf(l_1_sum);
    if (writer) {
        L_1[row] = l_1;
    }
}

// L_sum2 = sum(b, s, L_1[b,s] - 0.9*X[b,s,labels[b,s]] - 0.1*L_sum[b,s]/size(v))
// L = L_sum2/size(b)/size(s)
extern "C" __global__ void forward_L(
    const float* __restrict__ X,  // [b, s, v]
    const labels_t* __restrict__ labels,  // [b, s]
    const float* __restrict__ L_1,  // [b, s]
    const float* __restrict__ L_sum,  // [b, s]
    float* __restrict__ L,  // []
    INDEX size_b,
    INDEX size_s,
    INDEX size_v
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = 1, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_b*size_s : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float l_sum2 = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        l_sum2 = l_sum2 + (L_1[element] - 0.9f*X[element*size_v + labels[element]] - 0.1f*L_sum[element] / (float)size_v);
    }
    l_sum2 = row_sum(l_sum2);
    const float l = l_sum2 / (float)size_b / (float)size_s;
    if (writer) {
        L[0] = l;
    }
}

// dX[b,s,v] = dL*(exp(X[b,s,v] - L_1[b,s]) + where(v == labels[b,s], -0.9, 0) - 0.1/size(v))/size(b)/size(s)
extern "C" __global__ void backward_dX(
    const float* __restrict__ X,  // [b, s, v]
    const labels_t* __restrict__ labels,  // [b, s]
    const float* __restrict__ L_1,  // [b, s]
    const float* __restrict__ dL,  // []
    float* __restrict__ dX,  // [b, s, v]
    INDEX size_b,
    INDEX size_s,
    INDEX size_v,
    int accumulate
)
{
    const INDEX count = size_b*size_s*size_v;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX v = element%size_v;
        const float dx = dL[0]*(expf(X[element] - L_1[element/size_v]) + (v == labels[element/size_v] ? -0.9f : 0.0f) - 0.1f / (float)size_v) / (float)size_b / (float)size_s;
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
