// positional_embedding: forward and backward, float32.  Made by `derive emit positional_embedding -o DIR`; do not edit.
//
//     input E[v,d]
//     Y[b,s,d] = E[ids[b,s],d] + P[s,d]
//
//     dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))
//     dP = dYᵀ 1
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef ids_t
#define ids_t int  // element of ids: int or long long, as the wrapper finds it
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

// Part of a stable merge: of the two sorted runs of `width` places from `begin` on, what comes `at` and `strip` after.
template <class Place>
__device__ inline void merge_strip(const INDEX* row, const Place* from, Place* into, INDEX at, INDEX strip, INDEX width, INDEX count) {
    const INDEX begin = at/(2*width)*(2*width);
    const INDEX middle = begin + width < count ? begin + width : count;
    const INDEX end = middle + width < count ? middle + width : count;
    const INDEX before = at - begin;  // places of the merged run that other strips hold, `left` of them of the first run
    INDEX left = before < end - middle ? 0 : before - (end - middle), high = before < middle - begin ? before : middle - begin;
    while (left < high) {
        const INDEX half = left + (high - left)/2;
        if (row[from[begin + half]] <= row[from[middle + before - half - 1]]) left = half + 1;
        else high = half;
    }
    INDEX first = begin + left, second = middle + before - left;
    for (INDEX to = at; to < at + strip && to < end; ++to) {
        const bool next = first < middle && (second == end || row[from[first]] <= row[from[second]]);
        into[to] = from[next ? first++ : second++];
    }
}

// Y[b,s,d] = E[ids[b,s],d] + P[s,d]
extern "C" __global__ void forward_Y(
    const float* __restrict__ E,  // [v, d]
    const ids_t* __restrict__ ids,  // [b, s]
    const float* __restrict__ P,  // [s, d]
    float* __restrict__ Y,  // [b, s, d]
    INDEX size_d,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = size_b*size_s*size_d;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        Pack<float, 4> Y_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX d = element%size_d;
                Y_pack.lane[lane] = E[ids[element/size_d]*size_d + d] + P[element%(size_s*size_d)];
            }
        }
        store(Y, first, count, Y_pack);
    }
}

// dE_rows[t]: the row that ids says for place t, or size_v for none;  dE_order: the places of each 4096 sorted by it
extern "C" __global__ void backward_dE_rows(
    const ids_t* __restrict__ ids,  // [b, s]
    INDEX* __restrict__ dE_rows,  // [b*s]
    INDEX* __restrict__ dE_order,  // [b*s]
    INDEX size_v,
    INDEX size_b,
    INDEX size_s
)
{
    // A block sorts 4096 places in shared memory; equal rows keep the order of their places.
    __shared__ INDEX row_of[4096];
    __shared__ unsigned short sorted[2][4096];
    const INDEX count = size_b*size_s, begin = (INDEX)blockIdx.x*4096;
    const int held = count - begin < 4096 ? count - begin : 4096;
    for (int at = threadIdx.x; at < held; at += blockDim.x) {
        const INDEX place = begin + at;
        INDEX row = size_v;
        const INDEX ids_value = ids[place];
        if (0 <= ids_value && ids_value < size_v) row = ids_value;
        dE_rows[place] = row_of[at] = row;
        sorted[0][at] = at;
    }
    __syncthreads();
    int now = 0;
    for (int width = 1; width < held; width *= 2) {
        const int strip = width < 4 ? 2*width : 8;
        for (int at = threadIdx.x*strip; at < held; at += blockDim.x*strip) {
            merge_strip(row_of, sorted[now], sorted[1 - now], at, strip, width, held);
        }
        __syncthreads();
        now = 1 - now;
    }
    for (int at = threadIdx.x; at < held; at += blockDim.x) dE_order[begin + at] = begin + sorted[now][at];
}

// dE_spare: dE_order with sorted runs of `width` places merged, two by two
extern "C" __global__ void backward_dE_merge(
    const INDEX* __restrict__ dE_rows,  // [b*s]
    const INDEX* __restrict__ dE_order,  // [b*s]
    INDEX* __restrict__ dE_spare,  // [b*s]
    INDEX width,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = size_b*size_s, strip = 8;
    for (INDEX at = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*strip; at < count; at += (INDEX)gridDim.x*blockDim.x*strip) {
        merge_strip(dE_rows, dE_order, dE_spare, at, strip, width, count);
    }
}

// dE_starts[row]: where the places of a row start in dE_order
extern "C" __global__ void backward_dE_starts(
    const INDEX* __restrict__ dE_rows,  // [b*s]
    const INDEX* __restrict__ dE_order,  // [b*s]
    INDEX* __restrict__ dE_starts,  // [v + 1]
    INDEX size_v,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = size_v + 1, length = size_b*size_s;
    for (INDEX row = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; row < count; row += (INDEX)gridDim.x*blockDim.x) {
        INDEX low = 0, high = length;  // the first place whose row is no smaller lies from low to high
        while (low < high) {
            const INDEX middle = low + (high - low)/2;
            if (dE_rows[dE_order[middle]] < row) low = middle + 1;
            else high = middle;
        }
        dE_starts[row] = low;
    }
}

// dE_parts[part]: the sum of 256 places in order, where they all add to one row
extern "C" __global__ void backward_dE_parts(
    const INDEX* __restrict__ dE_rows,  // [b*s]
    const INDEX* __restrict__ dE_order,  // [b*s]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dE_parts,  // [b*s // 256, d]
    INDEX size_v,
    INDEX size_d,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = (size_b*size_s)/256*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX width = size_d, first = element/width*256, d = element%width;
        const INDEX row = dE_rows[dE_order[first]];
        if (row < size_v && row == dE_rows[dE_order[first + 255]]) {
            Sum total;
            for (INDEX at = first; at < first + 256; ++at) {
                const INDEX place = dE_order[at];
                total.add(dY[place*size_d + d]);
            }
            dE_parts[element] = total.value();
        }
    }
}

// dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))
extern "C" __global__ void backward_dE(
    const INDEX* __restrict__ dE_order,  // [b*s]
    const INDEX* __restrict__ dE_starts,  // [v + 1]
    const float* __restrict__ dE_parts,  // [b*s // 256, d]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dE,  // [v, d]
    INDEX size_v,
    INDEX size_d,
    int accumulate
)
{
    const INDEX count = size_v*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX v = element/size_d;
        Sum total;
        const INDEX stop = dE_starts[v + 1];
        for (INDEX at = dE_starts[v]; at < stop;) {
            if (at%256 == 0 && at + 256 <= stop) {  // a part that is summed already
                total.add(dE_parts[at/256*size_d + d]);
                at += 256;
            } else {
                const INDEX place = dE_order[at++];
                total.add(dY[place*size_d + d]);
            }
        }
        dE[element] = accumulate ? dE[element] + total.value() : total.value();
    }
}

// dP[s,d] = sum(b, dY[b,s,d]), of each chunk of rows
extern "C" __global__ void backward_dP(
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dP,  // [s, d]
    float* __restrict__ dP_partial,  // [chunks, s*d]
    INDEX size_d,
    INDEX size_b,
    INDEX size_s,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_s*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dp = 0;
    if (column < columns) {
        for (INDEX b = begin + threadIdx.y; b < end; b += 8) {
            dp += dY[b*(size_s*size_d) + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dp;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dp += tile[0][line][threadIdx.x];
        }
        if (chunks == 1) {
            dP[column] = accumulate ? dP[column] + dp : dp;
        } else {
            dP_partial[blockIdx.y*columns + column] = dp;
        }
    }
}

// dP[s,d] = sum(b, dY[b,s,d])
extern "C" __global__ void backward_dP_sum(
    const float* __restrict__ dP_partial,  // [chunks, s*d]
    float* __restrict__ dP,  // [s, d]
    INDEX size_d,
    INDEX size_s,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_s*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dp = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dp += dP_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dp;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dp += tile[0][line][threadIdx.x];
        }
        dP[column] = accumulate ? dP[column] + dp : dp;
    }
}
