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

// How many places add to the rows of a tile.
__device__ inline INDEX tile_places(const unsigned short* starts, INDEX tile, INDEX tiles, INDEX chunks) {
    INDEX found = 0;
#pragma unroll 4
    for (INDEX chunk = 0; chunk < chunks; ++chunk) {
        const unsigned short* start = starts + chunk*(tiles + 1) + tile;
        found += start[1] - start[0];
    }
    return found;
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

// dE_order: the places of each 4096 sorted by the row that ids says, as place%4096 + 4096*(row%8),
//   and 32768 more where 64 of one row begin;  dE_starts: where each 8 rows start in them
extern "C" __global__ void backward_dE_order(
    const ids_t* __restrict__ ids,  // [b, s]
    unsigned short* __restrict__ dE_order,  // [b*s]
    unsigned short* __restrict__ dE_starts,  // [(b*s + 4095) // 4096, (v + 7) // 8 + 1]
    INDEX size_v,
    INDEX size_b,
    INDEX size_s
)
{
    // A block sorts 4096 places by a bitonic network.  A key is a row and, below it, the place in the chunk, so that
    // equal rows keep the order of their places.
    const INDEX count = size_b*size_s, tiles = (size_v + 7)/8, none = tiles*8;
    const INDEX begin = (INDEX)blockIdx.x*4096;
    const int held = count - begin < 4096 ? count - begin : 4096;
    __shared__ unsigned long long keys[4096];
    unsigned long long key[4];
#pragma unroll
    for (int own = 0; own < 4; ++own) {
        const int at = own*1024 + threadIdx.x;
        INDEX row = none;
        if (at < held) {
            const INDEX place = begin + at;
            const INDEX ids_value = ids[place];
            if (ids_value >= 0 && ids_value < size_v) row = ids_value;
        }
        key[own] = (unsigned long long)row*4096 + at;
    }
    for (int size = 2; size < 2*held; size *= 2) {
        for (int apart = size/2; apart > 0; apart /= 2) {
            if (apart >= 32) {
#pragma unroll
                for (int own = 0; own < 4; ++own) keys[own*1024 + threadIdx.x] = key[own];
                __syncthreads();
            }
#pragma unroll
            for (int own = 0; own < 4; ++own) {
                const int at = own*1024 + threadIdx.x;
                const unsigned long long other = apart < 32 ? __shfl_xor_sync(0xffffffff, key[own], apart) : keys[at ^ apart];
                const bool rising = (at & size) == 0, smaller = ((at & apart) == 0) == rising;
                if ((other < key[own]) == smaller) key[own] = other;
            }
            if (apart >= 32) __syncthreads();
        }
    }
#pragma unroll
    for (int own = 0; own < 4; ++own) keys[own*1024 + threadIdx.x] = key[own];
    __syncthreads();
    unsigned short* start = dE_starts + (INDEX)blockIdx.x*(tiles + 1);
    for (int at = threadIdx.x; at/32*32 <= held; at += 1024) {
        const INDEX tile = at < held ? (INDEX)(keys[at]/32768) : tiles;
        const INDEX before = at == 0 ? -1 : at <= held ? (INDEX)(keys[at - 1]/32768) : tiles;
        // The tiles after that of one place and up to that of the next start there: a warp writes them together.
        for (unsigned gaps = __ballot_sync(0xffffffff, before < tile); gaps; gaps &= gaps - 1) {
            const int lane = __ffs(gaps) - 1;
            const INDEX last = __shfl_sync(0xffffffff, tile, lane);
            for (INDEX to = __shfl_sync(0xffffffff, before, lane) + 1 + threadIdx.x%32; to <= last; to += 32) {
                start[to] = at/32*32 + lane;
            }
        }
        if (at < held) {
            const bool whole = at%64 == 0 && tile < tiles && keys[at]/4096 == keys[at + 63]/4096;
            dE_order[begin + at] = keys[at]%32768 + (whole ? 32768 : 0);
        }
    }
}

// dE_parts[part]: the sum of 64 places in order, where they all add to one row
extern "C" __global__ void backward_dE_parts(
    const unsigned short* __restrict__ dE_order,  // [b*s]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dE_parts,  // [b*s // 64, d]
    INDEX size_d,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = (size_b*size_s)/64*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX width = size_d, first = element/width*64, d = element%width;
        if (dE_order[first] >= 32768) {
            const INDEX begin = first/4096*4096;
            Sum total;
            for (INDEX at = first; at < first + 64; ++at) {
                const INDEX place = begin + dE_order[at]%4096;
                total.add(dY[place*size_d + d]);
            }
            dE_parts[element] = total.value();
        }
    }
}

// dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))
extern "C" __global__ void backward_dE(
    const unsigned short* __restrict__ dE_order,  // [b*s]
    const unsigned short* __restrict__ dE_starts,  // [(b*s + 4095) // 4096, (v + 7) // 8 + 1]
    const float* __restrict__ dE_parts,  // [b*s // 64, d]
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dE,  // [v, d]
    INDEX size_v,
    INDEX size_d,
    INDEX size_b,
    INDEX size_s,
    int accumulate
)
{
    const INDEX width = size_d, tiles = (size_v + 7)/8, chunks = (size_b*size_s + 4095)/4096;

    // Rows of tiles that have few places: a line of threads each, 4 neighbours a thread.
    int across = 32;
    while (across/2*4 >= width) across /= 2;
    const INDEX step = (INDEX)gridDim.x*256/across;
    for (INDEX v = ((INDEX)blockIdx.x*256 + threadIdx.x)/across; v < size_v; v += step) {
        const INDEX tile = v/8;
        const INDEX held = tile_places(dE_starts, tile, tiles, chunks);
        if (held > 32) continue;
        for (INDEX first = threadIdx.x%across*4; first < width; first += across*4) {
            float found[4] = {};
            INDEX begin = 0;
            for (INDEX left = held; left > 0; begin += 4096) {
                const unsigned short* start = dE_starts + begin/4096*(tiles + 1) + tile;
                const int stop = start[1];
                for (int at = start[0]; at < stop; ++at, --left) {
                    const unsigned entry = dE_order[begin + at];
                    if (entry/4096%8 != v%8) continue;
                    const INDEX place = begin + entry%4096;
                    const auto dY_pack = load<4>(dY + place*size_d, first, width);
#pragma unroll
                    for (int lane = 0; lane < 4; ++lane) {
                        const INDEX d = first + lane;
                        if (d < width) {
                            const float value = dY_pack.lane[lane];
                            found[lane] += value;
                        }
                    }
                }
            }
            Pack<float, 4> dE_pack;
            if (accumulate) dE_pack = load<4>(dE + v*size_d, first, width);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX d = first + lane;
                if (d < width) {
                    const float total = found[lane];
                    dE_pack.lane[lane] = accumulate ? dE_pack.lane[lane] + total : total;
                }
            }
            store(dE + v*size_d, first, width, dE_pack);
        }
    }

    // The others: a block sums 8 rows, up to 32 elements of each; its lines of threads share the places, each with
    // sums of its own.  A block looks for its slabs among 256 at once.
    int lanes = 32;
    while (lanes/2 >= width) lanes /= 2;
    const int lane = threadIdx.x%lanes, line = threadIdx.x/lanes, lines = 256/lanes;
    const INDEX slabs = (width + lanes - 1)/lanes, shares = 0 < chunks && chunks < lines ? lines/chunks : 1;
    __shared__ float sums[8][256];
    __shared__ bool many[256];
    for (INDEX top = blockIdx.x; top < tiles*slabs; top += (INDEX)gridDim.x*256) {
        const INDEX mine = top + (INDEX)gridDim.x*threadIdx.x;
        many[threadIdx.x] = mine < tiles*slabs && tile_places(dE_starts, mine/slabs, tiles, chunks) > 32;
        if (!__syncthreads_or(many[threadIdx.x])) continue;
        for (int one = 0; one < 256; ++one) {
            if (!many[one]) continue;
            const INDEX slab = top + (INDEX)gridDim.x*one, tile = slab/slabs, d = slab%slabs*lanes + lane;
            for (int row = 0; row < 8; ++row) sums[row][threadIdx.x] = 0;
            for (INDEX piece = line; piece < chunks*shares && d < width; piece += lines) {
                const INDEX chunk = piece/shares, share = piece%shares, begin = chunk*4096;
                const int start = dE_starts[chunk*(tiles + 1) + tile], held = dE_starts[chunk*(tiles + 1) + tile + 1] - start;
                const int stop = start + held*(share + 1)/shares;
                for (int at = start + held*share/shares; at < stop;) {
                    const int edge = at/64*64 + 64, next = edge < stop ? edge : stop;
                    const unsigned first = dE_order[begin + at];
                    if (first >= 32768 && next - at == 64) {  // places that are summed already
                        sums[first/4096%8][threadIdx.x] += dE_parts[(begin + at)/64*width + d];
                        at = next;
                    }
                    for (; at < next; ++at) {
                        const unsigned entry = dE_order[begin + at];
                        const INDEX place = begin + entry%4096;
                        const INDEX v = tile*8 + entry/4096%8;
                        const float value = dY[place*size_d + d];
                        sums[v%8][threadIdx.x] += value;
                    }
                }
            }
            __syncthreads();
            const INDEX v = tile*8 + line;
            if (line < 8 && v < size_v && d < width) {
                Sum sum;
                for (int from = line; from < line + lines; ++from) sum.add(sums[line][from%lines*lanes + lane]);
                const float total = sum.value();
                dE[v*size_d + d] = accumulate ? dE[v*size_d + d] + total : total;
            }
            __syncthreads();
        }
        __syncthreads();  // before `many` is told anew
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
    // Threads (8, 32): 4 neighbouring columns a threadIdx.x, one row in 32 of the block's chunk a threadIdx.y.
    const INDEX columns = size_s*size_d, first = (INDEX)blockIdx.x*32 + threadIdx.x*4;
    const INDEX rows = size_b, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dP_part[4] = {};
    if (first < columns) {
        for (INDEX b = begin + threadIdx.y; b < end; b += 32) {
            const auto dY_pack = load<4>(dY + b*(size_s*size_d), first, columns);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX column = first + lane;
                if (column < columns) {
                    dP_part[lane] += dY_pack.lane[lane];
                }
            }
        }
    }
    // 8 places more than threads, so that what a warp reads below lies in different banks.
    __shared__ float tile[1][4][264];
    const int thread = threadIdx.y*8 + threadIdx.x;
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) tile[0][lane][thread] = dP_part[lane];
    __syncthreads();
    const INDEX column = (INDEX)blockIdx.x*32 + thread;
    if (thread < 32 && column < columns) {
        float dp = 0;
        for (int line = 0; line < 32; ++line) {
            dp += tile[0][thread%4][line*8 + thread/4];
        }
        if (chunks == 1) {
            dP[column] = accumulate ? dP[column] + dp : dp;
        } else {
            dP_partial[blockIdx.y*columns + column] = dp;
        }
    }
}

// dP[s,d] = sum(b, dY[b,s,d])
// Launched only where the sum was split.
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
