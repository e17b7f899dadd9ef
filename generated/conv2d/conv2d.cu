// conv2d: forward and backward, float32.  Made by `derive emit conv2d`; do not edit.
//
//     Y[b,o,y,x] = sum(c, p, q, X[b,c,y+p,x+q]*W[o,c,p,q]) + k[o]
//
//     dX[b,c,i,j] = sum(o, p, q, where(0 <= i - p and i - p < size(y) and 0 <= j - q and j - q < size(x), W[o,c,p,q]*dY[b,o,i - p,j - q], 0))
//     dW[o,c,p,q] = sum(b, y, x, X[b,c,p + y,q + x]*dY[b,o,y,x])
//     dk = einsum(boyx->o; dY)
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

// Y_sum[b,o,y,x] = sum(c, p, q, W[o,c,p,q]*X[b,c,p + y,q + x])
// Y[b,o,y,x] = Y_sum[b,o,y,x] + k[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ W,  // [o, c, p, q]
    const float* __restrict__ k,  // [o]
    float* __restrict__ Y,  // [b, o, y, x]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_b*size_y*size_x, length = size_c*size_p*size_q;
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
                value = W[o*(size_c*size_p*size_q) + k_];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX x = n%size_x;
                const INDEX y = n/size_x%size_y;
                const INDEX b = n/size_x/size_y;
                const INDEX q = k_%size_q;
                const INDEX p = k_/size_q%size_p;
                const INDEX c = k_/size_q/size_p;
                value = X[((b*size_c + c)*size_X_2 + y + p)*size_X_3 + x + q];
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
                const INDEX b = n/size_x/size_y;
                Y[(b*size_o + o)*(size_y*size_x) + n%(size_y*size_x)] = y_sum + k[o];
            }
        }
    }
}

// dX[b,c,i,j] = sum(o, p, q, where((0 <= i - p) and (i - p < size(y)) and (0 <= j - q) and (j - q < size(x)), W[o,c,p,q]*dY[b,o,i - p,j - q], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [o, c, p, q]
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dX,  // [b, c, X_2, X_3]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_b*size_X_2*size_X_3, length = size_o*size_p*size_q;
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
                const INDEX o = k_/size_q/size_p;
                value = W[(o*size_c + c)*(size_p*size_q) + k_%(size_p*size_q)];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX j = n%size_X_3;
                const INDEX i = n/size_X_3%size_X_2;
                const INDEX b = n/size_X_3/size_X_2;
                const INDEX q = k_%size_q;
                const INDEX p = k_/size_q%size_p;
                const INDEX o = k_/size_q/size_p;
                value = 0 <= i - p && (float)(i - p) < (float)size_y && 0 <= j - q && (float)(j - q) < (float)size_x ? dY[((b*size_o + o)*size_y + i - p)*size_x + j - q] : 0.0f;
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
                const INDEX b = n/size_X_3/size_X_2;
                dX[(b*size_c + c)*(size_X_2*size_X_3) + n%(size_X_2*size_X_3)] = accumulate ? dX[(b*size_c + c)*(size_X_2*size_X_3) + n%(size_X_2*size_X_3)] + dx : dx;
            }
        }
    }
}

// dW[o,c,p,q] = sum(b, y, x, X[b,c,y + p,x + q]*dY[b,o,y,x])
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dW,  // [o, c, p, q]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    INDEX size_c,
    INDEX size_p,
    INDEX size_q,
    INDEX size_X_2,
    INDEX size_X_3,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    __shared__ float As[16][68], Bs[16][68];
    const INDEX rows = size_o, columns = size_c*size_p*size_q, length = size_b*size_y*size_x;
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
                const INDEX b = k_/size_x/size_y;
                value = dY[(b*size_o + o)*(size_y*size_x) + k_%(size_y*size_x)];
            }
            As[step][at] = value;
        }
        for (int part = 0; part < 4; ++part) {
            const int at = thread/16 + part*16, step = thread%16;
            const INDEX n = left + at, k_ = begin + step;
            float value = 0;
            if (n < columns && k_ < length) {
                const INDEX q = n%size_q;
                const INDEX p = n/size_q%size_p;
                const INDEX c = n/size_q/size_p;
                const INDEX x = k_%size_x;
                const INDEX y = k_/size_x%size_y;
                const INDEX b = k_/size_x/size_y;
                value = X[((b*size_c + c)*size_X_2 + p + y)*size_X_3 + q + x];
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
                dW[o*(size_c*size_p*size_q) + n] = accumulate ? dW[o*(size_c*size_p*size_q) + n] + dw : dw;
            }
        }
    }
}

// dk[o] = sum(b, y, x, dY[b,o,y,x])
extern "C" __global__ void backward_dk(
    const float* __restrict__ dY,  // [b, o, y, x]
    float* __restrict__ dk,  // [o]
    INDEX size_b,
    INDEX size_o,
    INDEX size_y,
    INDEX size_x,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_o, group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX o = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? size_b*size_y*size_x : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dk_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX b = element/size_x/size_y;
        dk_value = dk_value + dY[(b*size_o + o)*(size_y*size_x) + element%(size_y*size_x)];
    }
    dk_value = row_sum(dk_value);
    if (writer) {
        dk[o] = accumulate ? dk[o] + dk_value : dk_value;
    }
}
