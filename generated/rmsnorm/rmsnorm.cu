// rmsnorm: forward and backward, float32.  Made by `derive emit rmsnorm -o DIR`; do not edit.
//
//     param eps = 1e-6
//     R[b,s] = rsqrt(mean(d, X[b,s,d]**2) + eps)
//     Y[b,s,d] = X[b,s,d]*R[b,s]*gamma[d]
//
//     dX = diag(R) (g − diag((g ∘ xhat) 1) xhat / |d|)
//     dgamma = (dY ∘ xhat)ᵀ 1
//     where
//     xhat[b,s,d] = R[b,s]*X[b,s,d]
//     g[b,s,d] = dY[b,s,d]*gamma[d]
//
// Saved for the backward: R_in.  Computed again: R, xhat.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dX over X, dgamma over gamma.

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

// R_in_sum[b,s] = sum(d, X[b,s,d]**2)
// R_in[b,s] = 1e-06 + R_in_sum[b,s]/size(d)
// R[b,s] = rsqrt(R_in[b,s])
// xhat[b,s,d] = R[b,s]*X[b,s,d]
// Y[b,s,d] = gamma[d]*xhat[b,s,d]
extern "C" __global__ void forward_R_in_Y(
    const float* __restrict__ X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    float* __restrict__ Y,  // [b, s, d]
    float* __restrict__ R_in,  // [b, s]
    INDEX size_b,
    INDEX size_s,
    INDEX size_d,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, count = size_d;
    __shared__ float part[1][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[b,s,d]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float r_in_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + row*size_d, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX d = first + lane, at = own + lane*threads;
            if (d < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                r_in_sum += square(x);
            }
        }
    }
    r_in_sum = row_sum(r_in_sum, part[0]);
    const float r_in = 1e-6f + r_in_sum / (float)size_d;
    const float r = rsqrtf(r_in);
    if (writer) R_in[row] = r_in;

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> Y_pack;
        const auto gamma_pack = load<4>(gamma, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + row*size_d, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX d = first + lane, at = own + lane*threads;
            if (d < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float xhat = r*x;
                Y_pack.lane[lane] = gamma_pack.lane[lane]*xhat;
            }
        }
        store(Y + row*size_d, first, count, Y_pack);
    }
}

// R[b,s] = rsqrt(R_in[b,s])
// xhat[b,s,d] = R[b,s]*X[b,s,d]
// g[b,s,d] = dY[b,s,d]*gamma[d]
// dX_sum[b,s] = sum(d, g[b,s,d]*xhat[b,s,d])
// dX_mean[b,s] = dX_sum[b,s]/size(d)
// dX[b,s,d] = R[b,s]*(g[b,s,d] - dX_mean[b,s]*xhat[b,s,d])
// dgamma[d] = sum(b, s, dY[b,s,d]*xhat[b,s,d]), of each block's rows
extern "C" __global__ void backward_dX_dgamma(
    const float* X,  // [b, s, d]
    const float* __restrict__ gamma,  // [d]
    const float* __restrict__ R_in,  // [b, s]
    const float* dY,  // [b, s, d]
    float* dX,  // [b, s, d]
    float* __restrict__ dgamma_partial,  // [chunks, d]
    INDEX size_b,
    INDEX size_s,
    INDEX size_d,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_s, count = size_d;
    __shared__ float part[1][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again and sums stand in device memory.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const x_row = kept + thread;  // X[b,s,d]
    float* const dy_row = kept + slots + thread;  // dY[b,s,d]
    // This block's share of sums over all rows.
    float* const dgamma_part = held ? kept + 2*slots + thread : dgamma_partial + blockIdx.x*count;
    for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX d = first + lane, at = held ? own + lane*threads : d;
            if (d < count) {
                dgamma_part[at] = 0;
            }
        }
    }

    for (INDEX top = (INDEX)blockIdx.x*blockDim.y; top < rows; top += (INDEX)gridDim.x*blockDim.y) {
        const INDEX group = top + threadIdx.y;
        const INDEX row = group < rows ? group : rows - 1;
        const INDEX stop = group < rows ? count : 0;
        const float r = rsqrtf(R_in[row]);

        float dx_sum = 0;
        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto X_pack = load<4>(X + row*size_d, first, count);
            const auto dY_pack = load<4>(dY + row*size_d, first, count);
            const auto gamma_pack = load<4>(gamma, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX d = first + lane, at = held ? own + lane*threads : d;
                if (d < count) {
                    const float x = X_pack.lane[lane];
                    if (held) x_row[at] = x;
                    const float dy = dY_pack.lane[lane];
                    if (held) dy_row[at] = dy;
                    const float xhat = r*x;
                    const float g = dy*gamma_pack.lane[lane];
                    dx_sum += g*xhat;
                    dgamma_part[at] += dy*xhat;
                }
            }
        }
        dx_sum = row_sum(dx_sum, part[0]);
        const float dx_mean = dx_sum / (float)size_d;

        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto gamma_pack = load<4>(gamma, first, count);
            Pack<float, 4> dX_pack;
            if (accumulate) dX_pack = load<4>(dX + row*size_d, first, count);
            Pack<float, 4> X_pack;
            if (!held) X_pack = load<4>(X + row*size_d, first, count);
            Pack<float, 4> dY_pack;
            if (!held) dY_pack = load<4>(dY + row*size_d, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX d = first + lane, at = held ? own + lane*threads : d;
                if (d < count) {
                    const float x = held ? x_row[at] : X_pack.lane[lane];
                    const float dy = held ? dy_row[at] : dY_pack.lane[lane];
                    const float xhat = r*x;
                    const float g = dy*gamma_pack.lane[lane];
                    const float dx = r*(g - dx_mean*xhat);
                    dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
                }
            }
            store(dX + row*size_d, first, count, dX_pack);
        }
        if (blockDim.x > 32) __syncthreads();  // `part` is free for the next row
    }

    // The block's rows together: one thread of each column adds up what those of other threadIdx.y have.
    __syncthreads();
    if (threadIdx.y == 0) {
        for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX d = first + lane, at = held ? own + lane*threads : d;
                if (d < count) {
                    float dgamma_part_sum = dgamma_part[at];
                    for (int other = 1; other < blockDim.y; ++other) {
                        dgamma_part_sum += dgamma_part[at + other*blockDim.x];
                    }
                    dgamma_partial[blockIdx.x*count + d] = dgamma_part_sum;
                }
            }
        }
    }
}

// dgamma[d] = sum(b, s, dY[b,s,d]*xhat[b,s,d])
extern "C" __global__ void backward_dX_dgamma_sum(
    const float* __restrict__ dgamma_partial,  // [chunks, d]
    float* __restrict__ dgamma,  // [d]
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_d, d = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dgamma_value = 0;
    if (d < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dgamma_value += dgamma_partial[chunk*columns + d];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dgamma_value;
    __syncthreads();
    if (threadIdx.y == 0 && d < columns) {
        for (int line = 1; line < 8; ++line) {
            dgamma_value += tile[0][line][threadIdx.x];
        }
        dgamma[d] = accumulate ? dgamma[d] + dgamma_value : dgamma_value;
    }
}
