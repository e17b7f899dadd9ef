// batchnorm: forward and backward, float32.  Made by `derive emit batchnorm`; do not edit.
//
//     param eps = 1e-5
//     M[c] = mean(b, t, X[b,c,t])
//     V[c] = mean(b, t, (X[b,c,t] - M[c])**2)
//     Y[b,c,t] = (X[b,c,t] - M[c])/sqrt(V[c] + eps)*gamma[c] + beta[c]
//
//     dX = diag(gamma ∘ rstd) (dY − dbeta 1ᵀ / (|b| |t|) − diag(dgamma) xhat / (|b| |t|))
//     dgamma = einsum(bct,bct->c; dY, xhat)
//     dbeta = einsum(bct->c; dY)
//
// Saved for the backward: M, V.  Computed again: rstd, xhat.
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

// M_sum[c] = sum(b, t, X[b,c,t])
// M[c] = M_sum[c]/size(b)/size(t)
// V_sum[c] = sum(b, t, (X[b,c,t] - M[c])**2)
// V[c] = V_sum[c]/size(b)/size(t)
// rstd[c] = rsqrt(1e-05 + V[c])
// xhat[b,c,t] = rstd[c]*(X[b,c,t] - M[c])
// Y[b,c,t] = beta[c] + gamma[c]*xhat[b,c,t]
extern "C" __global__ void forward_M_V_Y(
    const float* __restrict__ X,  // [b, c, t]
    const float* __restrict__ gamma,  // [c]
    const float* __restrict__ beta,  // [c]
    float* __restrict__ Y,  // [b, c, t]
    float* __restrict__ M,  // [c]
    float* __restrict__ V,  // [c]
    INDEX size_c,
    INDEX size_b,
    INDEX size_t
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX c = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_b*size_t : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float m_sum = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        m_sum = m_sum + X[(b*size_c + c)*size_t + t];
    }
    m_sum = row_sum(m_sum);
    const float m = m_sum / (float)size_b / (float)size_t;
    if (writer) {
        M[c] = m;
    }

    float v_sum = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        v_sum = v_sum + square(X[(b*size_c + c)*size_t + t] - m);
    }
    v_sum = row_sum(v_sum);
    const float v = v_sum / (float)size_b / (float)size_t;
    const float rstd_value = rsqrtf(1e-5f + v);
    if (writer) {
        V[c] = v;
    }

    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        Y[(b*size_c + c)*size_t + t] = beta[c] + gamma[c]*rstd_value*(X[(b*size_c + c)*size_t + t] - m);
    }
}

// dgamma_sum[c] = sum(b, t, dY[b,c,t]*(X[b,c,t] - M[c]))
// dgamma[c] = dgamma_sum[c]*rsqrt(1e-05 + V[c])
// dbeta[c] = sum(b, t, dY[b,c,t])
// dX[b,c,t] = gamma[c]*rsqrt(1e-05 + V[c])*(dY[b,c,t] - dbeta[c]/size(b)/size(t) - dgamma[c]*rsqrt(1e-05 + V[c])*(X[b,c,t] - M[c])/size(b)/size(t))
extern "C" __global__ void backward_dgamma_dbeta_dX(
    const float* __restrict__ X,  // [b, c, t]
    const float* __restrict__ gamma,  // [c]
    const float* __restrict__ M,  // [c]
    const float* __restrict__ V,  // [c]
    const float* __restrict__ dY,  // [b, c, t]
    float* __restrict__ dX,  // [b, c, t]
    float* __restrict__ dgamma,  // [c]
    float* __restrict__ dbeta,  // [c]
    INDEX size_c,
    INDEX size_b,
    INDEX size_t,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX c = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_b*size_t : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dgamma_sum_value = 0;
    float dbeta_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float dy = dY[(b*size_c + c)*size_t + t];
        dgamma_sum_value = dgamma_sum_value + dy*(X[(b*size_c + c)*size_t + t] - M[c]);
        dbeta_value = dbeta_value + dy;
    }
    dgamma_sum_value = row_sum(dgamma_sum_value);
    dbeta_value = row_sum(dbeta_value);
    if (writer) {
        dbeta[c] = dbeta_value;
    }
    const float dgamma_value = dgamma_sum_value*rsqrtf(1e-5f + V[c]);
    if (writer) {
        dgamma[c] = dgamma_value;
    }

    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float dx = gamma[c]*rsqrtf(1e-5f + V[c])*(dY[(b*size_c + c)*size_t + t] - dbeta_value / (float)size_b / (float)size_t - dgamma_value*rsqrtf(1e-5f + V[c])*(X[(b*size_c + c)*size_t + t] - M[c]) / (float)size_b / (float)size_t);
        dX[(b*size_c + c)*size_t + t] = accumulate ? dX[(b*size_c + c)*size_t + t] + dx : dx;
    }
}

// into[i] += value[i]: gradients that kernels above read are added to given arrays at the end.
extern "C" __global__ void add_into(const float* __restrict__ value, float* __restrict__ into, INDEX count)
{
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        into[i] = (float)((float)into[i] + (float)value[i]);
    }
}
