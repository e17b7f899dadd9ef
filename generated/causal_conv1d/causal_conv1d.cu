// causal_conv1d: forward and backward, float32.  Made by `derive emit causal_conv1d -o DIR`; do not edit.
//
//     input X[b,c,t]
//     Y[b,c,t] = sum(r, where(t - r >= 0, X[b,c,t-r], 0)*W[c,r]) + k[c]
//
//     dX[b,c,t] = sum(r, where(r + t < size(t), W[c,r]*dY[b,c,r + t], 0))
//     dW[c,r] = sum(b, t, where(t - r >= 0, X[b,c,t - r]*dY[b,c,t], 0))
//     dk = einsum(bct->c; dY)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dW over W.

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

// The sum of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_sum(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {
        part += threadIdx.y*blockDim.x/32;  // the places of this row's warps
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

// Y_sum[b,c,t] = sum(r, W[c,r]*where(t - r >= 0, X[b,c,t - r], 0))
// Y[b,c,t] = Y_sum[b,c,t] + k[c]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, t]
    const float* __restrict__ W,  // [c, r]
    const float* __restrict__ k,  // [c]
    float* __restrict__ Y,  // [b, c, t]
    INDEX size_b,
    INDEX size_c,
    INDEX size_t,
    INDEX size_r
)
{
    const INDEX count = size_b*size_c*size_t;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX c = element/size_t%size_c;
        Sum total;
        for (INDEX r = 0; r < size_r; ++r) {
            total.add(W[c*size_r + r]*(t - r >= 0 ? X[element/size_t*size_t + t - r] : 0.0f));
        }
        const float y_sum = total.value();
        Y[element] = y_sum + k[c];
    }
}

// dX[b,c,t] = sum(r, where(r + t < size(t), W[c,r]*dY[b,c,r + t], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ W,  // [c, r]
    const float* __restrict__ dY,  // [b, c, t]
    float* __restrict__ dX,  // [b, c, t]
    INDEX size_b,
    INDEX size_c,
    INDEX size_t,
    INDEX size_r,
    int accumulate
)
{
    const INDEX count = size_b*size_c*size_t;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX c = element/size_t%size_c;
        Sum total;
        for (INDEX r = 0; r < size_r; ++r) {
            if (t + r < size_t) {
                total.add(W[c*size_r + r]*dY[element/size_t*size_t + t + r]);
            }
        }
        const float dx = total.value();
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dW[c,r] = sum(b, t, where(t - r >= 0, X[b,c,t - r]*dY[b,c,t], 0))
extern "C" __global__ void backward_dW(
    const float* __restrict__ X,  // [b, c, t]
    const float* __restrict__ dY,  // [b, c, t]
    float* __restrict__ dW,  // [c, r]
    INDEX size_b,
    INDEX size_c,
    INDEX size_t,
    INDEX size_r,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c*size_r, count = size_b*size_t;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;
    const INDEX r = row%size_r;
    const INDEX c = row/size_r;

    float dw = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        if (t - r >= 0) dw += X[(b*size_c + c)*size_t + t - r]*dY[(b*size_c + c)*size_t + t];
    }
    dw = row_sum(dw, part[0]);
    if (writer) dW[row] = accumulate ? dW[row] + dw : dw;
}

// dk[c] = sum(b, t, dY[b,c,t])
extern "C" __global__ void backward_dk(
    const float* __restrict__ dY,  // [b, c, t]
    float* __restrict__ dk,  // [c]
    INDEX size_b,
    INDEX size_c,
    INDEX size_t,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_c, count = size_b*size_t;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX c = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float dk_value = 0;
    for (INDEX element = threadIdx.x; element < stop; element += blockDim.x) {
        const INDEX t = element%size_t;
        const INDEX b = element/size_t;
        dk_value += dY[(b*size_c + c)*size_t + t];
    }
    dk_value = row_sum(dk_value, part[0]);
    if (writer) dk[c] = accumulate ? dk[c] + dk_value : dk_value;
}
