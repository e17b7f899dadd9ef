// positional_embedding: forward and backward, float32.  Made by `derive emit positional_embedding`; do not edit.
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
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        Y[element] = E[ids[element/size_d]*size_d + d] + P[element%(size_s*size_d)];
    }
}

// dE_first[v]: the first place where ids is v;  dE_next[t]: the next place with the id of place t;  -1 at the end
extern "C" __global__ void backward_dE_chains(
    const ids_t* __restrict__ ids,  // [b, s]
    int* __restrict__ dE_first,  // [v]
    int* __restrict__ dE_next,  // [b*s]
    INDEX size_v,
    INDEX size_b,
    INDEX size_s
)
{
    const INDEX count = size_b*size_s;
    for (INDEX place = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; place < count; place += (INDEX)gridDim.x*blockDim.x) {
        const INDEX id = ids[place];
        INDEX before = place - 1;
        while (before >= 0 && ids[before] != id) --before;
        if (before >= 0) {
            dE_next[before] = place;
        } else if (0 <= id && id < size_v) {
            dE_first[id] = place;
        }
    }
}

// dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))
extern "C" __global__ void backward_dE(
    const int* __restrict__ dE_first,  // [v]
    const int* __restrict__ dE_next,  // [b*s]
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
        for (INDEX place = dE_first[v]; place >= 0; place = dE_next[place]) {
            total.add(dY[place*size_d + d]);
        }
        dE[element] = accumulate ? dE[element] + total.value() : total.value();
    }
}

// dP[s,d] = sum(b, dY[b,s,d]), of each chunk of rows
extern "C" __global__ void backward_dP_partial(
    const float* __restrict__ dY,  // [b, s, d]
    float* __restrict__ dP_partial,  // [chunks, s*d]
    INDEX size_d,
    INDEX size_b,
    INDEX size_s,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_s*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dp = 0;
    if (column < columns) {
        for (INDEX b = begin + threadIdx.y; b < end; b += 8) {
            dp = dp + dY[b*(size_s*size_d) + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dp;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dp += tile[0][line][threadIdx.x];
        }
        dP_partial[blockIdx.y*columns + column] = dp;
    }
}

// dP[s,d] = sum(b, dY[b,s,d])
extern "C" __global__ void backward_dP(
    const float* __restrict__ dP_partial,  // [chunks, s*d]
    float* __restrict__ dP,  // [s, d]
    INDEX size_d,
    INDEX size_s,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_s*size_d;
    for (INDEX column = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; column < count; column += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dP_partial[chunk*(size_s*size_d) + column]);
        }
        dP[column] = accumulate ? dP[column] + total.value() : total.value();
    }
}
