// kl_div: forward and backward, float32.  Made by `derive emit kl_div`; do not edit.
//
//     Z[n] = logsumexp(v, X[n,v])
//     L = mean(n, sum(v, P[n,v]*(log(P[n,v]) - X[n,v] + Z[n])))
//
//     dX = g (diag(P 1) exp(X − Z 1ᵀ) − P)
//     dP = g (Z 1ᵀ + log(P) + 1 − X)
//
// Saved for the backward: Z.
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

// Z_max[n] = max(v, X[n,v])
// Z_sum[n] = sum(v, where(X[n,v] <= -5e+29, 0, exp(X[n,v] - Z_max[n])))
// Z[n] = where(Z_max[n] <= -5e+29, -1e+30, Z_max[n] + log(Z_sum[n]))
extern "C" __global__ void forward_Z(
    const float* __restrict__ X,  // [n, v]
    float* __restrict__ Z,  // [n]
    INDEX size_n,
    INDEX size_v
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX n = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_v : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float z_max = -INFINITY;
    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        z_max = fmaxf(z_max, X[n*size_v + v]);
    }
    z_max = row_max(z_max);

    float z_sum = 0;
    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        const float x = X[n*size_v + v];
        z_sum = z_sum + (x <= -5e29f ? 0.0f : expf(x - z_max));
    }
    z_sum = row_sum(z_sum);
    const float z = z_max <= -5e29f ? -1e30f : z_max + logf(z_sum);
    if (writer) {
        Z[n] = z;
    }
}

// L_1 = sum(n, v, P[n,v]*(Z[n] + log(P[n,v]) - X[n,v]))
// L = L_1/size(n)
extern "C" __global__ void forward_L(
    const float* __restrict__ X,  // [n, v]
    const float* __restrict__ P,  // [n, v]
    const float* __restrict__ Z,  // [n]
    float* __restrict__ L,  // []
    INDEX size_n,
    INDEX size_v
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = 1, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_n*size_v : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float l_1 = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX n = element/size_v;
        const float p = P[element];
        l_1 = l_1 + p*(Z[n] + logf(p) - X[element]);
    }
    l_1 = row_sum(l_1);
    const float l = l_1 / (float)size_n;
    if (writer) {
        L[0] = l;
    }
}

// g = dL/size(n)
extern "C" __global__ void backward_g(
    const float* __restrict__ dL,  // []
    float* __restrict__ g,  // []
    INDEX size_n
)
{
    const INDEX count = 1;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        g[0] = dL[0] / (float)size_n;
    }
}

// dX_sum[n] = sum(v, P[n,v])
// dX[n,v] = g*(dX_sum[n]*exp(X[n,v] - Z[n]) - P[n,v])
// dP[n,v] = g*(1 + Z[n] + log(P[n,v]) - X[n,v])
extern "C" __global__ void backward_dX_dP(
    const float* __restrict__ X,  // [n, v]
    const float* __restrict__ P,  // [n, v]
    const float* __restrict__ Z,  // [n]
    const float* __restrict__ g,  // []
    float* __restrict__ dX,  // [n, v]
    float* __restrict__ dP,  // [n, v]
    INDEX size_n,
    INDEX size_v,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX n = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_v : 0;

    float dx_sum = 0;
    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        const float p = P[n*size_v + v];
        const float dp = g[0]*(1.0f + Z[n] + logf(p) - X[n*size_v + v]);
        dP[n*size_v + v] = accumulate ? dP[n*size_v + v] + dp : dp;
        dx_sum = dx_sum + p;
    }
    dx_sum = row_sum(dx_sum);

    for (INDEX v = threadIdx.x; v < stop; v += blockDim.x) {
        const float dx = g[0]*(dx_sum*expf(X[n*size_v + v] - Z[n]) - P[n*size_v + v]);
        dX[n*size_v + v] = accumulate ? dX[n*size_v + v] + dx : dx;
    }
}
