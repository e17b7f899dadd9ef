// residual: forward and backward, float32.  Made by `derive emit residual`; do not edit.
//
//     Y[i,j] = X[i,j] + Z[i,j]
//
//     dX = dY
//     dZ = dY
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

// Y[i,j] = X[i,j] + Z[i,j]
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [i, j]
    const float* __restrict__ Z,  // [i, j]
    float* __restrict__ Y,  // [i, j]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Y[element] = X[element] + Z[element];
    }
}

// dX[i,j] = dY[i,j]
extern "C" __global__ void backward_dX(
    const float* __restrict__ dY,  // [i, j]
    float* __restrict__ dX,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float dx = dY[element];
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dZ[i,j] = dY[i,j]
extern "C" __global__ void backward_dZ(
    const float* __restrict__ dY,  // [i, j]
    float* __restrict__ dZ,  // [i, j]
    INDEX size_i,
    INDEX size_j,
    int accumulate
)
{
    const INDEX count = size_i*size_j;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const float dz = dY[element];
        dZ[element] = accumulate ? dZ[element] + dz : dz;
    }
}
