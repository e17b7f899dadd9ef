// gelu: forward and backward, float32.  Made by `derive emit gelu -o DIR`; do not edit.
//
//     Y[i,j] = 0.5*X[i,j]*(1 + erf(X[i,j]/sqrt(2)))
//
//     dX = 0.5 (dY ∘ (erf(0.5 g) + (g ∘ exp(−0.5 X²)) / √π + 1))
//     where
//     g[i,j] = X[i,j]*sqrt(2)
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

__device__ inline float square(float x) { return x*x; }

// Y[i,j] = 0.5*X[i,j]*(1 + erf(0.7071067811865476*X[i,j]))
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
            Y_pack.lane[lane] = 0.5f*x*(1.0f + erff(0.70710677f*x));
        }
        store(Y, first, count, Y_pack);
    }
}

// g[i,j] = 1.4142135623730951*X[i,j]
// dX[i,j] = 0.5*dY[i,j]*(1 + erf(0.5*g[i,j]) + 0.5641895835477563*g[i,j]*exp((-0.5)*X[i,j]**2))
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
            const float x = X_pack.lane[lane];
            const float g = 1.4142135f*x;
            const float dx = 0.5f*dY_pack.lane[lane]*(1.0f + erff(0.5f*g) + 0.5641896f*g*expf(-0.5f*square(x)));
            dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
        }
        store(dX, first, count, dX_pack);
    }
}
