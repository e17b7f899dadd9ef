// batchnorm: forward and backward, float32.  Made by `derive emit batchnorm -o DIR`; do not edit.
//
//     param eps = 1e-5
//     M[c] = mean(b, t, X[b,c,t])
//     V[c] = mean(b, t, (X[b,c,t] - M[c])**2)
//     Y[b,c,t] = (X[b,c,t] - M[c])/sqrt(V[c] + eps)*gamma[c] + beta[c]
//
//     dX = diag(gamma ∘ rstd) (dY − dbeta 1ᵀ / (|b| |t|) − diag(dgamma) xhat / (|b| |t|))
//     dgamma = einsum(bct,bct->c; dY, xhat)
//     dbeta = einsum(bct->c; dY)
//     where
//     rstd[c] = rsqrt(eps + V[c])
//     xhat[b,c,t] = rstd[c]*(X[b,c,t] - M[c])
//
// Saved for the backward: M, V.  Computed again: rstd, xhat.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dX over X.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef DYN_SHARED
#define DYN_SHARED(T, name) extern __shared__ T name[]
#endif

__device__ inline float square(float x) { return x*x; }

// The sum of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_sum(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {
        part += threadIdx.y*blockDim.x/32;  // the places of this row's warps
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
    INDEX size_t,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c, count = size_b*size_t;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[b,c,t]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX c = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float m_sum = 0;
    for (INDEX element = threadIdx.x, at = 0; element < stop; element += blockDim.x, at += threads) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float x = X[(b*size_c + c)*size_t + t];
        if (held) x_row[at] = x;
        m_sum += x;
    }
    m_sum = row_sum(m_sum, part[0]);
    const float m = m_sum / (float)size_b / (float)size_t;
    if (writer) M[c] = m;

    float v_sum = 0;
    for (INDEX element = threadIdx.x, at = 0; element < stop; element += blockDim.x, at += threads) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float x = held ? x_row[at] : X[(b*size_c + c)*size_t + t];
        v_sum += square(x - m);
    }
    v_sum = row_sum(v_sum, part[1]);
    const float v = v_sum / (float)size_b / (float)size_t;
    const float rstd = rsqrtf(1e-5f + v);
    if (writer) V[c] = v;
    const float beta_value = beta[c];
    const float gamma_value = gamma[c];

    for (INDEX element = threadIdx.x, at = 0; element < stop; element += blockDim.x, at += threads) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float x = held ? x_row[at] : X[(b*size_c + c)*size_t + t];
        const float xhat = rstd*(x - m);
        Y[(b*size_c + c)*size_t + t] = beta_value + gamma_value*xhat;
    }
}

// rstd[c] = rsqrt(1e-05 + V[c])
// xhat[b,c,t] = rstd[c]*(X[b,c,t] - M[c])
// dgamma[c] = sum(b, t, dY[b,c,t]*xhat[b,c,t])
// dbeta[c] = sum(b, t, dY[b,c,t])
// dX[b,c,t] = gamma[c]*rstd[c]*(dY[b,c,t] - dbeta[c]/size(b)/size(t) - dgamma[c]*xhat[b,c,t]/size(b)/size(t))
extern "C" __global__ void backward_dgamma_dbeta_dX(
    const float* X,  // [b, c, t]
    const float* __restrict__ gamma,  // [c]
    const float* __restrict__ M,  // [c]
    const float* __restrict__ V,  // [c]
    const float* dY,  // [b, c, t]
    float* dX,  // [b, c, t]
    float* __restrict__ dgamma,  // [c]
    float* __restrict__ dbeta,  // [c]
    INDEX size_c,
    INDEX size_b,
    INDEX size_t,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c, count = size_b*size_t;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x - 1)/blockDim.x*threads;
    float* const x_row = kept + thread;  // X[b,c,t]
    float* const dy_row = kept + slots + thread;  // dY[b,c,t]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX c = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;
    const float rstd = rsqrtf(1e-5f + V[c]);
    const float m = M[c];

    float dgamma_value = 0;
    float dbeta_value = 0;
    for (INDEX element = threadIdx.x, at = 0; element < stop; element += blockDim.x, at += threads) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float x = X[(b*size_c + c)*size_t + t];
        if (held) x_row[at] = x;
        const float dy = dY[(b*size_c + c)*size_t + t];
        if (held) dy_row[at] = dy;
        const float xhat = rstd*(x - m);
        dgamma_value += dy*xhat;
        dbeta_value += dy;
    }
    dgamma_value = row_sum(dgamma_value, part[0]);
    dbeta_value = row_sum(dbeta_value, part[1]);
    if (writer) {
        dgamma[c] = dgamma_value;
        dbeta[c] = dbeta_value;
    }
    const float gamma_value = gamma[c];
    const float scale = gamma_value*rstd;
    const float shift = dbeta_value / (float)size_b / (float)size_t;
    const float scale_ = dgamma_value / (float)size_b / (float)size_t;

    for (INDEX element = threadIdx.x, at = 0; element < stop; element += blockDim.x, at += threads) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        const float x = held ? x_row[at] : X[(b*size_c + c)*size_t + t];
        const float dy = held ? dy_row[at] : dY[(b*size_c + c)*size_t + t];
        const float xhat = rstd*(x - m);
        const float dx = scale*(dy - shift - scale_*xhat);
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
