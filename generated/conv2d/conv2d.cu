// conv2d: forward and backward, float32.  Made by `derive emit conv2d -o DIR`; do not edit.
//
//     Y[b,o,y,x] = sum(c, p, q, X[b,c,y+p,x+q]*W[o,c,p,q]) + k[o]
//
//     dX[b,c,i,j] = sum(o, p, q, where(i - p >= 0 and i - p < size(y) and j - q >= 0 and j - q < size(x), W[o,c,p,q]*dY[b,o,i - p,j - q], 0))
//     dW[o,c,p,q] = sum(b, y, x, X[b,c,p + y,q + x]*dY[b,o,y,x])
//     dk = einsum(boyx->o; dY)
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

// Y_sum[b,o,y,x] = sum(c, p, q, W[o,c,p,q]*X[b,c,p + y,q + x])
// Y[b,o,y,x] = Y_sum[b,o,y,x] + k[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ W,  // [o, c, p, q]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, y, x]
    float* __restrict__ Y_sum_partial,  // [chunks, o, b*y*x]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_b*size_y*size_x, length = size_c*size_p*size_q;
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
                pack = read(W + o*(size_c*size_p*size_q) + k_, whole_a, end - k_);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX x = n%size_x;
                const INDEX y = n/size_x%size_y;
                const INDEX b = n/size_x/size_y;
                const INDEX q = k_%size_q;
                const INDEX p = k_/size_q%size_p;
                const INDEX c = k_/size_q/size_p;
                value = X[((b*size_c + c)*size_X_2 + y + p)*size_X_3 + x + q];
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
                const INDEX b = n/size_x/size_y;
                Y[(b*size_o + o)*(size_y*size_x) + n%(size_y*size_x)] = y_sum + k[o];
            }
        }
    }
}

// Y_sum[b,o,y,x] = sum(c, p, q, W[o,c,p,q]*X[b,c,p + y,q + x]), from chunks of the sum
// Y[b,o,y,x] = Y_sum[b,o,y,x] + k[o]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, o, b*y*x]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, y, x]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX chunks
)
{
    const INDEX count = size_o*size_b*size_y*size_x;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX b = element/size_x/size_y%size_b;
        const INDEX o = element/size_x/size_y/size_b;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_o*size_b*size_y*size_x) + element]);
        }
        const float y_sum = total.value();
        Y[(b*size_o + o)*(size_y*size_x) + element%(size_y*size_x)] = y_sum + k[o];
    }
}

// dX[b,c,i,j] = sum(o, p, q, where(i - p >= 0 and i - p < size(y) and j - q >= 0 and j - q < size(x), W[o,c,p,q]*dY[b,o,i - p,j - q], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [o, c, p, q]
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dX,  // [b, c, X_2, X_3]
    float* __restrict__ dX_partial,  // [chunks, c, b*X_2*X_3]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_b*size_X_2*size_X_3, length = size_o*size_p*size_q;
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
                const INDEX o = k_/size_q/size_p;
                value = W[(o*size_c + c)*(size_p*size_q) + k_%(size_p*size_q)];
            }
            As[step][at ^ step/4*8] = value;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX j = n%size_X_3;
                const INDEX i = n/size_X_3%size_X_2;
                const INDEX b = n/size_X_3/size_X_2;
                const INDEX q = k_%size_q;
                const INDEX p = k_/size_q%size_p;
                const INDEX o = k_/size_q/size_p;
                value = i - p >= 0 && i - p < size_y && j - q >= 0 && j - q < size_x ? dY[((b*size_o + o)*size_y + i - p)*size_x + j - q] : 0.0f;
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
                const INDEX b = n/size_X_3/size_X_2;
                dX[(b*size_c + c)*(size_X_2*size_X_3) + n%(size_X_2*size_X_3)] = accumulate ? dX[(b*size_c + c)*(size_X_2*size_X_3) + n%(size_X_2*size_X_3)] + dx : dx;
            }
        }
    }
}

// dX[b,c,i,j] = sum(o, p, q, where(i - p >= 0 and i - p < size(y) and j - q >= 0 and j - q < size(x), W[o,c,p,q]*dY[b,o,i - p,j - q], 0)), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_chunks(
    const float* __restrict__ dX_partial,  // [chunks, c, b*X_2*X_3]
    float* __restrict__ dX,  // [b, c, X_2, X_3]
    INDEX size_b,
    INDEX size_c,
    INDEX size_X_2,
    INDEX size_X_3,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_c*size_b*size_X_2*size_X_3;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX b = element/size_X_3/size_X_2%size_b;
        const INDEX c = element/size_X_3/size_X_2/size_b;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_partial[chunk*(size_c*size_b*size_X_2*size_X_3) + element]);
        }
        const float dx = total.value();
        dX[(b*size_c + c)*(size_X_2*size_X_3) + element%(size_X_2*size_X_3)] = accumulate ? dX[(b*size_c + c)*(size_X_2*size_X_3) + element%(size_X_2*size_X_3)] + dx : dx;
    }
}

// dW[o,c,p,q] = sum(b, y, x, X[b,c,y + p,x + q]*dY[b,o,y,x])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dW,  // [o, c, p, q]
    float* __restrict__ dW_partial,  // [chunks, o, c*p*q]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_c*size_p*size_q, length = size_b*size_y*size_x;
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
                const INDEX b = k_/size_x/size_y;
                value = dY[(b*size_o + o)*(size_y*size_x) + k_%(size_y*size_x)];
            }
            As[step][at ^ step/4*8] = value;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < end) {
                const INDEX q = n%size_q;
                const INDEX p = n/size_q%size_p;
                const INDEX c = n/size_q/size_p;
                const INDEX x = k_%size_x;
                const INDEX y = k_/size_x%size_y;
                const INDEX b = k_/size_x/size_y;
                value = X[((b*size_c + c)*size_X_2 + p + y)*size_X_3 + q + x];
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
        if (accumulate) dW_pack = load<4>(dW + o*(size_c*size_p*size_q), first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float dw = results[over].lane[lane];
                dW_pack.lane[lane] = accumulate ? dW_pack.lane[lane] + dw : dw;
            }
        }
        store(dW + o*(size_c*size_p*size_q), first, columns, dW_pack);
    }
}

// dW[o,c,p,q] = sum(b, y, x, X[b,c,y + p,x + q]*dY[b,o,y,x]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dW_chunks(
    const float* __restrict__ dW_partial,  // [chunks, o, c*p*q]
    float* __restrict__ dW,  // [o, c, p, q]
    INDEX size_o,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_o*size_c*size_p*size_q;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW_partial[chunk*(size_o*size_c*size_p*size_q) + element]);
        }
        const float dw = total.value();
        dW[element] = accumulate ? dW[element] + dw : dw;
    }
}

// dk[o] = sum(b, y, x, dY[b,o,y,x])
extern "C" __global__ void backward_dk(
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dk,  // [o]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_o, count = size_b*size_y*size_x;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX o = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dk_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX b = element/size_x/size_y;
        dk_value += dY[(b*size_o + o)*(size_y*size_x) + element%(size_y*size_x)];
    }
    dk_value = row_sum(dk_value, part[0]);
    if (writer) dk[o] = accumulate ? dk[o] + dk_value : dk_value;
}
