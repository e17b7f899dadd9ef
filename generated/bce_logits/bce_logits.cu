// bce_logits: forward and backward, float32.  Made by `derive emit bce_logits -o DIR`; do not edit.
//
//     L = mean(n, o, log(1 + exp(X[n,o])) - X[n,o]*T[n,o])
//
//     dX = g1 (σ(X) − T)
//     dT = −g1 X
//     where
//     g1 = dL/size(n)/size(o)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over X, dX over T, dT over X, dT over T.

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

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// log(1 + exp(x)), which neither overflows nor cancels.
__device__ inline float softplus(float x) { return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x))); }

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

// L_sum = sum(n, o, softplus(X[n,o]) - T[n,o]*X[n,o]), of each block
extern "C" __global__ void forward_L_partial(
    const float* __restrict__ X,  // [n, o]
    const float* __restrict__ T,  // [n, o]
    float* __restrict__ L_sum_partial,  // [chunks]
    INDEX size_n,
    INDEX size_o
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = size_n*size_o;
    float l_sum = 0;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        const auto T_pack = load<4>(T, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const float x = X_pack.lane[lane];
                l_sum += softplus(x) - T_pack.lane[lane]*x;
            }
        }
    }
    __shared__ float part[1][32];
    l_sum = row_sum(l_sum, part[0]);
    if (threadIdx.x == 0) {
        L_sum_partial[blockIdx.x] = l_sum;
    }
}

// L_sum = sum(n, o, softplus(X[n,o]) - T[n,o]*X[n,o])
// L = L_sum/size(n)/size(o)
extern "C" __global__ void forward_L(
    const float* __restrict__ L_sum_partial,  // [chunks]
    float* __restrict__ L,  // []
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    // The threads of all blocks stride over the elements; each block adds up what its own have found.
    const INDEX count = chunks;
    float l_sum = 0;
    for (INDEX chunk = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; chunk < count; chunk += (INDEX)gridDim.x*blockDim.x) {
        l_sum += L_sum_partial[chunk];
    }
    __shared__ float part[1][32];
    l_sum = row_sum(l_sum, part[0]);
    if (threadIdx.x == 0) {
        L[0] = l_sum / (float)size_n / (float)size_o;
    }
}

// dX[n,o] = dL*(sigmoid(X[n,o]) - T[n,o])/size(n)/size(o)
// dT[n,o] = -X[n,o]*dL/size(n)/size(o)
extern "C" __global__ void backward_dX_dT(
    const float* X,  // [n, o]
    const float* T,  // [n, o]
    const float* __restrict__ dL,  // []
    float* dX,  // [n, o]
    float* dT,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    int accumulate
)
{
    const INDEX count = size_n*size_o;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        const auto T_pack = load<4>(T, first, count);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX, first, count);
        Pack<float, 4> dT_pack;
        if (accumulate) dT_pack = load<4>(dT, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float dl = dL[0];
            const float x = X_pack.lane[lane];
            const float dx = dl*(sigmoid(x) - T_pack.lane[lane]) / (float)size_n / (float)size_o;
            dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            const float dt = -(x*dl / (float)size_n / (float)size_o);
            dT_pack.lane[lane] = accumulate ? dT_pack.lane[lane] + dt : dt;
        }
        store(dX, first, count, dX_pack);
        store(dT, first, count, dT_pack);
    }
}
