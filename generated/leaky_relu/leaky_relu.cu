// leaky_relu: forward and backward, float32.  Made by `derive emit leaky_relu`; do not edit.
//
//     param slope = 0.01
//     Y[i,j] = where(X[i,j] > 0, X[i,j], slope*X[i,j])
//
//     dX = dY ∘ where(0 < X, 1, slope)
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// Y[i,j] = where(0 < X[i,j], X[i,j], 0.01*X[i,j])
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
        Y[element] = 0.0f < x ? x : 0.01f*x;
    }
}

// dX[i,j] = dY[i,j]*where(0 < X[i,j], 1, 0.01)
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
        const float dx = dY[element]*(0.0f < X[element] ? 1.0f : 0.01f);
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
