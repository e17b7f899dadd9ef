// silu: forward and backward, float32.  Made by `derive emit silu`; do not edit.
//
//     Y[i,j] = X[i,j]*sigmoid(X[i,j])
//
//     dX = dY ∘ (s + X ∘ s ∘ (1 − s))
//
// Saved for the backward: nothing beyond inputs and outputs.  Computed again: s.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// s[i,j] = sigmoid(X[i,j])
// Y[i,j] = X[i,j]*s[i,j]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float x = X[element];
        const float s_value = sigmoid(x);
        Y[element] = x*s_value;
    }
}

// dX[i,j] = dY[i,j]*(sigmoid(X[i,j]) + X[i,j]*sigmoid(X[i,j])*(1 - sigmoid(X[i,j])))
extern "C" __global__ void backward_dX(
    const float* __restrict__ X,  // [i, j]
    const float* __restrict__ dY,  // [i, j]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float x = X[element];
        const float s = sigmoid(x);
        const float dx = dY[element]*(s + x*s*(1.0f - s));
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
