// swiglu: forward and backward, float32.  Made by `derive emit swiglu`; do not edit.
//
//     Y[n,h] = A[n,h]*sigmoid(A[n,h])*B[n,h]
//
//     dA = B ∘ g ∘ (A ∘ (1 − s) + 1)
//     dB = A ∘ g
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: s.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// s[n,h] = sigmoid(A[n,h])
// Y[n,h] = A[n,h]*B[n,h]*s[n,h]
extern "C" __global__ void forward_Y(
    const float* __restrict__ A,  // [n, h]
    const float* __restrict__ B,  // [n, h]
    float* __restrict__ Y,  // [n, h]
    INDEX size_n,
    INDEX size_h
)
{
    const INDEX count = size_n*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float a = A[element];
        const float s_value = sigmoid(a);
        Y[element] = a*B[element]*s_value;
    }
}

// g[n,h] = dY[n,h]*sigmoid(A[n,h])
// dA[n,h] = B[n,h]*g[n,h]*(1 + A[n,h]*(1 - sigmoid(A[n,h])))
// dB[n,h] = A[n,h]*g[n,h]
extern "C" __global__ void backward_dA_dB(
    const float* __restrict__ A,  // [n, h]
    const float* __restrict__ B,  // [n, h]
    const float* __restrict__ dY,  // [n, h]
    float* __restrict__ dA,  // [n, h]
    float* __restrict__ dB,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    int accumulate
)
{
    const INDEX count = size_n*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float a = A[element];
        const float s = sigmoid(a);
        const float g_value = dY[element]*s;
        const float da = B[element]*g_value*(1.0f + a*(1.0f - s));
        dA[element] = accumulate ? dA[element] + da : da;
        const float db = a*g_value;
        dB[element] = accumulate ? dB[element] + db : db;
    }
}
