// rope: forward and backward, float32.  Made by `derive emit rope -o DIR`; do not edit.
//
//     size p = 2
//     input X[b,s,h,p,i]
//     Y[b,s,h,p,i] = X[b,s,h,p,i]*C[s,i] + where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i])*S[s,i]
//
//     dX[b,s,h,p,i] = where(p == 0, S[s,i]*dY[b,s,h,1,i], -S[s,i]*dY[b,s,h,0,i]) + C[s,i]*dY[b,s,h,p,i]
//     dC = einsum(bshai,bshai->si; X, dY)
//     dS[s,i] = sum(b, h, p, dY[b,s,h,p,i]*where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i]))
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

// Y[b,s,h,p,i] = C[s,i]*X[b,s,h,p,i] + S[s,i]*where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, s, h, 2, i]
    const float* __restrict__ C,  // [s, i]
    const float* __restrict__ S,  // [s, i]
    float* __restrict__ Y,  // [b, s, h, 2, i]
    INDEX size_b,
    INDEX size_s,
    INDEX size_h,
    INDEX size_i
)
{
    const INDEX count = size_b*size_s*size_h*2*size_i;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto X_pack = load<4>(X, first, count);
        Pack<float, 4> Y_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX i = element%size_i;
                const INDEX p = element/size_i%2;
                const INDEX s = element/size_i/2/size_h%size_s;
                Y_pack.lane[lane] = C[s*size_i + i]*X_pack.lane[lane] + S[s*size_i + i]*(p == 0 ? -X[(element/(2*size_i)*2 + 1)*size_i + i] : X[element/(2*size_i)*2*size_i + i]);
            }
        }
        store(Y, first, count, Y_pack);
    }
}

// dX[b,s,h,p,i] = where(p == 0, S[s,i]*dY[b,s,h,1,i], -S[s,i]*dY[b,s,h,0,i]) + C[s,i]*dY[b,s,h,p,i]
// dC[s,i] = sum(b, h, r, X[b,s,h,r,i]*dY[b,s,h,r,i]), of each chunk of rows
// dS[s,i] = sum(b, h, r, dY[b,s,h,r,i]*where(r == 0, -X[b,s,h,1,i], X[b,s,h,0,i])), of each chunk of rows
extern "C" __global__ void backward_dX_dC_dS(
    const float* __restrict__ X,  // [b, s, h, 2, i]
    const float* __restrict__ C,  // [s, i]
    const float* __restrict__ S,  // [s, i]
    const float* __restrict__ dY,  // [b, s, h, 2, i]
    float* __restrict__ dX,  // [b, s, h, 2, i]
    float* __restrict__ dC,  // [s, i]
    float* __restrict__ dS,  // [s, i]
    float* __restrict__ dC_partial,  // [chunks, s*i]
    float* __restrict__ dS_partial,  // [chunks, s*i]
    INDEX size_b,
    INDEX size_s,
    INDEX size_h,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_s*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_h*2, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc = 0;
    float ds = 0;
    if (column < columns) {
        const INDEX i = column%size_i;
        const INDEX s = column/size_i;
        const float c = C[column];
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX p = row%2;
            const INDEX h = row/2%size_h;
            const INDEX b = row/2/size_h;
            const float dy = dY[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i];
            const float dx = (p == 0 ? S[column]*dY[(((b*size_s + s)*size_h + h)*2 + 1)*size_i + i] : -(S[column]*dY[((b*size_s + s)*size_h + h)*2*size_i + i])) + c*dy;
            dX[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i] = accumulate ? dX[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i] + dx : dx;
            dc += X[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i]*dy;
            ds += dy*(p == 0 ? -X[(((b*size_s + s)*size_h + h)*2 + 1)*size_i + i] : X[((b*size_s + s)*size_h + h)*2*size_i + i]);
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc;
    tile[1][threadIdx.y][threadIdx.x] = ds;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc += tile[0][line][threadIdx.x];
            ds += tile[1][line][threadIdx.x];
        }
        if (chunks == 1) {
            dC[column] = accumulate ? dC[column] + dc : dc;
            dS[column] = accumulate ? dS[column] + ds : ds;
        } else {
            dC_partial[blockIdx.y*columns + column] = dc;
            dS_partial[blockIdx.y*columns + column] = ds;
        }
    }
}

// dC[s,i] = sum(b, h, r, X[b,s,h,r,i]*dY[b,s,h,r,i])
// dS[s,i] = sum(b, h, r, dY[b,s,h,r,i]*where(r == 0, -X[b,s,h,1,i], X[b,s,h,0,i]))
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_dC_dS_sum(
    const float* __restrict__ dC_partial,  // [chunks, s*i]
    const float* __restrict__ dS_partial,  // [chunks, s*i]
    float* __restrict__ dC,  // [s, i]
    float* __restrict__ dS,  // [s, i]
    INDEX size_s,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_s*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc = 0;
    float ds = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dc += dC_partial[chunk*columns + column];
            ds += dS_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc;
    tile[1][threadIdx.y][threadIdx.x] = ds;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc += tile[0][line][threadIdx.x];
            ds += tile[1][line][threadIdx.x];
        }
        dC[column] = accumulate ? dC[column] + dc : dc;
        dS[column] = accumulate ? dS[column] + ds : ds;
    }
}
