// feed_forward: forward and backward, float32.  Made by `derive emit feed_forward -o DIR`; do not edit.
//
//     U[n,h] = sum(i, X[n,i]*W1[i,h]) + b1[h]
//     G[n,h] = 0.5*U[n,h]*(1 + tanh(sqrt(2/pi)*(U[n,h] + 0.044715*U[n,h]**3)))
//     Y[n,o] = sum(h, G[n,h]*W2[h,o]) + b2[o]
//
//     dX = dU W1ᵀ
//     dW1 = Xᵀ dU
//     db1 = dUᵀ 1
//     dW2 = Gᵀ dY
//     db2 = dYᵀ 1
//     where
//     t[n,h] = tanh(sqrt(2)*(U[n,h] + 0.044715*U[n,h]**3)/sqrt(pi))
//     dG[n,h] = sum(o, W2[h,o]*dY[n,o])
//     dU[n,h] = 0.5*dG[n,h]*(t[n,h] + U[n,h]*sqrt(2)*(1 - t[n,h]**2)*(0.134145*U[n,h]**2 + 1)/sqrt(pi) + 1)
//
// Saved for the backward: U.  Computed again: t, G.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dW1 over W1, dW2 over W2.
// A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

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

// The elements from `first` on: 16 bytes at once where that can be, else one by one; past the end, the first again.
template <int lanes, class T> __device__ inline Pack<T, lanes> load(const T* from, INDEX first, INDEX count) {
    if (whole<lanes>(from, first, count)) return *(const Pack<T, lanes>*)(from + first);
    Pack<T, lanes> pack;
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) pack.lane[lane] = from[first + lane < count ? first + lane : first];
    return pack;
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

__device__ inline float cube(float x) { return x*x*x; }

// Whether rows of `count` elements all begin at a multiple of 16 bytes.
template <class T> __device__ inline bool in_packs(const T* array, INDEX count) {
    return (unsigned long long)array%16 == 0 && count%(INDEX)(16/sizeof(T)) == 0;
}

// The next 16 bytes: in one access if `whole`, else those of the first `count` elements, and zeros.
template <class T> __device__ inline Pack<T> read(const T* from, bool whole, INDEX count) {
    if (whole) return *(const Pack<T>*)from;
    Pack<T> pack = {};
    for (int lane = 0; lane < 16/sizeof(T); ++lane) {
        if (lane < count) pack.lane[lane] = from[lane];
    }
    return pack;
}

// U_sum[n,h] = sum(i, W1[i,h]*X[n,i])
// U[n,h] = U_sum[n,h] + b1[h]
// t[n,h] = tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3))
// G[n,h] = 0.5*U[n,h]*(1 + t[n,h])
extern "C" __global__ void forward_U_G(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ W1,  // [i, h]
    const float* __restrict__ b1,  // [h]
    float* __restrict__ U,  // [n, h]
    float* __restrict__ G,  // [n, h]
    float* __restrict__ U_sum_partial,  // [chunks, n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_h, length = size_i;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, length);
    const bool whole_b = in_packs(W1, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, i = begin + step;
            Pack<float> pack = {};
            if (n < rows && i < end) {
                pack = read(X + n*size_i + i, whole_a, end - i);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX h = left + at, i = begin + step;
            Pack<float> pack = {};
            if (h < columns && i < end) {
                pack = read(W1 + i*size_h + h, whole_b, columns - h);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(U_sum_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        const auto b1_pack = load<4>(b1, first, columns);
        Pack<float, 4> U_pack;
        Pack<float, 4> G_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX h = first + lane;
            if (h < columns) {
                const float u_sum = results[over].lane[lane];
                const float u = u_sum + b1_pack.lane[lane];
                U_pack.lane[lane] = u;
                const float t = tanhf(0.7978846f*(u + 0.044715f*cube(u)));
                G_pack.lane[lane] = 0.5f*u*(1.0f + t);
            }
        }
        store(U + n*size_h, first, columns, U_pack);
        store(G + n*size_h, first, columns, G_pack);
    }
}

// U_sum[n,h] = sum(i, W1[i,h]*X[n,i]), from chunks of the sum
// U[n,h] = U_sum[n,h] + b1[h]
// t[n,h] = tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3))
// G[n,h] = 0.5*U[n,h]*(1 + t[n,h])
// Launched only where the sum was split.
extern "C" __global__ void forward_U_G_chunks(
    const float* __restrict__ U_sum_partial,  // [chunks, n, h]
    const float* __restrict__ b1,  // [h]
    float* __restrict__ U,  // [n, h]
    float* __restrict__ G,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX chunks
)
{
    const INDEX count = size_n*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX h = element%size_h;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(U_sum_partial[chunk*(size_n*size_h) + element]);
        }
        const float u_sum = total.value();
        const float u = u_sum + b1[h];
        U[element] = u;
        const float t = tanhf(0.7978846f*(u + 0.044715f*cube(u)));
        G[element] = 0.5f*u*(1.0f + t);
    }
}

// Y_sum[n,o] = sum(h, G[n,h]*W2[h,o])
// Y[n,o] = Y_sum[n,o] + b2[o]
extern "C" __global__ void forward_Y(
    const float* __restrict__ W2,  // [h, o]
    const float* __restrict__ b2,  // [o]
    const float* __restrict__ G,  // [n, h]
    float* __restrict__ Y,  // [n, o]
    float* __restrict__ Y_sum_partial,  // [chunks, n, o]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_o, length = size_h;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(G, length);
    const bool whole_b = in_packs(W2, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, h = begin + step;
            Pack<float> pack = {};
            if (n < rows && h < end) {
                pack = read(G + n*size_h + h, whole_a, end - h);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX o = left + at, h = begin + step;
            Pack<float> pack = {};
            if (o < columns && h < end) {
                pack = read(W2 + h*size_o + o, whole_b, columns - o);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Y_sum_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> Y_pack;
        const auto b2_pack = load<4>(b2, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX o = first + lane;
            if (o < columns) {
                const float y_sum = results[over].lane[lane];
                Y_pack.lane[lane] = y_sum + b2_pack.lane[lane];
            }
        }
        store(Y + n*size_o, first, columns, Y_pack);
    }
}

// Y_sum[n,o] = sum(h, G[n,h]*W2[h,o]), from chunks of the sum
// Y[n,o] = Y_sum[n,o] + b2[o]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, n, o]
    const float* __restrict__ b2,  // [o]
    float* __restrict__ Y,  // [n, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks
)
{
    const INDEX count = size_n*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX o = element%size_o;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_n*size_o) + element]);
        }
        const float y_sum = total.value();
        Y[element] = y_sum + b2[o];
    }
}

// dG[n,h] = sum(o, W2[h,o]*dY[n,o])
// dU[n,h] = 0.5*dG[n,h]*(1 + tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3)) + 0.7978845608028654*U[n,h]*(1 - tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3))**2)*(1 + 0.134145*U[n,h]**2))
extern "C" __global__ void backward_dU(
    const float* __restrict__ W2,  // [h, o]
    const float* __restrict__ U,  // [n, h]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dU,  // [n, h]
    float* __restrict__ dG_partial,  // [chunks, n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_h, length = size_o;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, length);
    const bool whole_b = in_packs(W2, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, o = begin + step;
            Pack<float> pack = {};
            if (n < rows && o < end) {
                pack = read(dY + n*size_o + o, whole_a, end - o);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX h = left + at, o = begin + step;
            Pack<float> pack = {};
            if (h < columns && o < end) {
                pack = read(W2 + h*size_o + o, whole_b, end - o);
            }
            for (int lane = 0; lane < 4; ++lane) Bs[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dG_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        const auto U_pack = load<4>(U + n*size_h, first, columns);
        Pack<float, 4> dU_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX h = first + lane;
            if (h < columns) {
                const float dg = results[over].lane[lane];
                const float u = U_pack.lane[lane];
                const float t = tanhf(0.7978846f*(u + 0.044715f*cube(u)));
                dU_pack.lane[lane] = 0.5f*dg*(1.0f + t + 0.7978846f*u*(1.0f - square(t))*(1.0f + 0.134145f*square(u)));
            }
        }
        store(dU + n*size_h, first, columns, dU_pack);
    }
}

// dG[n,h] = sum(o, W2[h,o]*dY[n,o]), from chunks of the sum
// dU[n,h] = 0.5*dG[n,h]*(1 + tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3)) + 0.7978845608028654*U[n,h]*(1 - tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3))**2)*(1 + 0.134145*U[n,h]**2))
// Launched only where the sum was split.
extern "C" __global__ void backward_dU_chunks(
    const float* __restrict__ dG_partial,  // [chunks, n, h]
    const float* __restrict__ U,  // [n, h]
    float* __restrict__ dU,  // [n, h]
    INDEX size_n,
    INDEX size_h,
    INDEX chunks
)
{
    const INDEX count = size_n*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dG_partial[chunk*(size_n*size_h) + element]);
        }
        const float dg = total.value();
        const float u = U[element];
        const float t = tanhf(0.7978846f*(u + 0.044715f*cube(u)));
        dU[element] = 0.5f*dg*(1.0f + t + 0.7978846f*u*(1.0f - square(t))*(1.0f + 0.134145f*square(u)));
    }
}

// dX[n,i] = sum(h, W1[i,h]*dU[n,h])
extern "C" __global__ void backward_dX(
    const float* __restrict__ W1,  // [i, h]
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ dX,  // [n, i]
    float* __restrict__ dX_partial,  // [chunks, n, i]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_n, columns = size_i, length = size_h;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dU, length);
    const bool whole_b = in_packs(W1, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = top + at, h = begin + step;
            Pack<float> pack = {};
            if (n < rows && h < end) {
                pack = read(dU + n*size_h + h, whole_a, end - h);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX i = left + at, h = begin + step;
            Pack<float> pack = {};
            if (i < columns && h < end) {
                pack = read(W1 + i*size_h + h, whole_b, end - h);
            }
            for (int lane = 0; lane < 4; ++lane) Bs[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX n = top + my_row + over, first = left + my_column;
        if (n >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_partial + (blockIdx.y*rows + n)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + n*size_i, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX i = first + lane;
            if (i < columns) {
                const float dx = results[over].lane[lane];
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + n*size_i, first, columns, dX_pack);
    }
}

// dX[n,i] = sum(h, W1[i,h]*dU[n,h]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_chunks(
    const float* __restrict__ dX_partial,  // [chunks, n, i]
    float* __restrict__ dX,  // [n, i]
    INDEX size_n,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_n*size_i;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_partial[chunk*(size_n*size_i) + element]);
        }
        const float dx = total.value();
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dW1[i,h] = sum(n, X[n,i]*dU[n,h])
extern "C" __global__ void backward_dW1(
    const float* __restrict__ X,  // [n, i]
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ dW1,  // [i, h]
    float* __restrict__ dW1_partial,  // [chunks, i, h]
    INDEX size_n,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_i, columns = size_h, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, rows);
    const bool whole_b = in_packs(dU, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX i = top + at, n = begin + step;
            Pack<float> pack = {};
            if (i < rows && n < end) {
                pack = read(X + n*size_i + i, whole_a, rows - i);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX h = left + at, n = begin + step;
            Pack<float> pack = {};
            if (h < columns && n < end) {
                pack = read(dU + n*size_h + h, whole_b, columns - h);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX i = top + my_row + over, first = left + my_column;
        if (i >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dW1_partial + (blockIdx.y*rows + i)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dW1_pack;
        if (accumulate) dW1_pack = load<4>(dW1 + i*size_h, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX h = first + lane;
            if (h < columns) {
                const float dw1 = results[over].lane[lane];
                dW1_pack.lane[lane] = accumulate ? dW1_pack.lane[lane] + dw1 : dw1;
            }
        }
        store(dW1 + i*size_h, first, columns, dW1_pack);
    }
}

// dW1[i,h] = sum(n, X[n,i]*dU[n,h]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dW1_chunks(
    const float* __restrict__ dW1_partial,  // [chunks, i, h]
    float* __restrict__ dW1,  // [i, h]
    INDEX size_h,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_i*size_h;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW1_partial[chunk*(size_i*size_h) + element]);
        }
        const float dw1 = total.value();
        dW1[element] = accumulate ? dW1[element] + dw1 : dw1;
    }
}

// db1[h] = sum(n, dU[n,h]), of each chunk of rows
extern "C" __global__ void backward_db1(
    const float* __restrict__ dU,  // [n, h]
    float* __restrict__ db1,  // [h]
    float* __restrict__ db1_partial,  // [chunks, h]
    INDEX size_n,
    INDEX size_h,
    INDEX chunks,
    int accumulate
)
{
    // Threads (8, 32): 4 neighbouring columns a threadIdx.x, one row in 32 of the block's chunk a threadIdx.y.
    const INDEX columns = size_h, first = (INDEX)blockIdx.x*32 + threadIdx.x*4;
    const INDEX rows = size_n, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db1_part[4] = {};
    if (first < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 32) {
            const auto dU_pack = load<4>(dU + n*size_h, first, columns);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX h = first + lane;
                if (h < columns) {
                    db1_part[lane] += dU_pack.lane[lane];
                }
            }
        }
    }
    // 8 places more than threads, so that what a warp reads below lies in different banks.
    __shared__ float tile[1][4][264];
    const int thread = threadIdx.y*8 + threadIdx.x;
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) tile[0][lane][thread] = db1_part[lane];
    __syncthreads();
    const INDEX h = (INDEX)blockIdx.x*32 + thread;
    if (thread < 32 && h < columns) {
        float db1_value = 0;
        for (int line = 0; line < 32; ++line) {
            db1_value += tile[0][thread%4][line*8 + thread/4];
        }
        if (chunks == 1) {
            db1[h] = accumulate ? db1[h] + db1_value : db1_value;
        } else {
            db1_partial[blockIdx.y*columns + h] = db1_value;
        }
    }
}

// db1[h] = sum(n, dU[n,h])
// Launched only where the sum was split.
extern "C" __global__ void backward_db1_sum(
    const float* __restrict__ db1_partial,  // [chunks, h]
    float* __restrict__ db1,  // [h]
    INDEX size_h,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h, h = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db1_value = 0;
    if (h < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            db1_value += db1_partial[chunk*columns + h];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db1_value;
    __syncthreads();
    if (threadIdx.y == 0 && h < columns) {
        for (int line = 1; line < 8; ++line) {
            db1_value += tile[0][line][threadIdx.x];
        }
        db1[h] = accumulate ? db1[h] + db1_value : db1_value;
    }
}

// dW2_sum[h,o] = sum(n, U[n,h]*dY[n,o]*(1 + tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3))))
// dW2[h,o] = 0.5*dW2_sum[h,o]
extern "C" __global__ void backward_dW2(
    const float* __restrict__ U,  // [n, h]
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ dW2,  // [h, o]
    float* __restrict__ dW2_sum_partial,  // [chunks, h, o]
    INDEX size_n,
    INDEX size_h,
    INDEX size_o,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_h, columns = size_o, length = size_n;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(dY, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX h = top + at, n = begin + step;
            float value = 0;
            if (h < rows && n < end) {
                const float u = U[n*size_h + h];
                value = u*(1.0f + tanhf(0.7978846f*(u + 0.044715f*cube(u))));
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX o = left + at, n = begin + step;
            Pack<float> pack = {};
            if (o < columns && n < end) {
                pack = read(dY + n*size_o + o, whole_b, columns - o);
            }
            *(Pack<float>*)&Bs[step][at ^ step/4*8] = pack;
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < 16; ++step) {
            const Pack<float> pack_a = *(Pack<float>*)&As[step][my_row ^ step/4*8];
            const Pack<float> pack_b = *(Pack<float>*)&Bs[step][my_column ^ step/4*8];
#pragma unroll
            for (int over = 0; over < 4; ++over) {
#pragma unroll
                for (int along = 0; along < 4; ++along) results[over].lane[along] += pack_a.lane[over]*pack_b.lane[along];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX h = top + my_row + over, first = left + my_column;
        if (h >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dW2_sum_partial + (blockIdx.y*rows + h)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dW2_pack;
        if (accumulate) dW2_pack = load<4>(dW2 + h*size_o, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX o = first + lane;
            if (o < columns) {
                const float dw2_sum = results[over].lane[lane];
                const float dw2 = 0.5f*dw2_sum;
                dW2_pack.lane[lane] = accumulate ? dW2_pack.lane[lane] + dw2 : dw2;
            }
        }
        store(dW2 + h*size_o, first, columns, dW2_pack);
    }
}

// dW2_sum[h,o] = sum(n, U[n,h]*dY[n,o]*(1 + tanh(0.7978845608028654*(U[n,h] + 0.044715*U[n,h]**3)))), from chunks of the sum
// dW2[h,o] = 0.5*dW2_sum[h,o]
// Launched only where the sum was split.
extern "C" __global__ void backward_dW2_chunks(
    const float* __restrict__ dW2_sum_partial,  // [chunks, h, o]
    float* __restrict__ dW2,  // [h, o]
    INDEX size_h,
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h*size_o;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dW2_sum_partial[chunk*(size_h*size_o) + element]);
        }
        const float dw2_sum = total.value();
        const float dw2 = 0.5f*dw2_sum;
        dW2[element] = accumulate ? dW2[element] + dw2 : dw2;
    }
}

// db2[o] = sum(n, dY[n,o]), of each chunk of rows
extern "C" __global__ void backward_db2(
    const float* __restrict__ dY,  // [n, o]
    float* __restrict__ db2,  // [o]
    float* __restrict__ db2_partial,  // [chunks, o]
    INDEX size_n,
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    // Threads (8, 32): 4 neighbouring columns a threadIdx.x, one row in 32 of the block's chunk a threadIdx.y.
    const INDEX columns = size_o, first = (INDEX)blockIdx.x*32 + threadIdx.x*4;
    const INDEX rows = size_n, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db2_part[4] = {};
    if (first < columns) {
        for (INDEX n = begin + threadIdx.y; n < end; n += 32) {
            const auto dY_pack = load<4>(dY + n*size_o, first, columns);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX o = first + lane;
                if (o < columns) {
                    db2_part[lane] += dY_pack.lane[lane];
                }
            }
        }
    }
    // 8 places more than threads, so that what a warp reads below lies in different banks.
    __shared__ float tile[1][4][264];
    const int thread = threadIdx.y*8 + threadIdx.x;
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) tile[0][lane][thread] = db2_part[lane];
    __syncthreads();
    const INDEX o = (INDEX)blockIdx.x*32 + thread;
    if (thread < 32 && o < columns) {
        float db2_value = 0;
        for (int line = 0; line < 32; ++line) {
            db2_value += tile[0][thread%4][line*8 + thread/4];
        }
        if (chunks == 1) {
            db2[o] = accumulate ? db2[o] + db2_value : db2_value;
        } else {
            db2_partial[blockIdx.y*columns + o] = db2_value;
        }
    }
}

// db2[o] = sum(n, dY[n,o])
// Launched only where the sum was split.
extern "C" __global__ void backward_db2_sum(
    const float* __restrict__ db2_partial,  // [chunks, o]
    float* __restrict__ db2,  // [o]
    INDEX size_o,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_o, o = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float db2_value = 0;
    if (o < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            db2_value += db2_partial[chunk*columns + o];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = db2_value;
    __syncthreads();
    if (threadIdx.y == 0 && o < columns) {
        for (int line = 1; line < 8; ++line) {
            db2_value += tile[0][line][threadIdx.x];
        }
        db2[o] = accumulate ? db2[o] + db2_value : db2_value;
    }
}
