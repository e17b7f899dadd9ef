// gelu_tanh: forward and backward, float32.  Made by `derive emit gelu_tanh`; do not edit.
//
//     Y[i,j] = 0.5*X[i,j]*(1 + tanh(sqrt(2/pi)*(X[i,j] + 0.044715*X[i,j]**3)))
//
//     dX = 0.5 (dY ∘ (g + √2 (X ∘ (1 − g²) ∘ (0.134145 X² + 1)) / √π + 1))
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif

__device__ inline float square(float x) { return x*x; }

__device__ inline float cube(float x) { return x*x*x; }

// Y[i,j] = 0.5*X[i,j]*(1 + tanh(sqrt(2)*sqrt(1/pi)*(X[i,j] + 0.044715*X[i,j]**3)))
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
        Y[element] = 0.5f*x*(1.0f + tanhf(sqrtf(2.0f)*sqrtf(1.0f / 3.1415927f)*(x + 0.044715f*cube(x))));
    }
}

// g[i,j] = tanh(sqrt(2)*rsqrt(pi)*(X[i,j] + 0.044715*X[i,j]**3))
// dX[i,j] = 0.5*dY[i,j]*(1 + g[i,j] + X[i,j]*sqrt(2)*rsqrt(pi)*(1 - g[i,j]**2)*(1 + 0.134145*X[i,j]**2))
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
        const float v = sqrtf(2.0f);
        const float v_ = rsqrtf(3.1415927f);
        const float x = X[element];
        const float g_value = tanhf(v*v_*(x + 0.044715f*cube(x)));
        const float dx = 0.5f*dY[element]*(1.0f + g_value + x*v*v_*(1.0f - square(g_value))*(1.0f + 0.134145f*square(x)));
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
