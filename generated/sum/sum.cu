// sum: forward and backward, float32.  Made by `derive emit sum -o DIR`; do not edit.
//
//     Y[i] = sum(j, X[i,j])
//
//     dX = dY 1ᵀ
//
// Saved for the backward: nothing beyond inputs and outputs.
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

// Y[i] = sum(j, X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i]
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, count = size_j;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float y = 0;
    for (INDEX first = threadIdx.x*4; first < stop; first += blockDim.x*4) {
        const auto X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane;
            if (j < count) {
                y += X_pack.lane[lane];
            }
        }
    }
    y = row_sum(y, part[0]);
    if (writer) Y[i] = y;
}

// dX[i,j] = dY[i]
extern "C" __global__ void backward_dX(
    const float* __restrict__ dY,  // [i]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX i = element/size_j;
                const float dx = dY[i];
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX, first, count, dX_pack);
    }
}
