// matmul_nt: forward and backward, float32.  Made by `derive emit matmul_nt -o DIR`; do not edit.
//
//     Y[m,n] = sum(k, A[m,k]*B[n,k])
//
//     dA = dY B
//     dB = dYᵀ A
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dB over B.
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

// Y[m,n] = sum(k, A[m,k]*B[n,k])
extern "C" __global__ void forward_Y(
    const float* __restrict__ A,  // [m, k]
    const float* __restrict__ B,  // [n, k]
    float* __restrict__ Y,  // [m, n]
    float* __restrict__ Y_partial,  // [chunks, m, n]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_m, columns = size_n, length = size_k;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(A, length);
    const bool whole_b = in_packs(B, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, k = begin + step;
            Pack<float> pack = {};
            if (m < rows && k < end) {
                pack = read(A + m*size_k + k, whole_a, end - k);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = left + at, k = begin + step;
            Pack<float> pack = {};
            if (n < columns && k < end) {
                pack = read(B + n*size_k + k, whole_b, end - k);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Y_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(Y + m*size_n, first, columns, results[over]);
    }
}

// Y[m,n] = sum(k, A[m,k]*B[n,k]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_partial,  // [chunks, m, n]
    float* __restrict__ Y,  // [m, n]
    INDEX size_m,
    INDEX size_n,
    INDEX chunks
)
{
    const INDEX count = size_m*size_n;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_partial[chunk*(size_m*size_n) + element]);
        }
        Y[element] = total.value();
    }
}

// dA[m,k] = sum(n, B[n,k]*dY[m,n])
extern "C" __global__ void backward_dA(
    const float* __restrict__ B,  // [n, k]
    const float* __restrict__ dY,  // [m, n]
    float* __restrict__ dA,  // [m, k]
    float* __restrict__ dA_partial,  // [chunks, m, k]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_m, columns = size_k, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, length);
    const bool whole_b = in_packs(B, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, n = begin + step;
            Pack<float> pack = {};
            if (m < rows && n < end) {
                pack = read(dY + m*size_n + n, whole_a, end - n);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX k = left + at, n = begin + step;
            Pack<float> pack = {};
            if (k < columns && n < end) {
                pack = read(B + n*size_k + k, whole_b, columns - k);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dA_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dA_pack;
        if (accumulate) dA_pack = load<4>(dA + m*size_k, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX k = first + lane;
            if (k < columns) {
                const float da = results[over].lane[lane];
                dA_pack.lane[lane] = accumulate ? dA_pack.lane[lane] + da : da;
            }
        }
        store(dA + m*size_k, first, columns, dA_pack);
    }
}

// dA[m,k] = sum(n, B[n,k]*dY[m,n]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dA_chunks(
    const float* __restrict__ dA_partial,  // [chunks, m, k]
    float* __restrict__ dA,  // [m, k]
    INDEX size_m,
    INDEX size_k,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_m*size_k;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dA_partial[chunk*(size_m*size_k) + element]);
        }
        const float da = total.value();
        dA[element] = accumulate ? dA[element] + da : da;
    }
}

// dB[n,k] = sum(m, A[m,k]*dY[m,n])
extern "C" __global__ void backward_dB(
    const float* __restrict__ A,  // [m, k]
    const float* __restrict__ dY,  // [m, n]
    float* __restrict__ dB,  // [n, k]
    float* __restrict__ dB_partial,  // [chunks, n, k]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_k, length = size_m;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, rows);
    const bool whole_b = in_packs(A, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX n = top + at, m = begin + step;
            Pack<float> pack = {};
            if (n < rows && m < end) {
                pack = read(dY + m*size_n + n, whole_a, rows - n);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX k = left + at, m = begin + step;
            Pack<float> pack = {};
            if (k < columns && m < end) {
                pack = read(A + m*size_k + k, whole_b, columns - k);
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
            store(dB_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dB_pack;
        if (accumulate) dB_pack = load<4>(dB + n*size_k, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX k = first + lane;
            if (k < columns) {
                const float db = results[over].lane[lane];
                dB_pack.lane[lane] = accumulate ? dB_pack.lane[lane] + db : db;
            }
        }
        store(dB + n*size_k, first, columns, dB_pack);
    }
}

// dB[n,k] = sum(m, A[m,k]*dY[m,n]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dB_chunks(
    const float* __restrict__ dB_partial,  // [chunks, n, k]
    float* __restrict__ dB,  // [n, k]
    INDEX size_n,
    INDEX size_k,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_n*size_k;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dB_partial[chunk*(size_n*size_k) + element]);
        }
        const float db = total.value();
        dB[element] = accumulate ? dB[element] + db : db;
    }
}
