// rope: forward and backward, float32.  Made by `derive emit rope`; do not edit.
//
//     size p = 2
//     input X[b,s,h,p,i]
//     Y[b,s,h,p,i] = X[b,s,h,p,i]*C[s,i] + where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i])*S[s,i]
//
//     dX[b,s,h,p,i] = where(0 == p, sum(l, where(0 != l, S[s,i]*dY[b,s,h,l,i], 0)), 0) + where(1 == p, sum(l, where(0 == l, -S[s,i]*dY[b,s,h,l,i], 0)), 0) + C[s,i]*dY[b,s,h,p,i]
//     dC = einsum(bshai,bshai->si; X, dY)
//     dS[s,i] = sum(b, h, p, dY[b,s,h,p,i]*where(0 == p, -X[b,s,h,1,i], X[b,s,h,0,i]))
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

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

// Y[b,s,h,p,i] = C[s,i]*X[b,s,h,p,i] + S[s,i]*where(0 == p, -X[b,s,h,1,i], X[b,s,h,0,i])
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
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX i = element%size_i;
        const INDEX p = element/size_i%2;
        const INDEX s = element/size_i/2/size_h%size_s;
        Y[element] = C[s*size_i + i]*X[element] + S[s*size_i + i]*(0 == p ? -X[(element/(2*size_i)*2 + 1)*size_i + i] : X[element/(2*size_i)*2*size_i + i]);
    }
}

// dX[b,s,h,p,i] = where(0 == p, S[s,i]*dY[b,s,h,1,i], 0) + where(1 == p, -S[s,i]*dY[b,s,h,0,i], 0) + C[s,i]*dY[b,s,h,p,i]
extern "C" __global__ void backward_dX(
    const float* __restrict__ C,  // [s, i]
    const float* __restrict__ S,  // [s, i]
    const float* __restrict__ dY,  // [b, s, h, 2, i]
    float* __restrict__ dX,  // [b, s, h, 2, i]
    INDEX size_b,
    INDEX size_s,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    const INDEX count = size_b*size_s*size_h*2*size_i;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX i = element%size_i;
        const INDEX p = element/size_i%2;
        const INDEX s = element/size_i/2/size_h%size_s;
        const float dx = (0 == p ? S[s*size_i + i]*dY[(element/(2*size_i)*2 + 1)*size_i + i] : 0.0f) + (1 == p ? -(S[s*size_i + i]*dY[element/(2*size_i)*2*size_i + i]) : 0.0f) + C[s*size_i + i]*dY[element];
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dC[s,i] = sum(b, h, =2, X[b,s,h,=2,i]*dY[b,s,h,=2,i]), of each chunk of rows
// dS[s,i] = sum(b, h, =2, dY[b,s,h,=2,i]*where(0 == =2, -X[b,s,h,1,i], X[b,s,h,0,i])), of each chunk of rows
extern "C" __global__ void backward_dC_dS_partial(
    const float* __restrict__ X,  // [b, s, h, 2, i]
    const float* __restrict__ dY,  // [b, s, h, 2, i]
    float* __restrict__ dC_partial,  // [chunks, s*i]
    float* __restrict__ dS_partial,  // [chunks, s*i]
    INDEX size_b,
    INDEX size_s,
    INDEX size_h,
    INDEX size_i,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_s*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_h*2, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc = 0;
    float ds = 0;
    if (column < columns) {
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX i = column%size_i;
            const INDEX s = column/size_i;
            const INDEX n2 = row%2;
            const INDEX h = row/2%size_h;
            const INDEX b = row/2/size_h;
            const float dy = dY[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i];
            dc = dc + X[((b*size_s + s)*(size_h*2) + row%(size_h*2))*size_i + i]*dy;
            ds = ds + dy*(0 == n2 ? -X[(((b*size_s + s)*size_h + h)*2 + 1)*size_i + i] : X[((b*size_s + s)*size_h + h)*2*size_i + i]);
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
        dC_partial[blockIdx.y*columns + column] = dc;
        dS_partial[blockIdx.y*columns + column] = ds;
    }
}

// dC[s,i] = sum(b, h, =2, X[b,s,h,=2,i]*dY[b,s,h,=2,i])
// dS[s,i] = sum(b, h, =2, dY[b,s,h,=2,i]*where(0 == =2, -X[b,s,h,1,i], X[b,s,h,0,i]))
extern "C" __global__ void backward_dC_dS(
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
    const INDEX count = size_s*size_i;
    for (INDEX column = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; column < count; column += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dC_partial[chunk*(size_s*size_i) + column]);
        }
        dC[column] = accumulate ? dC[column] + total.value() : total.value();
        Sum total_;
        for (INDEX chunk_ = 0; chunk_ < chunks; ++chunk_) {
            total_.add(dS_partial[chunk_*(size_s*size_i) + column]);
        }
        dS[column] = accumulate ? dS[column] + total_.value() : total_.value();
    }
}
