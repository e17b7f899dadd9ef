// linear: forward and backward, float32.  Made by `derive emit linear -o DIR`; do not edit.
//
//     Y[n,o] = sum(i, X[n,i]*W[i,o]) + b[o]
//
//     dX = dY Wᵀ
//     dW = Xᵀ dY
//     db = dYᵀ 1
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

// Y_sum[n,o] = sum(i, W[i,o]*X[n,i])
// Y[n,o] = Y_sum[n,o] + b[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W,  // [i, o]
    const float* __restrict__ b,  // [o]
    float* __restrict__ Y,  // [n, o]
    float* __restrict__ Y_sum_partial,  // [chunks, n, o]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_o, length = size_i;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, length);
    const bool whole_b = in_packs(W, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, i = begin + step;
            Pack<float> pack = {};
            if (n < rows && i < end) {
                pack = read(X + n*size_i + i, whole_a, end - i);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX o = left + at, i = begin + step;
            Pack<float> pack = {};
            if (o < columns && i < end) {
                pack = read(W + i*size_o + o, whole_b, columns - o);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
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
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Y_sum_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> Y_pack;
        const auto b_pack = load<4>(b, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX o = first + lane;
            if (o < columns) {
                const float y_sum = results[over].lane[lane];
                Y_pack.lane[lane] = y_sum + b_pack.lane[lane];
            }
        }
        store(Y + n*size_o, first, columns, Y_pack);
    }
}

// Y_sum[n,o] = sum(i, W[i,o]*X[n,i]), from chunks of the sum
// Y[n,o] = Y_sum[n,o] + b[o]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, n, o]
    const float* __restrict__ b,  // [o]
    float* __restrict__ Y,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    const INDEX count = size_n*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX o = element%size_o;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_n*size_o) + element]);
        }
        const float y_sum = total.value();
        Y[element] = y_sum + b[o];
    }
}

// dX[n,i] = sum(o, W[i,o]*dY[n,o])
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [i, o]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dX,  // [n, i]
    float* __restrict__ dX_partial,  // [chunks, n, i]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_i, length = size_o;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, length);
    const bool whole_b = in_packs(W, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, o = begin + step;
            Pack<float> pack = {};
            if (n < rows && o < end) {
                pack = read(dY + n*size_o + o, whole_a, end - o);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX i = left + at, o = begin + step;
            Pack<float> pack = {};
            if (i < columns && o < end) {
                pack = read(W + i*size_o + o, whole_b, end - o);
            }
            for (int lane = 0; lane < 4; ++lane) Bs[step + lane][at ^ step/4*8] = pack.lane[lane];
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
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + n*size_i, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX i = first + lane;
            if (i < columns) {
                const float dx = results[over].lane[lane];
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + n*size_i, first, columns, dX_pack);
    }
}

// dX[n,i] = sum(o, W[i,o]*dY[n,o]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_chunks(
    const float* __restrict__ dX_partial,  // [chunks, n, i]
    float* __restrict__ dX,  // [n, i]
    INDEX size_n,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_n*size_i;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_partial[chunk*(size_n*size_i) + element]);
        }
        const float dx = total.value();
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dW[i,o] = sum(n, X[n,i]*dY[n,o])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dW,  // [i, o]
    float* __restrict__ dW_partial,  // [chunks, i, o]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_i, columns = size_o, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, rows);
    const bool whole_b = in_packs(dY, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX i = top + at, n = begin + step;
            Pack<float> pack = {};
            if (i < rows && n < end) {
                pack = read(X + n*size_i + i, whole_a, rows - i);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX o = left + at, n = begin + step;
            Pack<float> pack = {};
            if (o < columns && n < end) {
                pack = read(dY + n*size_o + o, whole_b, columns - o);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
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
        const INDEX i = top + my_row + over, first = left + my_column;
        if (i >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dW_partial + (blockIdx.y*rows + i)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dW_pack;
        if (accumulate) dW_pack = load<4>(dW + i*size_o, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX o = first + lane;
            if (o < columns) {
                const float dw = results[over].lane[lane];
                dW_pack.lane[lane] = accumulate ? dW_pack.lane[lane] + dw : dw;
            }
        }
        store(dW + i*size_o, first, columns, dW_pack);
    }
}

// dW[i,o] = sum(n, X[n,i]*dY[n,o]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dW_chunks(
    const float* __restrict__ dW_partial,  // [chunks, i, o]
    float* __restrict__ dW,  // [i, o]
    INDEX size_o,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_i*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW_partial[chunk*(size_i*size_o) + element]);
        }
        const float dw = total.value();
        dW[element] = accumulate ? dW[element] + dw : dw;
    }
}

// db[o] = sum(n, dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_db(
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ db,  // [o]
    float* __restrict__ db_partial,  // [chunks, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    // Threads (8, 32): 4 neighbouring columns a threadIdx.x, one row in 32 of the block's chunk a threadIdx.y.
    const INDEX columns = size_o, first = (INDEX)blockIdx.x*32 + threadIdx.x*4;
    const INDEX rows = size_n, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db_part[4] = {};
    if (first < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 32) {
            const auto dY_pack = load<4>(dY + n*size_o, first, columns);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX o = first + lane;
                if (o < columns) {
                    db_part[lane] += dY_pack.lane[lane];
                }
            }
        }
    }
    // 8 places more than threads, so that what a warp reads below lies in different banks.
    __shared__ float tile[1][4][264];
    const int thread = threadIdx.y*8 + threadIdx.x;
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) tile[0][lane][thread] = db_part[lane];
    __syncthreads();
    const INDEX o = (INDEX)blockIdx.x*32 + thread;
    if (thread < 32 && o < columns) {
        float db_value = 0;
        for (int line = 0; line < 32; ++line) {
            db_value += tile[0][thread%4][line*8 + thread/4];
        }
        if (chunks == 1) {
            db[o] = accumulate ? db[o] + db_value : db_value;
        } else {
            db_partial[blockIdx.y*columns + o] = db_value;
        }
    }
}

// db[o] = sum(n, dY[n,o])
// Launched only where the sum was split.
extern "C" __global__ void backward_db_sum(
    const float* __restrict__ db_partial,  // [chunks, o]
    float* __restrict__ db,  // [o]
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_o, o = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db_value = 0;
    if (o < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            db_value += db_partial[chunk*columns + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db_value;
    __syncthreads();
    if (threadIdx.y == 0 && o < columns) {
        for (int line = 1; line < 8; ++line) {
            db_value += tile[0][line][threadIdx.x];
        }
        db[o] = accumulate ? db[o] + db_value : db_value;
    }
}
