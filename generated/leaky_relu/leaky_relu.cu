// leaky_relu: forward and backward, float32.  Made by `derive emit leaky_relu -o DIR`; do not edit.
//
//     param slope = 0.01
//     Y[i,j] = where(X[i,j] > 0, X[i,j], slope*X[i,j])
//
//     dX = dY ∘ where(X > 0, 1, slope)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dX over X.

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

// Y[i,j] = where(X[i,j] > 0, X[i,j], 0.01*X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        Pack<float, 4> Y_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float x = X_pack.lane[lane];
            Y_pack.lane[lane] = x > 0.0f ? x : 0.01f*x;
        }
        store(Y, first, count, Y_pack);
    }
}

// dX[i,j] = dY[i,j]*where(X[i,j] > 0, 1, 0.01)
extern "C" __global__ void backward_dX(
    const float* X,  // [i, j]
    const float* dY,  // [i, j]
    float* dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        const auto dY_pack = load<4>(dY, first, count);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float dx = dY_pack.lane[lane]*(X_pack.lane[lane] > 0.0f ? 1.0f : 0.01f);
            dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
        }
        store(dX, first, count, dX_pack);
    }
}
