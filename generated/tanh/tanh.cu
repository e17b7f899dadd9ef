// tanh: forward and backward, float32.  Made by `derive emit tanh`; do not edit.
//
//     Y[i,j] = tanh(X[i,j])
//
//     dX = dY ∘ (1 − Y²)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float square(float x) { return x*x; }

// Y[i,j] = tanh(X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Y[element] = tanhf(X[element]);
    }
}

// dX[i,j] = dY[i,j]*(1 - Y[i,j]**2)
extern "C" __global__ void backward_dX(
    const float* __restrict__ Y,  // [i, j]
    const float* __restrict__ dY,  // [i, j]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float dx = dY[element]*(1.0f - square(Y[element]));
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
