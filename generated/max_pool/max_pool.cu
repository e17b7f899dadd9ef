// max_pool: forward and backward, float32.  Made by `derive emit max_pool -o DIR`; do not edit.
//
//     size p = 2
//     size q = 2
//     Y[b,c,y,x] = max(p, q, X[b,c,2*y+p,2*x+q])
//
//     dX[b,c,i,j] = sum(p, q, where((i - p)%2 == 0 and i - p >= 0 and (i - p)//2 < size(y) and (j - q)%2 == 0 and j - q >= 0 and (j - q)//2 < size(x) and X[b,c,p + 2*((i - p)//2),q + 2*((j - q)//2)] == Y[b,c,(i - p)//2,(j - q)//2], dY[b,c,(i - p)//2,(j - q)//2]/Y_ties[b,c,(i - p)//2,(j - q)//2], 0))
//     where
//     Y_ties[b,c,y,x] = sum(p, q, where(X[b,c,p + 2*y,q + 2*x] == Y[b,c,y,x], 1, 0))
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
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

// The greater of two; NaN if one of them is.
__device__ inline float greater(float x, float y) { return x > y || x != x ? x : y; }

// a / b rounded down, for b > 0.
template <class T> __device__ inline auto floordiv(T a, INDEX b) { return a / b - (a % b < 0); }

// The remainder of floordiv, from 0 to b - 1.
template <class T> __device__ inline auto mod(T a, INDEX b) { return (a % b + b) % b; }

// Y[b,c,y,x] = max(r, q, X[b,c,r + 2*y,q + 2*x])
extern "C" __global__ void forward_Y(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    float* __restrict__ Y,  // [b, c, y, x]
    INDEX size_b,
    INDEX size_c,
    INDEX size_y,
    INDEX size_x,
    INDEX size_X_2,
    INDEX size_X_3
)
{
    const INDEX count = size_b*size_c*size_y*size_x;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX x = element%size_x;
        const INDEX y = element/size_x%size_y;
        float greatest = -INFINITY;
        for (INDEX n2 = 0; n2 < 2; ++n2) {
            for (INDEX n2_ = 0; n2_ < 2; ++n2_) {
                greatest = greater(greatest, X[(element/(size_y*size_x)*size_X_2 + n2 + 2*y)*size_X_3 + n2_ + 2*x]);
            }
        }
        Y[element] = greatest;
    }
}

// Y_ties[b,c,y,x] = sum(r, q, where(X[b,c,r + 2*y,q + 2*x] == Y[b,c,y,x], 1, 0))
extern "C" __global__ void backward_Y_ties(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ Y,  // [b, c, y, x]
    float* __restrict__ Y_ties,  // [b, c, y, x]
    INDEX size_b,
    INDEX size_c,
    INDEX size_y,
    INDEX size_x,
    INDEX size_X_2,
    INDEX size_X_3
)
{
    const INDEX count = size_b*size_c*size_y*size_x;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX x = element%size_x;
        const INDEX y = element/size_x%size_y;
        Sum total;
        for (INDEX n2 = 0; n2 < 2; ++n2) {
            for (INDEX n2_ = 0; n2_ < 2; ++n2_) {
                if (X[(element/(size_y*size_x)*size_X_2 + n2 + 2*y)*size_X_3 + n2_ + 2*x] == Y[element]) {
                    total.add(1.0f);
                }
            }
        }
        Y_ties[element] = total.value();
    }
}

// dX[b,c,i,j] = sum(r, q, where((i - r) % 2 == 0 and i - r >= 0 and (i - r) // 2 < size(y) and (j - q) % 2 == 0 and j - q >= 0 and (j - q) // 2 < size(x) and X[b,c,r + 2*((i - r) // 2),q + 2*((j - q) // 2)] == Y[b,c,(i - r) // 2,(j - q) // 2], dY[b,c,(i - r) // 2,(j - q) // 2]/Y_ties[b,c,(i - r) // 2,(j - q) // 2], 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ X,  // [b, c, X_2, X_3]
    const float* __restrict__ Y,  // [b, c, y, x]
    const float* __restrict__ dY,  // [b, c, y, x]
    const float* __restrict__ Y_ties,  // [b, c, y, x]
    float* __restrict__ dX,  // [b, c, X_2, X_3]
    INDEX size_b,
    INDEX size_c,
    INDEX size_y,
    INDEX size_x,
    INDEX size_X_2,
    INDEX size_X_3,
    int accumulate
)
{
    const INDEX count = size_b*size_c*size_X_2*size_X_3;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX j = element%size_X_3;
        const INDEX i = element/size_X_3%size_X_2;
        Sum total;
        for (INDEX n2 = 0; n2 < 2; ++n2) {
            for (INDEX n2_ = 0; n2_ < 2; ++n2_) {
                if (mod(i - n2, 2) == 0 && i - n2 >= 0 && floordiv(i - n2, 2) < size_y && mod(j - n2_, 2) == 0 && j - n2_ >= 0 && floordiv(j - n2_, 2) < size_x && X[(element/(size_X_2*size_X_3)*size_X_2 + n2 + 2*floordiv(i - n2, 2))*size_X_3 + n2_ + 2*floordiv(j - n2_, 2)] == Y[(element/(size_X_2*size_X_3)*size_y + floordiv(i - n2, 2))*size_x + floordiv(j - n2_, 2)]) {
                    total.add(dY[(element/(size_X_2*size_X_3)*size_y + floordiv(i - n2, 2))*size_x + floordiv(j - n2_, 2)] / Y_ties[(element/(size_X_2*size_X_3)*size_y + floordiv(i - n2, 2))*size_x + floordiv(j - n2_, 2)]);
                }
            }
        }
        const float dx = total.value();
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
