// sigmoid: forward and backward, float32.  Made by `derive emit sigmoid`; do not edit.
//
//     Y[i,j] = sigmoid(X[i,j])
//
//     dX = Y ∘ dY ∘ (1 − Y)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

// Y[i,j] = sigmoid(X[i,j])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Y[element] = sigmoid(X[element]);
    }
}

// dX[i,j] = Y[i,j]*dY[i,j]*(1 - Y[i,j])
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
        const float y = Y[element];
        const float dx = y*dY[element]*(1.0f - y);
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
