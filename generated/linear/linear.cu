// linear: forward and backward, float32.  Made by `derive emit linear`; do not edit.
//
//     Y[n,o] = sum(i, X[n,i]*W[i,o]) + b[o]
//
//     dX = dY Wᵀ
//     dW = Xᵀ dY
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

// Y_sum[n,o] = sum(i, W[i,o]*X[n,i])
// Y[n,o] = Y_sum[n,o] + b[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W,  // [i, o]
    const float* __restrict__ b,  // [o]
    float* __restrict__ Y,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_o, length = size_i;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = top + at, i = begin + step;
            float value = 0;
            if (n < rows && i < length) {
                value = X[n*size_i + i];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX o = left + at, i = begin + step;
            float value = 0;
            if (o < columns && i < length) {
                value = W[i*size_o + o];
            }
            Bs[step][at] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) {
                    acc[over][along] += As[step][my_row + over]*Bs[step][my_column + along];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
#pragma unroll
        for (int along = 0; along < 4; ++along) {
            const INDEX n = top + my_row + over, o = left + my_column + along;
            if (n < rows && o < columns) {
                const float y_sum = acc[over][along];
                Y[n*size_o + o] = y_sum + b[o];
            }
        }
    }
}

// dX[n,i] = sum(o, W[i,o]*dY[n,o])
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [i, o]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dX,  // [n, i]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_i, length = size_o;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = top + at, o = begin + step;
            float value = 0;
            if (n < rows && o < length) {
                value = dY[n*size_o + o];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX i = left + at, o = begin + step;
            float value = 0;
            if (i < columns && o < length) {
                value = W[i*size_o + o];
            }
            Bs[step][at] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) {
                    acc[over][along] += As[step][my_row + over]*Bs[step][my_column + along];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
#pragma unroll
        for (int along = 0; along < 4; ++along) {
            const INDEX n = top + my_row + over, i = left + my_column + along;
            if (n < rows && i < columns) {
                const float dx = acc[over][along];
                dX[n*size_i + i] = accumulate ? dX[n*size_i + i] + dx : dx;
            }
        }
    }
}

// dW[i,o] = sum(n, X[n,i]*dY[n,o])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dW,  // [i, o]
    INDEX size_n,
    INDEX size_o,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_i, columns = size_o, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX i = top + at, n = begin + step;
            float value = 0;
            if (i < rows && n < length) {
                value = X[n*size_i + i];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX o = left + at, n = begin + step;
            float value = 0;
            if (o < columns && n < length) {
                value = dY[n*size_o + o];
            }
            Bs[step][at] = value;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) {
                    acc[over][along] += As[step][my_row + over]*Bs[step][my_column + along];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
#pragma unroll
        for (int along = 0; along < 4; ++along) {
            const INDEX i = top + my_row + over, o = left + my_column + along;
            if (i < rows && o < columns) {
                const float dw = acc[over][along];
                dW[i*size_o + o] = accumulate ? dW[i*size_o + o] + dw : dw;
            }
        }
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
