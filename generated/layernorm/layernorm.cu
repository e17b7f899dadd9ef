// layernorm: forward and backward, float32.  Made by `derive emit layernorm`; do not edit.
//
//     param eps = 1e-5
//     M[b,s] = mean(d, X[b,s,d])
//     V[b,s] = mean(d, (X[b,s,d] - M[b,s])**2)
//     Y[b,s,d] = (X[b,s,d] - M[b,s])/sqrt(V[b,s] + eps)*gamma[d] + beta[d]
//
//     dX = diag(rstd) (g − g 1 1ᵀ / |d| − diag((g ∘ xhat) 1) xhat / |d|)
//     dgamma = (dY ∘ xhat)ᵀ 1
//     dbeta = dYᵀ 1
//
// Saved for the backward: M, V.  Computed again: rstd, xhat.
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

// M_sum[b,s] = sum(d, X[b,s,d])
// M[b,s] = M_sum[b,s]/size(d)
// V_sum[b,s] = sum(d, (X[b,s,d] - M[b,s])**2)
// V[b,s] = V_sum[b,s]/size(d)
// rstd[b,s] = rsqrt(1e-05 + V[b,s])
// xhat[b,s,d] = rstd[b,s]*(X[b,s,d] - M[b,s])
// Y[b,s,d] = beta[d] + gamma[d]*xhat[b,s,d]
extern "C" __global__ void forward_M_V_Y(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    const float* __restrict__ beta,  // [d]
    float* __restrict__ Y,  // [b, s, d]
    float* __restrict__ M,  // [b, s]
    float* __restrict__ V,  // [b, s]
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

    float m_sum = 0;
    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        m_sum = m_sum + X[row*size_d + d];
    }
    m_sum = row_sum(m_sum);
    const float m = m_sum / (float)size_d;
    if (writer) {
        M[row] = m;
    }

    float v_sum = 0;
    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        v_sum = v_sum + square(X[row*size_d + d] - m);
    }
    v_sum = row_sum(v_sum);
    const float v = v_sum / (float)size_d;
    const float rstd_value = rsqrtf(1e-5f + v);
    if (writer) {
        V[row] = v;
    }

    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        Y[row*size_d + d] = beta[d] + gamma[d]*rstd_value*(X[row*size_d + d] - m);
    }
}

// g[b,s,d] = dY[b,s,d]*gamma[d]
// dX_sum[b,s] = sum(d, g[b,s,d])
// dX_sum2[b,s] = sum(d, g[b,s,d]*(X[b,s,d] - M[b,s]))
// dX[b,s,d] = rsqrt(1e-05 + V[b,s])*(g[b,s,d] - dX_sum[b,s]/size(d) - dX_sum2[b,s]*(X[b,s,d] - M[b,s])/size(d)/(1e-05 + V[b,s]))
extern "C" __global__ void backward_dX(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    const float* __restrict__ M,  // [b, s]
    const float* __restrict__ V,  // [b, s]
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
    float dx_sum2 = 0;
    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        const float dy = dY[row*size_d + d];
        const float gamma_value = gamma[d];
        dx_sum = dx_sum + dy*gamma_value;
        dx_sum2 = dx_sum2 + dy*gamma_value*(X[row*size_d + d] - M[row]);
    }
    dx_sum = row_sum(dx_sum);
    dx_sum2 = row_sum(dx_sum2);

    for (INDEX d = threadIdx.x; d < stop; d += blockDim.x) {
        const float v = 1e-5f + V[row];
        const float dx = rsqrtf(v)*(dY[row*size_d + d]*gamma[d] - dx_sum / (float)size_d - dx_sum2*(X[row*size_d + d] - M[row]) / (float)size_d / v);
        dX[row*size_d + d] = accumulate ? dX[row*size_d + d] + dx : dx;
    }
}

// dgamma[d] = sum(b, s, dY[b,s,d]*rsqrt(1e-05 + V[b,s])*(X[b,s,d] - M[b,s])), of each chunk of rows
// dbeta[d] = sum(b, s, dY[b,s,d]), of each chunk of rows
extern "C" __global__ void backward_dgamma_dbeta_partial(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ M,  // [b, s]
    const float* __restrict__ V,  // [b, s]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dgamma_partial,  // [chunks, d]
    float* __restrict__ dbeta_partial,  // [chunks, d]
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
    float dbeta_value = 0;
    if (d < columns) {
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const float dy = dY[row*size_d + d];
            dgamma_value = dgamma_value + dy*rsqrtf(1e-5f + V[row])*(X[row*size_d + d] - M[row]);
            dbeta_value = dbeta_value + dy;
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dgamma_value;
    tile[1][threadIdx.y][threadIdx.x] = dbeta_value;
    __syncthreads();
    if (threadIdx.y == 0 && d < columns) {
        for (int line = 1; line < 8; ++line) {
            dgamma_value += tile[0][line][threadIdx.x];
            dbeta_value += tile[1][line][threadIdx.x];
        }
        dgamma_partial[blockIdx.y*columns + d] = dgamma_value;
        dbeta_partial[blockIdx.y*columns + d] = dbeta_value;
    }
}

// dgamma[d] = sum(b, s, dY[b,s,d]*rsqrt(1e-05 + V[b,s])*(X[b,s,d] - M[b,s]))
// dbeta[d] = sum(b, s, dY[b,s,d])
extern "C" __global__ void backward_dgamma_dbeta(
    const float* __restrict__ dgamma_partial,  // [chunks, d]
    const float* __restrict__ dbeta_partial,  // [chunks, d]
    float* __restrict__ dgamma,  // [d]
    float* __restrict__ dbeta,  // [d]
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
        Sum total_;
        for (INDEX chunk_ = 0; chunk_ < chunks; ++chunk_) {
            total_.add(dbeta_partial[chunk_*size_d + d]);
        }
        dbeta[d] = accumulate ? dbeta[d] + total_.value() : total_.value();
    }
}
