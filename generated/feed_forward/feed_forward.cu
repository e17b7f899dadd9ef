// feed_forward: forward and backward, float32.  Made by `derive emit feed_forward`; do not edit.
//
//     U[n,h] = sum(i, X[n,i]*W1[i,h]) + b1[h]
//     G[n,h] = 0.5*U[n,h]*(1 + tanh(sqrt(2/pi)*(U[n,h] + 0.044715*U[n,h]**3)))
//     Y[n,o] = sum(h, G[n,h]*W2[h,o]) + b2[o]
//
//     dX = dU W1ᵀ
//     dW1 = Xᵀ dU
//     db1 = dUᵀ 1
//     dW2 = Gᵀ dY
//     db2 = dYᵀ 1
//
// Saved for the backward: U.  Computed again: G.
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

__device__ inline float square(float x) { return x*x; }

__device__ inline float cube(float x) { return x*x*x; }

// U_sum[n,h] = sum(i, W1[i,h]*X[n,i])
// U[n,h] = U_sum[n,h] + b1[h]
// G[n,h] = 0.5*U[n,h]*(1 + tanh(sqrt(2)*sqrt(1/pi)*(U[n,h] + 0.044715*U[n,h]**3)))
extern "C" __global__ void forward_U_G(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W1,  // [i, h]
    const float* __restrict__ b1,  // [h]
    float* __restrict__ U,  // [n, h]
    float* __restrict__ G,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_h, length = size_i;
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
            const INDEX h = left + at, i = begin + step;
            float value = 0;
            if (h < columns && i < length) {
                value = W1[i*size_h + h];
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
            const INDEX n = top + my_row + over, h = left + my_column + along;
            if (n < rows && h < columns) {
                const float u_sum = acc[over][along];
                const float u = u_sum + b1[h];
                U[n*size_h + h] = u;
                G[n*size_h + h] = 0.5f*u*(1.0f + tanhf(sqrtf(2.0f)*sqrtf(1.0f / 3.1415927f)*(u + 0.044715f*cube(u))));
            }
        }
    }
}

// Y_sum[n,o] = sum(h, G[n,h]*W2[h,o])
// Y[n,o] = Y_sum[n,o] + b2[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ W2,  // [h, o]
    const float* __restrict__ b2,  // [o]
    const float* __restrict__ G,  // [n, h]
    float* __restrict__ Y,  // [n, o]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_o, length = size_h;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = top + at, h = begin + step;
            float value = 0;
            if (n < rows && h < length) {
                value = G[n*size_h + h];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX o = left + at, h = begin + step;
            float value = 0;
            if (o < columns && h < length) {
                value = W2[h*size_o + o];
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
                Y[n*size_o + o] = y_sum + b2[o];
            }
        }
    }
}

// dG[n,h] = sum(o, W2[h,o]*dY[n,o])
extern "C" __global__ void backward_dG(
    const float* __restrict__ W2,  // [h, o]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dG,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_h, length = size_o;
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
            const INDEX h = left + at, o = begin + step;
            float value = 0;
            if (h < columns && o < length) {
                value = W2[h*size_o + o];
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
            const INDEX n = top + my_row + over, h = left + my_column + along;
            if (n < rows && h < columns) {
                const float dg = acc[over][along];
                dG[n*size_h + h] = dg;
            }
        }
    }
}

// g[n,h] = tanh(sqrt(2)*rsqrt(pi)*(U[n,h] + 0.044715*U[n,h]**3))
// dU[n,h] = 0.5*dG[n,h]*(1 + g[n,h] + U[n,h]*sqrt(2)*rsqrt(pi)*(1 - g[n,h]**2)*(1 + 0.134145*U[n,h]**2))
extern "C" __global__ void backward_dU(
    const float* __restrict__ U,  // [n, h]
    const float* __restrict__ dG,  // [n, h]
    float* __restrict__ dU,  // [n, h]
    INDEX size_n,
    INDEX size_h
)
{
    const INDEX count = size_n*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float v = sqrtf(2.0f);
        const float v_ = rsqrtf(3.1415927f);
        const float u = U[element];
        const float g_value = tanhf(v*v_*(u + 0.044715f*cube(u)));
        dU[element] = 0.5f*dG[element]*(1.0f + g_value + u*v*v_*(1.0f - square(g_value))*(1.0f + 0.134145f*square(u)));
    }
}

// dX[n,i] = sum(h, W1[i,h]*dU[n,h])
extern "C" __global__ void backward_dX(
    const float* __restrict__ W1,  // [i, h]
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ dX,  // [n, i]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_i, length = size_h;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = top + at, h = begin + step;
            float value = 0;
            if (n < rows && h < length) {
                value = dU[n*size_h + h];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX i = left + at, h = begin + step;
            float value = 0;
            if (i < columns && h < length) {
                value = W1[i*size_h + h];
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

// dW1[i,h] = sum(n, X[n,i]*dU[n,h])
extern "C" __global__ void backward_dW1(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ dW1,  // [i, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_i, columns = size_h, length = size_n;
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
            const INDEX h = left + at, n = begin + step;
            float value = 0;
            if (h < columns && n < length) {
                value = dU[n*size_h + h];
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
            const INDEX i = top + my_row + over, h = left + my_column + along;
            if (i < rows && h < columns) {
                const float dw1 = acc[over][along];
                dW1[i*size_h + h] = accumulate ? dW1[i*size_h + h] + dw1 : dw1;
            }
        }
    }
}

// db1[h] = sum(n, dU[n,h]), of each chunk of rows
extern "C" __global__ void backward_db1_partial(
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ db1_partial,  // [chunks, h]
    INDEX size_n,
    INDEX size_h,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_h, h = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_n, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db1_value = 0;
    if (h < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 8) {
            db1_value = db1_value + dU[n*size_h + h];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db1_value;
    __syncthreads();
    if (threadIdx.y == 0 && h < columns) {
        for (int line = 1; line < 8; ++line) {
            db1_value += tile[0][line][threadIdx.x];
        }
        db1_partial[blockIdx.y*columns + h] = db1_value;
    }
}

// db1[h] = sum(n, dU[n,h])
extern "C" __global__ void backward_db1(
    const float* __restrict__ db1_partial,  // [chunks, h]
    float* __restrict__ db1,  // [h]
    INDEX size_h,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h;
    for (INDEX h = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; h < count; h += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(db1_partial[chunk*size_h + h]);
        }
        db1[h] = accumulate ? db1[h] + total.value() : total.value();
    }
}

// dW2_sum[h,o] = sum(n, U[n,h]*dY[n,o]*(1 + tanh(sqrt(2)*sqrt(1/pi)*(U[n,h] + 0.044715*U[n,h]**3))))
// dW2[h,o] = 0.5*dW2_sum[h,o]
extern "C" __global__ void backward_dW2(
    const float* __restrict__ U,  // [n, h]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dW2,  // [h, o]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_h, columns = size_o, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX h = top + at, n = begin + step;
            float value = 0;
            if (h < rows && n < length) {
                const float u = U[n*size_h + h];
                value = u*(1.0f + tanhf(sqrtf(2.0f)*sqrtf(1.0f / 3.1415927f)*(u + 0.044715f*cube(u))));
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
            const INDEX h = top + my_row + over, o = left + my_column + along;
            if (h < rows && o < columns) {
                const float dw2_sum = acc[over][along];
                const float dw2 = 0.5f*dw2_sum;
                dW2[h*size_o + o] = accumulate ? dW2[h*size_o + o] + dw2 : dw2;
            }
        }
    }
}

// db2[o] = sum(n, dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_db2_partial(
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ db2_partial,  // [chunks, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the chunk a threadIdx.y.
    const INDEX columns = size_o, o = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_n, share = (rows + chunks - 1)/chunks;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db2_value = 0;
    if (o < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 8) {
            db2_value = db2_value + dY[n*size_o + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db2_value;
    __syncthreads();
    if (threadIdx.y == 0 && o < columns) {
        for (int line = 1; line < 8; ++line) {
            db2_value += tile[0][line][threadIdx.x];
        }
        db2_partial[blockIdx.y*columns + o] = db2_value;
    }
}

// db2[o] = sum(n, dY[n,o])
extern "C" __global__ void backward_db2(
    const float* __restrict__ db2_partial,  // [chunks, o]
    float* __restrict__ db2,  // [o]
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_o;
    for (INDEX o = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; o < count; o += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(db2_partial[chunk*size_o + o]);
        }
        db2[o] = accumulate ? db2[o] + total.value() : total.value();
    }
}
