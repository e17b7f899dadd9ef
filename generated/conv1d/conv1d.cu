// conv1d: forward and backward, float32.  Made by `derive emit conv1d`; do not edit.
//
//     Y[b,o,t] = sum(c, r, X[b,c,t+r]*W[o,c,r]) + k[o]
//
//     dX[b,c,i] = sum(o, r, where(0 <= i - r and i - r < size(t), W[o,c,r]*dY[b,o,i - r], 0))
//     dW[o,c,r] = sum(b, t, X[b,c,r + t]*dY[b,o,t])
//     dk = einsum(bot->o; dY)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

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

// Y_sum[b,o,t] = sum(c, r, W[o,c,r]*X[b,c,r + t])
// Y[b,o,t] = Y_sum[b,o,t] + k[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, X_2]
    const float* __restrict__ W,  // [o, c, r]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, t]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_b*size_t, length = size_c*size_r;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX o = top + at, k_ = begin + step;
            float value = 0;
            if (o < rows && k_ < length) {
                value = W[o*(size_c*size_r) + k_];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX t = n%size_t;
                const INDEX b = n/size_t;
                const INDEX r = k_%size_r;
                const INDEX c = k_/size_r;
                value = X[(b*size_c + c)*size_X_2 + t + r];
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
            const INDEX o = top + my_row + over, n = left + my_column + along;
            if (o < rows && n < columns) {
                const float y_sum = acc[over][along];
                const INDEX t = n%size_t;
                const INDEX b = n/size_t;
                Y[(b*size_o + o)*size_t + t] = y_sum + k[o];
            }
        }
    }
}

// dX[b,c,i] = sum(o, r, where((0 <= i - r) and (i - r < size(t)), W[o,c,r]*dY[b,o,i - r], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [o, c, r]
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dX,  // [b, c, X_2]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_b*size_X_2, length = size_o*size_r;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX c = top + at, k_ = begin + step;
            float value = 0;
            if (c < rows && k_ < length) {
                const INDEX r = k_%size_r;
                const INDEX o = k_/size_r;
                value = W[(o*size_c + c)*size_r + r];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX i = n%size_X_2;
                const INDEX b = n/size_X_2;
                const INDEX r = k_%size_r;
                const INDEX o = k_/size_r;
                value = 0 <= i - r && (float)(i - r) < (float)size_t ? dY[(b*size_o + o)*size_t + i - r] : 0.0f;
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
            const INDEX c = top + my_row + over, n = left + my_column + along;
            if (c < rows && n < columns) {
                const float dx = acc[over][along];
                const INDEX i = n%size_X_2;
                const INDEX b = n/size_X_2;
                dX[(b*size_c + c)*size_X_2 + i] = accumulate ? dX[(b*size_c + c)*size_X_2 + i] + dx : dx;
            }
        }
    }
}

// dW[o,c,r] = sum(b, t, X[b,c,t + r]*dY[b,o,t])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [b, c, X_2]
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dW,  // [o, c, r]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    INDEX size_c,
    INDEX size_r,
    INDEX size_X_2,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_c*size_r, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float acc[4][4] = {};
    for (INDEX begin = 0; begin < length; begin += 16) {
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX o = top + at, k_ = begin + step;
            float value = 0;
            if (o < rows && k_ < length) {
                const INDEX t = k_%size_t;
                const INDEX b = k_/size_t;
                value = dY[(b*size_o + o)*size_t + t];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX r = n%size_r;
                const INDEX c = n/size_r;
                const INDEX t = k_%size_t;
                const INDEX b = k_/size_t;
                value = X[(b*size_c + c)*size_X_2 + r + t];
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
            const INDEX o = top + my_row + over, n = left + my_column + along;
            if (o < rows && n < columns) {
                const float dw = acc[over][along];
                dW[o*(size_c*size_r) + n] = accumulate ? dW[o*(size_c*size_r) + n] + dw : dw;
            }
        }
    }
}

// dk[o] = sum(b, t, dY[b,o,t])
extern "C" __global__ void backward_dk(
    const float* __restrict__ dY,  // [b, o, t]
    float* __restrict__ dk,  // [o]
    INDEX size_b,
    INDEX size_o,
    INDEX size_t,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_o, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX o = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_b*size_t : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dk_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        dk_value = dk_value + dY[(b*size_o + o)*size_t + t];
    }
    dk_value = row_sum(dk_value);
    if (writer) {
        dk[o] = accumulate ? dk[o] + dk_value : dk_value;
    }
}
