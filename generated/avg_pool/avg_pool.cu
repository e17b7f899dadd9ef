// avg_pool: forward and backward, float32.  Made by `derive emit avg_pool -o DIR`; do not edit.
//
//     size p = 2
//     size q = 2
//     Y[b,c,y,x] = mean(p, q, X[b,c,2*y+p,2*x+q])
//
//     dX[b,c,i,j] = sum(p, q, where((i - p)%2 == 0 and i - p >= 0 and (i - p)//2 < size(y) and (j - q)%2 == 0 and j - q >= 0 and (j - q)//2 < size(x), dY[b,c,(i - p)//2,(j - q)//2]/2**2, 0))
//
// Saved for the backward: nothing beyond inputs and outputs.
// Sums are kept in float32; the same bits at every run.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
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

// Neighbours of an array, moved 16 bytes at once.
template <class T, int lanes = 16/sizeof(T)> struct alignas(16) Pack { T lane[lanes]; };

// Whether an array is aligned to 16 bytes at `first` and has so many elements from there on.
template <int lanes, class T> __device__ inline bool whole(const T* array, INDEX first, INDEX count) {
    return first + lanes <= count && (unsigned long long)(array + first)%16 == 0;
}

// The first `count - first` lanes of a pack, and no more.
template <class T, int lanes> __device__ inline void store(T* into, INDEX first, INDEX count, const Pack<T, lanes>& pack) {
    if (whole<lanes>(into, first, count)) {
        *(Pack<T, lanes>*)(into + first) = pack;
        return;
    }
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
        if (first + lane < count) into[first + lane] = pack.lane[lane];
    }
}

__device__ inline float square(float x) { return x*x; }

// a / b rounded down, for b > 0.
template <class T> __device__ inline auto floordiv(T a, INDEX b) { return a / b - (a % b < 0); }

// The remainder of floordiv, from 0 to b - 1.
template <class T> __device__ inline auto mod(T a, INDEX b) { return (a % b + b) % b; }

// Y[b,c,y,x] = (X[b,c,1 + 2*y,1 + 2*x] + X[b,c,1 + 2*y,2*x] + X[b,c,2*y,1 + 2*x] + X[b,c,2*y,2*x])/2**2
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
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        Pack<float, 4> Y_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX x = element%size_x;
                const INDEX y = element/size_x%size_y;
                Y_pack.lane[lane] = (X[(element/(size_y*size_x)*size_X_2 + 2*y + 1)*size_X_3 + 2*x + 1] + X[(element/(size_y*size_x)*size_X_2 + 2*y + 1)*size_X_3 + 2*x] + X[(element/(size_y*size_x)*size_X_2 + 2*y)*size_X_3 + 2*x + 1] + X[(element/(size_y*size_x)*size_X_2 + 2*y)*size_X_3 + 2*x]) / square((float)2);
            }
        }
        store(Y, first, count, Y_pack);
    }
}

// dX[b,c,i,j] = sum(r, q, where((i - r) % 2 == 0 and i - r >= 0 and (i - r) // 2 < size(y) and (j - q) % 2 == 0 and j - q >= 0 and (j - q) // 2 < size(x), dY[b,c,(i - r) // 2,(j - q) // 2]/2**2, 0))
extern "C" __global__ void backward_dX(
    const float* __restrict__ dY,  // [b, c, y, x]
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
                if (mod(i - n2, 2) == 0 && i - n2 >= 0 && floordiv(i - n2, 2) < size_y && mod(j - n2_, 2) == 0 && j - n2_ >= 0 && floordiv(j - n2_, 2) < size_x) {
                    total.add(dY[(element/(size_X_2*size_X_3)*size_y + floordiv(i - n2, 2))*size_x + floordiv(j - n2_, 2)] / square((float)2));
                }
            }
        }
        const float dx = total.value();
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}
