// adamw: forward and backward, float32.  Made by `derive emit adamw`; do not edit.
//
//     param beta1 = 0.9
//     param beta2 = 0.999
//     param eps = 1e-8
//     param decay = 0.01
//     M_new[i] = beta1*M[i] + (1 - beta1)*G[i]
//     V_new[i] = beta2*V[i] + (1 - beta2)*G[i]**2
//     W_new[i] = W[i] - eta*(M_new[i]/c1/(sqrt(V_new[i]/c2) + eps) + decay*W[i])
//     output W_new, M_new, V_new
//
//     dM = beta1 dM_new_total
//     dG = (1 − beta1) dM_new_total + 2 (1 − beta2) (G ∘ dV_new_total)
//     dV = beta2 dV_new_total
//     dW = (1 − decay eta) dW_new
//     deta = −(dW_newᵀ (decay W + g ∘ m_newhat))
//     dc1 = g5 (gᵀ g2)
//     dc2 = −0.5 eta sum(g7) / c2
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: m_newhat, root.
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

// M_new[i] = 0.1*G[i] + 0.9*M[i]
// m_newhat[i] = M_new[i]/c1
// V_new[i] = 0.001*G[i]**2 + 0.999*V[i]
// root[i] = sqrt(V_new[i]/c2)
// W_new[i] = W[i] - eta*(0.01*W[i] + m_newhat[i]/(1e-08 + root[i]))
extern "C" __global__ void forward_M_new_V_new_W_new(
    const float* __restrict__ M,  // [i]
    const float* __restrict__ G,  // [i]
    const float* __restrict__ V,  // [i]
    const float* __restrict__ W,  // [i]
    const float* __restrict__ eta,  // []
    const float* __restrict__ c1,  // []
    const float* __restrict__ c2,  // []
    float* __restrict__ W_new,  // [i]
    float* __restrict__ M_new,  // [i]
    float* __restrict__ V_new,  // [i]
    INDEX size_i
)
{
    const INDEX count = size_i;
    for (INDEX i = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; i < count; i += (INDEX)gridDim.x*blockDim.x) {
        const float g = G[i];
        const float m_new = 0.1f*g + 0.9f*M[i];
        M_new[i] = m_new;
        const float m_newhat_value = m_new / c1[0];
        const float v_new = 0.001f*square(g) + 0.999f*V[i];
        V_new[i] = v_new;
        const float root_value = sqrtf(v_new / c2[0]);
        const float w = W[i];
        W_new[i] = w - eta[0]*(0.01f*w + m_newhat_value / (1e-8f + root_value));
    }
}

// g5 = eta/c1
extern "C" __global__ void backward_g5(
    const float* __restrict__ eta,  // []
    const float* __restrict__ c1,  // []
    float* __restrict__ g5  // []
)
{
    const INDEX count = 1;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        g5[0] = eta[0] / c1[0];
    }
}

// g4[i] = 1e-08 + sqrt(V_new[i]/c2)
// g1[i] = g4[i]**(-2)
// g[i] = 1/g4[i]
// deta_sum = sum(i, dW_new[i]*(0.01*W[i] + M_new[i]*g[i]/c1))
// deta = -deta_sum
extern "C" __global__ void backward_g1_g_deta(
    const float* __restrict__ W,  // [i]
    const float* __restrict__ c1,  // []
    const float* __restrict__ c2,  // []
    const float* __restrict__ M_new,  // [i]
    const float* __restrict__ V_new,  // [i]
    const float* __restrict__ dW_new,  // [i]
    float* __restrict__ deta,  // []
    float* __restrict__ g1,  // [i]
    float* __restrict__ g,  // [i]
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
        const float v = 1e-8f + sqrtf(V_new[i] / c2[0]);
        g1[i] = 1.0f / square(v);
        const float v_ = 1.0f / v;
        g[i] = v_;
        deta_sum_value = deta_sum_value + dW_new[i]*(0.01f*W[i] + M_new[i] / c1[0] / v);
    }
    deta_sum_value = row_sum(deta_sum_value);
    const float deta_value = -deta_sum_value;
    if (writer) {
        deta[0] = accumulate ? deta[0] + deta_value : deta_value;
    }
}

// g2[i] = M_new[i]*dW_new[i]/c1
// g7[i] = g1[i]*g2[i]*sqrt(V_new[i]/c2)
// dV_new_total[i] = dV_new[i] + 0.5*eta*g7[i]/V_new[i]
// dM_new_total[i] = dM_new[i] - dW_new[i]*g[i]*g5
// dM[i] = 0.9*dM_new_total[i]
// dG[i] = 0.1*dM_new_total[i] + 0.002*G[i]*dV_new_total[i]
// dV[i] = 0.999*dV_new_total[i]
// dW[i] = dW_new[i]*(1 - 0.01*eta)
// dc1_sum = sum(i, g[i]*g2[i])
// dc1 = dc1_sum*g5
// dc2_sum = sum(i, g7[i])
// dc2 = (-0.5)*dc2_sum*eta/c2
extern "C" __global__ void backward_dM_dG_dV(
    const float* __restrict__ G,  // [i]
    const float* __restrict__ eta,  // []
    const float* __restrict__ c1,  // []
    const float* __restrict__ c2,  // []
    const float* __restrict__ M_new,  // [i]
    const float* __restrict__ V_new,  // [i]
    const float* __restrict__ dW_new,  // [i]
    const float* __restrict__ dM_new,  // [i]
    const float* __restrict__ dV_new,  // [i]
    const float* __restrict__ g5,  // []
    const float* __restrict__ g1,  // [i]
    const float* __restrict__ g,  // [i]
    float* __restrict__ dM,  // [i]
    float* __restrict__ dG,  // [i]
    float* __restrict__ dV,  // [i]
    float* __restrict__ dW,  // [i]
    float* __restrict__ dc1,  // []
    float* __restrict__ dc2,  // []
    INDEX size_i,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = 1, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_i : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dc1_sum_value = 0;
    float dc2_sum_value = 0;
    for (INDEX i = threadIdx.x; i < stop; i += blockDim.x) {
        const float dw_new = dW_new[i];
        const float g_value = g[i];
        const float v = dM_new[i] - dw_new*g_value*g5[0];
        const float dm = 0.9f*v;
        dM[i] = accumulate ? dM[i] + dm : dm;
        const float m_new = M_new[i];
        const float eta_value = eta[0];
        const float g1_value = g1[i];
        const float v_new = V_new[i];
        const float v_ = sqrtf(v_new / c2[0]);
        const float v_2 = dV_new[i] + 0.5f*m_new*dw_new*eta_value*g1_value*v_ / v_new / c1[0];
        const float dg = 0.1f*v + 0.002f*G[i]*v_2;
        dG[i] = accumulate ? dG[i] + dg : dg;
        const float dv = 0.999f*v_2;
        dV[i] = accumulate ? dV[i] + dv : dv;
        const float dw = dw_new*(1.0f - 0.01f*eta_value);
        dW[i] = accumulate ? dW[i] + dw : dw;
        dc1_sum_value = dc1_sum_value + m_new*dw_new*g_value / c1[0];
        dc2_sum_value = dc2_sum_value + m_new*dw_new*g1_value*v_ / c1[0];
    }
    dc1_sum_value = row_sum(dc1_sum_value);
    dc2_sum_value = row_sum(dc2_sum_value);
    const float dc1_value = dc1_sum_value*g5[0];
    const float dc2_value = -0.5f*dc2_sum_value*eta[0] / c2[0];
    if (writer) {
        dc1[0] = accumulate ? dc1[0] + dc1_value : dc1_value;
        dc2[0] = accumulate ? dc2[0] + dc2_value : dc2_value;
    }
}
