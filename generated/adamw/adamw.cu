// adamw: forward and backward, float32.  Made by `derive emit adamw -o DIR`; do not edit.
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
//     deta = −(dW_newᵀ (decay W + g ∘ mhat))
//     dc1 = g5 (gᵀ g2)
//     dc2 = −0.5 eta sum(g7) / c2
//     where
//     root[i] = sqrt(V_new[i]/c2)
//     g4[i] = eps + root[i]
//     g[i] = 1/g4[i]
//     g5 = eta/c1
//     dM_new_total[i] = dM_new[i] - dW_new[i]*g[i]*g5
//     mhat[i] = M_new[i]/c1
//     g1[i] = 1/g4[i]**2
//     g2[i] = dW_new[i]*mhat[i]
//     g7[i] = g1[i]*g2[i]*root[i]
//     dV_new_total[i] = dV_new[i] + 0.5*eta*g7[i]/V_new[i]
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: mhat, root.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// Neighbours of an array, moved 16 bytes at once.
template <class T, int lanes = 16/sizeof(T)> struct alignas(16) Pack { T lane[lanes]; };

// Whether an array is aligned to 16 bytes at `first` and has so many elements from there on.
template <int lanes, class T> __device__ inline bool whole(const T* array, INDEX first, INDEX count) {
    return first + lanes <= count && (unsigned long long)(array + first)%16 == 0;
}

// The elements from `first` on: 16 bytes at once where that can be, else one by one; past the end, the first again.
template <int lanes, class T> __device__ inline Pack<T, lanes> load(const T* from, INDEX first, INDEX count) {
    if (whole<lanes>(from, first, count)) return *(const Pack<T, lanes>*)(from + first);
    Pack<T, lanes> pack;
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) pack.lane[lane] = from[first + lane < count ? first + lane : first];
    return pack;
}

// The first `count - first` lanes of a pack, and no more.
template <class T, int lanes> __device__ inline void store(T* into, INDEX first, INDEX count, const Pack<T, lanes>& pack) {
    if (whole<lanes>(into, first, count)) {
        *(Pack<T, lanes>*)(into + first) = pack;
        return;
    }
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
        if (first + lane < count) into[first + lane] = pack.lane[lane];
    }
}

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

// M_new[i] = 0.1*G[i] + 0.9*M[i]
// mhat[i] = M_new[i]/c1
// V_new[i] = 0.001*G[i]**2 + 0.999*V[i]
// root[i] = sqrt(V_new[i]/c2)
// W_new[i] = W[i] - eta*(0.01*W[i] + mhat[i]/(1e-08 + root[i]))
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
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto M_pack = load<4>(M, first, count);
        const auto G_pack = load<4>(G, first, count);
        const auto V_pack = load<4>(V, first, count);
        const auto W_pack = load<4>(W, first, count);
        Pack<float, 4> W_new_pack;
        Pack<float, 4> M_new_pack;
        Pack<float, 4> V_new_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float g = G_pack.lane[lane];
            const float m_new = 0.1f*g + 0.9f*M_pack.lane[lane];
            M_new_pack.lane[lane] = m_new;
            const float mhat = m_new / c1[0];
            const float v_new = 0.001f*square(g) + 0.999f*V_pack.lane[lane];
            V_new_pack.lane[lane] = v_new;
            const float root = sqrtf(v_new / c2[0]);
            const float w = W_pack.lane[lane];
            W_new_pack.lane[lane] = w - eta[0]*(0.01f*w + mhat / (1e-8f + root));
        }
        store(W_new, first, count, W_new_pack);
        store(M_new, first, count, M_new_pack);
        store(V_new, first, count, V_new_pack);
    }
}

// mhat[i] = M_new[i]/c1
// root[i] = sqrt(V_new[i]/c2)
// g4[i] = 1e-08 + root[i]
// g1[i] = g4[i]**(-2)
// g[i] = 1/g4[i]
// deta_sum = sum(i, dW_new[i]*(0.01*W[i] + g[i]*mhat[i])), of each block
// g2[i] = dW_new[i]*mhat[i]
// g7[i] = g1[i]*g2[i]*root[i]
// dV_new_total[i] = dV_new[i] + 0.5*eta*g7[i]/V_new[i]
// dM_new_total[i] = dM_new[i] - dW_new[i]*eta*g[i]/c1
// dM[i] = 0.9*dM_new_total[i]
// dG[i] = 0.1*dM_new_total[i] + 0.002*G[i]*dV_new_total[i]
// dV[i] = 0.999*dV_new_total[i]
// dW[i] = dW_new[i]*(1 - 0.01*eta)
// dc1_sum = sum(i, g[i]*g2[i]), of each block
// dc2_sum = sum(i, g7[i]), of each block
extern "C" __global__ void backward_deta_dM_dG(
    const float* __restrict__ G,  // [i]
    const float* __restrict__ W,  // [i]
    const float* __restrict__ eta,  // []
    const float* __restrict__ c1,  // []
    const float* __restrict__ c2,  // []
    const float* __restrict__ M_new,  // [i]
    const float* __restrict__ V_new,  // [i]
    const float* __restrict__ dW_new,  // [i]
    const float* __restrict__ dM_new,  // [i]
    const float* __restrict__ dV_new,  // [i]
    float* __restrict__ dM,  // [i]
    float* __restrict__ dG,  // [i]
    float* __restrict__ dV,  // [i]
    float* __restrict__ dW,  // [i]
    float* __restrict__ deta_sum_partial,  // [chunks]
    float* __restrict__ dc1_sum_partial,  // [chunks]
    float* __restrict__ dc2_sum_partial,  // [chunks]
    INDEX size_i,
    int accumulate
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_i;
    const float c1_value = c1[0];
    const float c2_value = c2[0];
    const float eta_value = eta[0];
    const float scale = eta_value / c1_value;
    const float scale_ = 1.0f - 0.01f*eta_value;
    float deta_sum = 0;
    float dc1_sum = 0;
    float dc2_sum = 0;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto M_new_pack = load<4>(M_new, first, count);
        const auto V_new_pack = load<4>(V_new, first, count);
        const auto dW_new_pack = load<4>(dW_new, first, count);
        const auto W_pack = load<4>(W, first, count);
        const auto dV_new_pack = load<4>(dV_new, first, count);
        const auto dM_new_pack = load<4>(dM_new, first, count);
        Pack<float, 4> dM_pack;
        if (accumulate) dM_pack = load<4>(dM, first, count);
        const auto G_pack = load<4>(G, first, count);
        Pack<float, 4> dG_pack;
        if (accumulate) dG_pack = load<4>(dG, first, count);
        Pack<float, 4> dV_pack;
        if (accumulate) dV_pack = load<4>(dV, first, count);
        Pack<float, 4> dW_pack;
        if (accumulate) dW_pack = load<4>(dW, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX i = first + lane;
            if (i < count) {
                const float mhat = M_new_pack.lane[lane] / c1_value;
                const float v_new = V_new_pack.lane[lane];
                const float root = sqrtf(v_new / c2_value);
                const float g4 = 1e-8f + root;
                const float g1 = 1.0f / square(g4);
                const float g = 1.0f / g4;
                const float dw_new = dW_new_pack.lane[lane];
                deta_sum += dw_new*(0.01f*W_pack.lane[lane] + g*mhat);
                const float g2 = dw_new*mhat;
                const float g7 = g1*g2*root;
                const float dv_new_total = dV_new_pack.lane[lane] + 0.5f*eta_value*g7 / v_new;
                const float dm_new_total = dM_new_pack.lane[lane] - scale*(dw_new*g);
                const float dm = 0.9f*dm_new_total;
                dM_pack.lane[lane] = accumulate ? dM_pack.lane[lane] + dm : dm;
                const float dg = 0.1f*dm_new_total + 0.002f*G_pack.lane[lane]*dv_new_total;
                dG_pack.lane[lane] = accumulate ? dG_pack.lane[lane] + dg : dg;
                const float dv = 0.999f*dv_new_total;
                dV_pack.lane[lane] = accumulate ? dV_pack.lane[lane] + dv : dv;
                const float dw = dw_new*scale_;
                dW_pack.lane[lane] = accumulate ? dW_pack.lane[lane] + dw : dw;
                dc1_sum += g*g2;
                dc2_sum += g7;
            }
        }
        store(dM, first, count, dM_pack);
        store(dG, first, count, dG_pack);
        store(dV, first, count, dV_pack);
        store(dW, first, count, dW_pack);
    }
    __shared__ float part[3][32];
    deta_sum = row_sum(deta_sum, part[0]);
    dc1_sum = row_sum(dc1_sum, part[1]);
    dc2_sum = row_sum(dc2_sum, part[2]);
    if (threadIdx.x == 0) {
        deta_sum_partial[blockIdx.x] = deta_sum;
        dc1_sum_partial[blockIdx.x] = dc1_sum;
        dc2_sum_partial[blockIdx.x] = dc2_sum;
    }
}

// deta_sum = sum(i, dW_new[i]*(0.01*W[i] + g[i]*mhat[i]))
// deta = -deta_sum
// dc1_sum = sum(i, g[i]*g2[i])
// dc1 = dc1_sum*eta/c1
// dc2_sum = sum(i, g7[i])
// dc2 = (-0.5)*dc2_sum*eta/c2
extern "C" __global__ void backward_deta_dM_dG_sum(
    const float* __restrict__ deta_sum_partial,  // [chunks]
    const float* __restrict__ dc1_sum_partial,  // [chunks]
    const float* __restrict__ dc2_sum_partial,  // [chunks]
    const float* __restrict__ eta,  // []
    const float* __restrict__ c1,  // []
    const float* __restrict__ c2,  // []
    float* __restrict__ deta,  // []
    float* __restrict__ dc1,  // []
    float* __restrict__ dc2,  // []
    INDEX chunks,
    int accumulate
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = chunks;
    float deta_sum = 0;
    float dc1_sum = 0;
    float dc2_sum = 0;
    for (INDEX chunk = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; chunk < count; chunk += (INDEX)gridDim.x*blockDim.x) {
        deta_sum += deta_sum_partial[chunk];
        dc1_sum += dc1_sum_partial[chunk];
        dc2_sum += dc2_sum_partial[chunk];
    }
    __shared__ float part[3][32];
    deta_sum = row_sum(deta_sum, part[0]);
    dc1_sum = row_sum(dc1_sum, part[1]);
    dc2_sum = row_sum(dc2_sum, part[2]);
    if (threadIdx.x == 0) {
        const float deta_value = -deta_sum;
        deta[0] = accumulate ? deta[0] + deta_value : deta_value;
        const float eta_value = eta[0];
        const float dc1_value = dc1_sum*eta_value / c1[0];
        dc1[0] = accumulate ? dc1[0] + dc1_value : dc1_value;
        const float dc2_value = -0.5f*dc2_sum*eta_value / c2[0];
        dc2[0] = accumulate ? dc2[0] + dc2_value : dc2_value;
    }
}
