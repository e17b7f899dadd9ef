// bilinear: forward and backward, float32.  Made by `derive emit bilinear`; do not edit.
//
//     Y[n,o] = sum(i, j, X[n,i]*W[o,i,j]*Z[n,j]) + b[o]
//
//     dX = einsum(oij,nj,no->ni; W, Z, dY)
//     dW = einsum(ni,nj,no->oij; X, Z, dY)
//     dZ = einsum(oij,ni,no->nj; W, X, dY)
//     db = dYᵀ 1
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

// The sum of x over the threads of a row, known to all of them.
__device__ inline float row_sum(float x) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {  // a row a block: the warps meet in shared memory
        __shared__ float part[32];
        __syncthreads();
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

// Y_sum[n,o] = sum(i, j, W[o,i,j]*X[n,i]*Z[n,j])
// Y[n,o] = Y_sum[n,o] + b[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W,  // [o, i, j]
    const float* __restrict__ Z,  // [n, j]
    const float* __restrict__ b,  // [o]
    float* __restrict__ Y,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    INDEX size_j
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n*size_o, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_i*size_j : 0;
    const bool writer = group < rows && threadIdx.x == 0;
    const INDEX o = row%size_o;
    const INDEX n = row/size_o;

    float y_sum = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX j = element%size_j;
        const INDEX i = element/size_j;
        y_sum = y_sum + W[o*(size_i*size_j) + element]*X[n*size_i + i]*Z[n*size_j + j];
    }
    y_sum = row_sum(y_sum);
    const float y = y_sum + b[o];
    if (writer) {
        Y[row] = y;
    }
}

// dX[n,i] = sum(o, j, W[o,i,j]*Z[n,j]*dY[n,o])
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [o, i, j]
    const float* __restrict__ Z,  // [n, j]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dX,  // [n, i]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_n*size_i, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_o*size_j : 0;
    const bool writer = group < rows && threadIdx.x == 0;
    const INDEX i = row%size_i;
    const INDEX n = row/size_i;

    float dx = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX j = element%size_j;
        const INDEX o = element/size_j;
        dx = dx + W[(o*size_i + i)*size_j + j]*Z[n*size_j + j]*dY[n*size_o + o];
    }
    dx = row_sum(dx);
    if (writer) {
        dX[row] = accumulate ? dX[row] + dx : dx;
    }
}

// dW[o,i,j] = sum(n, X[n,i]*Z[n,j]*dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_dW_partial(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ Z,  // [n, j]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dW_partial,  // [chunks, o*j*i]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    INDEX size_j,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_o*size_j*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_n, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dw = 0;
    if (column < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 8) {
            const INDEX i = column%size_i;
            const INDEX j = column/size_i%size_j;
            const INDEX o = column/size_i/size_j;
            dw = dw + X[n*size_i + i]*Z[n*size_j + j]*dY[n*size_o + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dw;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dw += tile[0][line][threadIdx.x];
        }
        dW_partial[blockIdx.y*columns + column] = dw;
    }
}

// dW[o,i,j] = sum(n, X[n,i]*Z[n,j]*dY[n,o])
extern "C" __global__ void backward_dW(
    const float* __restrict__ dW_partial,  // [chunks, o*j*i]
    float* __restrict__ dW,  // [o, i, j]
    INDEX size_o,
    INDEX size_i,
    INDEX size_j,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_o*size_j*size_i;
    for (INDEX column = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; column < count; column += (INDEX)gridDim.x*blockDim.x) {
        const INDEX i = column%size_i;
        const INDEX j = column/size_i%size_j;
        const INDEX o = column/size_i/size_j;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW_partial[chunk*(size_o*size_j*size_i) + column]);
        }
        dW[(o*size_i + i)*size_j + j] = accumulate ? dW[(o*size_i + i)*size_j + j] + total.value() : total.value();
    }
}

// dZ[n,j] = sum(o, i, W[o,i,j]*X[n,i]*dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_dZ_partial(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W,  // [o, i, j]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dZ_partial,  // [chunks, n*j]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    INDEX size_j,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_n*size_j, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_o*size_i, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dz = 0;
    if (column < columns) {
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX j = column%size_j;
            const INDEX n = column/size_j;
            const INDEX i = row%size_i;
            const INDEX o = row/size_i;
            dz = dz + W[row*size_j + j]*X[n*size_i + i]*dY[n*size_o + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dz;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dz += tile[0][line][threadIdx.x];
        }
        dZ_partial[blockIdx.y*columns + column] = dz;
    }
}

// dZ[n,j] = sum(o, i, W[o,i,j]*X[n,i]*dY[n,o])
extern "C" __global__ void backward_dZ(
    const float* __restrict__ dZ_partial,  // [chunks, n*j]
    float* __restrict__ dZ,  // [n, j]
    INDEX size_n,
    INDEX size_j,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_n*size_j;
    for (INDEX column = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; column < count; column += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dZ_partial[chunk*(size_n*size_j) + column]);
        }
        dZ[column] = accumulate ? dZ[column] + total.value() : total.value();
    }
}

// db[o] = sum(n, dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_db_partial(
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ db_partial,  // [chunks, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_o, o = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_n, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db_value = 0;
    if (o < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 8) {
            db_value = db_value + dY[n*size_o + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db_value;
    __syncthreads();
    if (threadIdx.y == 0 && o < columns) {
        for (int line = 1; line < 8; ++line) {
            db_value += tile[0][line][threadIdx.x];
        }
        db_partial[blockIdx.y*columns + o] = db_value;
    }
}

// db[o] = sum(n, dY[n,o])
extern "C" __global__ void backward_db(
    const float* __restrict__ db_partial,  // [chunks, o]
    float* __restrict__ db,  // [o]
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_o;
    for (INDEX o = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; o < count; o += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(db_partial[chunk*size_o + o]);
        }
        db[o] = accumulate ? db[o] + total.value() : total.value();
    }
}
