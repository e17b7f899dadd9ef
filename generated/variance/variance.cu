// variance: forward and backward, float32.  Made by `derive emit variance -o DIR`; do not edit.
//
//     M[i] = mean(j, X[i,j])
//     Y[i] = mean(j, (X[i,j] - M[i])**2)
//
//     dX = 2 diag(dY) (X − M 1ᵀ) / |j|
//
// Saved for the backward: M.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over X.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef DYN_SHARED
#define DYN_SHARED(T, name) extern __shared__ T name[]
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

// M_sum[i] = sum(j, X[i,j])
// M[i] = M_sum[i]/size(j)
// Y_sum[i] = sum(j, (X[i,j] - M[i])**2)
// Y[i] = Y_sum[i]/size(j)
extern "C" __global__ void forward_M_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i]
    float* __restrict__ M,  // [i]
    INDEX size_i,
    INDEX size_j,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_i, count = size_j;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[i,j]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX i = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float m_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                m_sum += x;
            }
        }
    }
    m_sum = row_sum(m_sum, part[0]);
    const float m = m_sum / (float)size_j;
    if (writer) M[i] = m;

    float y_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + i*size_j, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX j = first + lane, at = own + lane*threads;
            if (j < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                y_sum += square(x - m);
            }
        }
    }
    y_sum = row_sum(y_sum, part[1]);
    const float y = y_sum / (float)size_j;
    if (writer) Y[i] = y;
}

// dX[i,j] = 2*dY[i]*(X[i,j] - M[i])/size(j)
extern "C" __global__ void backward_dX(
    const float* X,  // [i, j]
    const float* __restrict__ M,  // [i]
    const float* __restrict__ dY,  // [i]
    float* dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX i = element/size_j;
                const float dx = 2.0f*dY[i]*(X_pack.lane[lane] - M[i]) / (float)size_j;
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX, first, count, dX_pack);
    }
}
