// conv1d: forward and backward, float32.  Made by `derive emit conv1d -o DIR`; do not edit.
//
//     Y[b,o,t] = sum(c, r, X[b,c,t+r]*W[o,c,r]) + k[o]
//
//     dX[b,c,i] = sum(o, r, where(i - r >= 0 and i - r < size(t), W[o,c,r]*dY[b,o,i - r], 0))
//     dW[o,c,r] = sum(b, t, X[b,c,r + t]*dY[b,o,t])
//     dk = einsum(bot->o; dY)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dW over W.
// A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// A running sum in two levels: 32 terms at a time, so that a long sum stays accurate.
struct Sum {
    float high = 0, low = 0;
    int terms = 0;
    __device__ void add(float x) {
        low += x;
        if (++terms == 32) {
            high += low;
            low = 0;
            terms = 0;
        }
    }
    __device__ float value() const { return high + low; }
};

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

// Whether rows of `count` elements all begin at a multiple of 16 bytes.
template <class T> __device__ inline bool in_packs(const T* array, INDEX count) {
    return (unsigned long long)array%16 == 0 && count%(INDEX)(16/sizeof(T)) == 0;
}

// The next 16 bytes: in one access if `whole`, else those of the first `count` elements, and zeros.
template <class T> __device__ inline Pack<T> read(const T* from, bool whole, INDEX count) {
    if (whole) return *(const Pack<T>*)from;
    Pack<T> pack = {};
    for (int lane = 0; lane < 16/sizeof(T); ++lane) {
        if (lane < count) pack.lane[lane] = from[lane];
    }
    return pack;
}

// Y_sum[b,o,t] = sum(c, r, W[o,c,r]*X[b,c,r + t])
// Y[b,o,t] = Y_sum[b,o,t] + k[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, X_2]
    const float* __restrict__ W,  // [o, c, r]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, t]
    float* __restrict__ Y_sum_partial,  // [chunks, o, b*t]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_b*size_t, length = size_c*size_r;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(W, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX o = top + at, k_ = begin + step;
            Pack<float> pack = {};
            if (o < rows && k_ < end) {
                pack = read(W + o*(size_c*size_r) + k_, whole_a, end - k_);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX t = n%size_t;
                const INDEX b = n/size_t;
                const INDEX r = k_%size_r;
                const INDEX c = k_/size_r;
                value = X[(b*size_c + c)*size_X_2 + t + r];
            }
            Bs[step][at ^ step/4*8] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX o = top + my_row + over, first = left + my_column;
        if (o >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Y_sum_partial + (blockIdx.y*rows + o)*columns, first, columns, results[over]);
            continue;
        }
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float y_sum = results[over].lane[lane];
                const INDEX t = n%size_t;
                const INDEX b = n/size_t;
                Y[(b*size_o + o)*size_t + t] = y_sum + k[o];
            }
        }
    }
}

// Y_sum[b,o,t] = sum(c, r, W[o,c,r]*X[b,c,r + t]), from chunks of the sum
// Y[b,o,t] = Y_sum[b,o,t] + k[o]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, o, b*t]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, t]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX chunks
)
{
    const INDEX count = size_o*size_b*size_t;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t%size_b;
        const INDEX o = element/size_t/size_b;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_o*size_b*size_t) + element]);
        }
        const float y_sum = total.value();
        Y[(b*size_o + o)*size_t + t] = y_sum + k[o];
    }
}

// dX[b,c,i] = sum(o, r, where(i - r >= 0 and i - r < size(t), W[o,c,r]*dY[b,o,i - r], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [o, c, r]
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dX,  // [b, c, X_2]
    float* __restrict__ dX_partial,  // [chunks, c, b*X_2]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_b*size_X_2, length = size_o*size_r;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX c = top + at, k_ = begin + step;
            float value = 0;
            if (c < rows && k_ < end) {
                const INDEX r = k_%size_r;
                const INDEX o = k_/size_r;
                value = W[(o*size_c + c)*size_r + r];
            }
            As[step][at ^ step/4*8] = value;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX i = n%size_X_2;
                const INDEX b = n/size_X_2;
                const INDEX r = k_%size_r;
                const INDEX o = k_/size_r;
                value = i - r >= 0 && i - r < size_t ? dY[(b*size_o + o)*size_t + i - r] : 0.0f;
            }
            Bs[step][at ^ step/4*8] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX c = top + my_row + over, first = left + my_column;
        if (c >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_partial + (blockIdx.y*rows + c)*columns, first, columns, results[over]);
            continue;
        }
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float dx = results[over].lane[lane];
                const INDEX i = n%size_X_2;
                const INDEX b = n/size_X_2;
                dX[(b*size_c + c)*size_X_2 + i] = accumulate ? dX[(b*size_c + c)*size_X_2 + i] + dx : dx;
            }
        }
    }
}

// dX[b,c,i] = sum(o, r, where(i - r >= 0 and i - r < size(t), W[o,c,r]*dY[b,o,i - r], 0)), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_chunks(
    const float* __restrict__ dX_partial,  // [chunks, c, b*X_2]
    float* __restrict__ dX,  // [b, c, X_2]
    INDEX size_b,
    INDEX size_c,
    INDEX size_X_2,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_c*size_b*size_X_2;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX i = element%size_X_2;
        const INDEX b = element/size_X_2%size_b;
        const INDEX c = element/size_X_2/size_b;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_partial[chunk*(size_c*size_b*size_X_2) + element]);
        }
        const float dx = total.value();
        dX[(b*size_c + c)*size_X_2 + i] = accumulate ? dX[(b*size_c + c)*size_X_2 + i] + dx : dx;
    }
}

// dW[o,c,r] = sum(b, t, X[b,c,t + r]*dY[b,o,t])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [b, c, X_2]
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dW,  // [o, c, r]
    float* __restrict__ dW_partial,  // [chunks, o, c*r]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_c*size_r, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX o = top + at, k_ = begin + step;
            float value = 0;
            if (o < rows && k_ < end) {
                const INDEX t = k_%size_t;
                const INDEX b = k_/size_t;
                value = dY[(b*size_o + o)*size_t + t];
            }
            As[step][at ^ step/4*8] = value;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX r = n%size_r;
                const INDEX c = n/size_r;
                const INDEX t = k_%size_t;
                const INDEX b = k_/size_t;
                value = X[(b*size_c + c)*size_X_2 + r + t];
            }
            Bs[step][at ^ step/4*8] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX o = top + my_row + over, first = left + my_column;
        if (o >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dW_partial + (blockIdx.y*rows + o)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dW_pack;
        if (accumulate) dW_pack = load<4>(dW + o*(size_c*size_r), first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float dw = results[over].lane[lane];
                dW_pack.lane[lane] = accumulate ? dW_pack.lane[lane] + dw : dw;
            }
        }
        store(dW + o*(size_c*size_r), first, columns, dW_pack);
    }
}

// dW[o,c,r] = sum(b, t, X[b,c,t + r]*dY[b,o,t]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dW_chunks(
    const float* __restrict__ dW_partial,  // [chunks, o, c*r]
    float* __restrict__ dW,  // [o, c, r]
    INDEX size_o,
    INDEX size_c,
    INDEX size_r,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_o*size_c*size_r;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW_partial[chunk*(size_o*size_c*size_r) + element]);
        }
        const float dw = total.value();
        dW[element] = accumulate ? dW[element] + dw : dw;
    }
}

// dk[o] = sum(b, t, dY[b,o,t])
extern "C" __global__ void backward_dk(
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dk,  // [o]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_o, count = size_b*size_t;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX o = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dk_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        dk_value += dY[(b*size_o + o)*size_t + t];
    }
    dk_value = row_sum(dk_value, part[0]);
    if (writer) dk[o] = accumulate ? dk[o] + dk_value : dk_value;
}
