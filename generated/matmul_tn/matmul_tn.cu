// matmul_tn: forward and backward, float32.  Made by `derive emit matmul_tn`; do not edit.
//
//     Y[m,n] = sum(k, A[k,m]*B[k,n])
//
//     dA = B dYᵀ
//     dB = A dY
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// Y[m,n] = sum(k, A[k,m]*B[k,n])
extern "C" __global__ void forward_Y(
    const float* __restrict__ A,  // [k, m]
    const float* __restrict__ B,  // [k, n]
    float* __restrict__ Y,  // [m, n]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_m, columns = size_n, length = size_k;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < length) {
                value = A[k*size_m + m];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX n = left + at, k = begin + step;
            float value = 0;
            if (n < columns && k < length) {
                value = B[k*size_n + n];
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
            const INDEX m = top + my_row + over, n = left + my_column + along;
            if (m < rows && n < columns) {
                const float y = acc[over][along];
                Y[m*size_n + n] = y;
            }
        }
    }
}

// dA[k,m] = sum(n, B[k,n]*dY[m,n])
extern "C" __global__ void backward_dA(
    const float* __restrict__ B,  // [k, n]
    const float* __restrict__ dY,  // [m, n]
    float* __restrict__ dA,  // [k, m]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_k, columns = size_m, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX k = top + at, n = begin + step;
            float value = 0;
            if (k < rows && n < length) {
                value = B[k*size_n + n];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX m = left + at, n = begin + step;
            float value = 0;
            if (m < columns && n < length) {
                value = dY[m*size_n + n];
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
            const INDEX k = top + my_row + over, m = left + my_column + along;
            if (k < rows && m < columns) {
                const float da = acc[over][along];
                dA[k*size_m + m] = accumulate ? dA[k*size_m + m] + da : da;
            }
        }
    }
}

// dB[k,n] = sum(m, A[k,m]*dY[m,n])
extern "C" __global__ void backward_dB(
    const float* __restrict__ A,  // [k, m]
    const float* __restrict__ dY,  // [m, n]
    float* __restrict__ dB,  // [k, n]
    INDEX size_m,
    INDEX size_n,
    INDEX size_k,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_k, columns = size_n, length = size_m;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX k = top + at, m = begin + step;
            float value = 0;
            if (k < rows && m < length) {
                value = A[k*size_m + m];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread%64, step = thread/64 + part*4;
            const INDEX n = left + at, m = begin + step;
            float value = 0;
            if (n < columns && m < length) {
                value = dY[m*size_n + n];
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
            const INDEX k = top + my_row + over, n = left + my_column + along;
            if (k < rows && n < columns) {
                const float db = acc[over][along];
                dB[k*size_n + n] = accumulate ? dB[k*size_n + n] + db : db;
            }
        }
    }
}
