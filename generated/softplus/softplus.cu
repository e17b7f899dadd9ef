// softplus: forward and backward, float32.  Made by `derive emit softplus`; do not edit.
//
//     Y[i,j] = log(1 + exp(X[i,j]))
//
//     dX = dY ∘ σ(X)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// log(1 + exp(x)), which neither overflows nor cancels.
__device__ inline float softplus(float x) { return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x))); }

// Y[i,j] = softplus(X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Y[element] = softplus(X[element]);
    }
}

// dX[i,j] = dY[i,j]*sigmoid(X[i,j])
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
        const float dx = dY[element]*sigmoid(X[element]);
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
