// sgd: forward and backward, float32.  Made by `derive emit sgd -o DIR`; do not edit.
//
//     W_new[i] = W[i] - eta*G[i]
//
//     dW = dW_new
//     deta = −(Gᵀ dW_new)
//     dG = −eta dW_new
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dW over dW_new, dW over G, deta over eta.

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

// W_new[i] = W[i] - G[i]*eta
extern "C" __global__ void forward_W_new(
    const float* __restrict__ W,  // [i]
    const float* __restrict__ eta,  // []
    const float* __restrict__ G,  // [i]
    float* __restrict__ W_new,  // [i]
    INDEX size_i
)
{
    const INDEX count = size_i;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto W_pack = load<4>(W, first, count);
        const auto G_pack = load<4>(G, first, count);
        Pack<float, 4> W_new_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            W_new_pack.lane[lane] = W_pack.lane[lane] - G_pack.lane[lane]*eta[0];
        }
        store(W_new, first, count, W_new_pack);
    }
}

// deta_sum = sum(i, G[i]*dW_new[i]), of each block
// dG[i] = -dW_new[i]*eta
extern "C" __global__ void backward_deta_dG(
    const float* __restrict__ eta,  // []
    const float* __restrict__ G,  // [i]
    const float* __restrict__ dW_new,  // [i]
    float* __restrict__ dG,  // [i]
    float* __restrict__ deta_sum_partial,  // [chunks]
    INDEX size_i,
    int accumulate
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_i;
    const float eta_value = eta[0];
    float deta_sum = 0;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto dW_new_pack = load<4>(dW_new, first, count);
        const auto G_pack = load<4>(G, first, count);
        Pack<float, 4> dG_pack;
        if (accumulate) dG_pack = load<4>(dG, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX i = first + lane;
            if (i < count) {
                const float dw_new = dW_new_pack.lane[lane];
                deta_sum += G_pack.lane[lane]*dw_new;
                const float dg = -(dw_new*eta_value);
                dG_pack.lane[lane] = accumulate ? dG_pack.lane[lane] + dg : dg;
            }
        }
        store(dG, first, count, dG_pack);
    }
    __shared__ float part[1][32];
    deta_sum = row_sum(deta_sum, part[0]);
    if (threadIdx.x == 0) {
        deta_sum_partial[blockIdx.x] = deta_sum;
    }
}

// deta_sum = sum(i, G[i]*dW_new[i])
// deta = -deta_sum
extern "C" __global__ void backward_deta_dG_sum(
    const float* __restrict__ deta_sum_partial,  // [chunks]
    float* __restrict__ deta,  // []
    INDEX chunks,
    int accumulate
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = chunks;
    float deta_sum = 0;
    for (INDEX chunk = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; chunk < count; chunk += (INDEX)gridDim.x*blockDim.x) {
        deta_sum += deta_sum_partial[chunk];
    }
    __shared__ float part[1][32];
    deta_sum = row_sum(deta_sum, part[0]);
    if (threadIdx.x == 0) {
        const float deta_value = -deta_sum;
        deta[0] = accumulate ? deta[0] + deta_value : deta_value;
    }
}

// dW[i] = dW_new[i]
extern "C" __global__ void backward_dW(
    const float* dW_new,  // [i]
    float* dW,  // [i]
    INDEX size_i,
    int accumulate
)
{
    const INDEX count = size_i;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto dW_new_pack = load<4>(dW_new, first, count);
        Pack<float, 4> dW_pack;
        if (accumulate) dW_pack = load<4>(dW, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float dw = dW_new_pack.lane[lane];
            dW_pack.lane[lane] = accumulate ? dW_pack.lane[lane] + dw : dw;
        }
        store(dW, first, count, dW_pack);
    }
}
