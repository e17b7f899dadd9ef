// rmsnorm: forward and backward, float32.  Made by `derive emit rmsnorm`; do not edit.
//
//     param eps = 1e-6
//     R[b,s] = rsqrt(mean(d, X[b,s,d]**2) + eps)
//     Y[b,s,d] = X[b,s,d]*R[b,s]*gamma[d]
//
//     dX = g diag(gamma) − diag(R³ ∘ (X ∘ dY) gamma) X / |d|
//     dgamma = (X ∘ g)ᵀ 1
//
// Saved for the backward: R_1.  Computed again: R.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// A running sum in two levels: 32 terms at a time, so that a long sum stays accurate.
struct Sum {
    float high = 0, low = 0;
    int terms = 0;
    __device__ void add(float x) {
        low += x;
        if (++terms == 32) {
            high += low;
            low = 0;
            terms = 0;
        }
    }
    __device__ float value() const { return high + low; }
};

__device__ inline float square(float x) { return x*x; }

__device__ inline float cube(float x) { return x*x*x; }

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

// R_1_sum[b,s] = sum(d, X[b,s,d]**2)
// R_1[b,s] = 1e-06 + R_1_sum[b,s]/size(d)
// R[b,s] = rsqrt(R_1[b,s])
// Y[b,s,d] = R[b,s]*X[b,s,d]*gamma[d]
extern "C" __global__ void forward_R_1_Y(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    float* __restrict__ Y,  // [b, s, d]
    float* __restrict__ R_1,  // [b, s]
    INDEX size_b,
    INDEX size_s,
    INDEX size_d
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_d : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float r_1_sum = 0;
    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        r_1_sum = r_1_sum + square(X[row*size_d + d]);
    }
    r_1_sum = row_sum(r_1_sum);
    const float r_1 = 1e-6f + r_1_sum / (float)size_d;
    const float r = rsqrtf(r_1);
    if (writer) {
        R_1[row] = r_1;
    }

    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        Y[row*size_d + d] = r*X[row*size_d + d]*gamma[d];
    }
}

// dX_sum[b,s] = sum(d, X[b,s,d]*dY[b,s,d]*gamma[d])
// dX[b,s,d] = dY[b,s,d]*gamma[d]*rsqrt(R_1[b,s]) - X[b,s,d]*dX_sum[b,s]*R_1[b,s]**(-1.5)/size(d)
extern "C" __global__ void backward_dX(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    const float* __restrict__ R_1,  // [b, s]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dX,  // [b, s, d]
    INDEX size_b,
    INDEX size_s,
    INDEX size_d,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_d : 0;

    float dx_sum = 0;
    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        dx_sum = dx_sum + X[row*size_d + d]*dY[row*size_d + d]*gamma[d];
    }
    dx_sum = row_sum(dx_sum);

    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        const float r_1 = R_1[row];
        const float dx = dY[row*size_d + d]*gamma[d]*rsqrtf(r_1) - X[row*size_d + d]*dx_sum*cube(rsqrtf(r_1)) / (float)size_d;
        dX[row*size_d + d] = accumulate ? dX[row*size_d + d] + dx : dx;
    }
}

// dgamma[d] = sum(b, s, X[b,s,d]*dY[b,s,d]*rsqrt(R_1[b,s])), of each chunk of rows
extern "C" __global__ void backward_dgamma_partial(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ R_1,  // [b, s]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dgamma_partial,  // [chunks, d]
    INDEX size_b,
    INDEX size_s,
    INDEX size_d,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_d, d = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_s, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dgamma_value = 0;
    if (d < columns) {
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            dgamma_value = dgamma_value + X[row*size_d + d]*dY[row*size_d + d]*rsqrtf(R_1[row]);
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dgamma_value;
    __syncthreads();
    if (threadIdx.y == 0 && d < columns) {
        for (int line = 1; line < 8; ++line) {
            dgamma_value += tile[0][line][threadIdx.x];
        }
        dgamma_partial[blockIdx.y*columns + d] = dgamma_value;
    }
}

// dgamma[d] = sum(b, s, X[b,s,d]*dY[b,s,d]*rsqrt(R_1[b,s]))
extern "C" __global__ void backward_dgamma(
    const float* __restrict__ dgamma_partial,  // [chunks, d]
    float* __restrict__ dgamma,  // [d]
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_d;
    for (INDEX d = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; d < count; d += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dgamma_partial[chunk*size_d + d]);
        }
        dgamma[d] = accumulate ? dgamma[d] + total.value() : total.value();
    }
}
