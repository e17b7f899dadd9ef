// gelu: forward and backward, float32.  Made by `derive emit gelu`; do not edit.
//
//     Y[i,j] = 0.5*X[i,j]*(1 + erf(X[i,j]/sqrt(2)))
//
//     dX = 0.5 (dY ∘ (erf(0.5 g) + (g ∘ exp(−0.5 X²)) / √π + 1))
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float square(float x) { return x*x; }

// Y[i,j] = 0.5*X[i,j]*(1 + erf(X[i,j]*rsqrt(2)))
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
        Y[element] = 0.5f*x*(1.0f + erff(x*rsqrtf(2.0f)));
    }
}

// g[i,j] = X[i,j]*sqrt(2)
// dX[i,j] = 0.5*dY[i,j]*(1 + erf(0.5*g[i,j]) + g[i,j]*rsqrt(pi)*exp((-0.5)*X[i,j]**2))
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
        const float g_value = x*sqrtf(2.0f);
        const float dx = 0.5f*dY[element]*(1.0f + erff(0.5f*g_value) + g_value*rsqrtf(3.1415927f)*expf(-0.5f*square(x)));
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
