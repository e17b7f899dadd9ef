// attention_block: forward and backward, float32.  Made by `derive emit attention_block -o DIR`; do not edit.
//
//     Q[b,h,t,d] = sum(c, X[b,t,c]*wq[h,d,c])
//     K[b,h,t,d] = sum(c, X[b,t,c]*wk[h,d,c])
//     V[b,h,t,d] = sum(c, X[b,t,c]*wv[h,d,c])
//     S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
//     P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
//     O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
//     Y[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d])
//
//     dX[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]) + sum(h, d, dQ[b,h,t,d]*wq[h,d,c]) + sum(h, d, dV[b,h,t,d]*wv[h,d,c])
//     dwq = einsum(btc,bhtd->hdc; X, dQ)
//     dwk = einsum(btc,bhtd->hdc; X, dK)
//     dwv = einsum(btc,bhtd->hdc; X, dV)
//     dwo = einsum(bhtd,btc->chd; O, dY)
//     where
//     dO[b,h,t,d] = sum(c, dY[b,t,c]*wo[c,h,d])
//     dP[b,h,t,s] = sum(d, V[b,h,s,d]*dO[b,h,t,d])
//     dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))
//     dV[b,h,t,d] = sum(s, P[b,h,s,t]*dO[b,h,s,d])
//     dK[b,h,t,d] = sum(s, Q[b,h,s,d]*dS_sum[b,h,s,t])
//     dQ[b,h,t,d] = sum(s, K[b,h,s,d]*dS_sum[b,h,t,s])
//
// Saved for the backward: Q, K, V, P_lse, O.  Computed again: P, S, S_sum, dS_sum.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dwq over wq, dwq over wk, dwq over wv, dwo over wo.
// A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

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

// The sum of x over the threads of a row, known to all of them; the warps of a longer row meet in `part`.
__device__ inline float row_sum(float x, float* part) {
    for (int apart = (blockDim.x < 32 ? blockDim.x : 32)/2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    if (blockDim.x > 32) {
        part += threadIdx.y*blockDim.x/32;  // the places of this row's warps
        if (threadIdx.x % 32 == 0) part[threadIdx.x/32] = x;
        __syncthreads();
        x = part[0];
        for (int warp = 1; warp < blockDim.x/32; ++warp) {
            const float other = part[warp];
            x = x + other;
        }
    }
    return x;
}

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

// Q[b,h,t,d] = sum(c, X[b,t,c]*wq[h,d,c])
extern "C" __global__ void forward_Q(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ wq,  // [h, d, c]
    float* __restrict__ Q,  // [b, h, t, d]
    float* __restrict__ Q_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_h*size_d, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, length);
    const bool whole_b = in_packs(wq, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(X + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = left + at, c = begin + step;
            Pack<float> pack = {};
            if (n < columns && c < end) {
                pack = read(wq + n*size_c + c, whole_b, end - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Q_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float q = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                Q[((b*size_h + h)*size_t + t)*size_d + d] = q;
            }
        }
    }
}

// Q[b,h,t,d] = sum(c, X[b,t,c]*wq[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_Q_chunks(
    const float* __restrict__ Q_partial,  // [chunks, b*t, h*d]
    float* __restrict__ Q,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX h = element/size_d%size_h;
        const INDEX t = element/size_d/size_h%size_t;
        const INDEX b = element/size_d/size_h/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Q_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        Q[((b*size_h + h)*size_t + t)*size_d + d] = total.value();
    }
}

// K[b,h,t,d] = sum(c, X[b,t,c]*wk[h,d,c])
extern "C" __global__ void forward_K(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ wk,  // [h, d, c]
    float* __restrict__ K,  // [b, h, t, d]
    float* __restrict__ K_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_h*size_d, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, length);
    const bool whole_b = in_packs(wk, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(X + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = left + at, c = begin + step;
            Pack<float> pack = {};
            if (n < columns && c < end) {
                pack = read(wk + n*size_c + c, whole_b, end - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(K_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float k = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                K[((b*size_h + h)*size_t + t)*size_d + d] = k;
            }
        }
    }
}

// K[b,h,t,d] = sum(c, X[b,t,c]*wk[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_K_chunks(
    const float* __restrict__ K_partial,  // [chunks, b*t, h*d]
    float* __restrict__ K,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX h = element/size_d%size_h;
        const INDEX t = element/size_d/size_h%size_t;
        const INDEX b = element/size_d/size_h/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(K_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        K[((b*size_h + h)*size_t + t)*size_d + d] = total.value();
    }
}

// V[b,h,t,d] = sum(c, X[b,t,c]*wv[h,d,c])
extern "C" __global__ void forward_V(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ wv,  // [h, d, c]
    float* __restrict__ V,  // [b, h, t, d]
    float* __restrict__ V_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_h*size_d, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(X, length);
    const bool whole_b = in_packs(wv, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(X + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX n = left + at, c = begin + step;
            Pack<float> pack = {};
            if (n < columns && c < end) {
                pack = read(wv + n*size_c + c, whole_b, end - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(V_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float v = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                V[((b*size_h + h)*size_t + t)*size_d + d] = v;
            }
        }
    }
}

// V[b,h,t,d] = sum(c, X[b,t,c]*wv[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_V_chunks(
    const float* __restrict__ V_partial,  // [chunks, b*t, h*d]
    float* __restrict__ V,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX h = element/size_d%size_h;
        const INDEX t = element/size_d/size_h%size_t;
        const INDEX b = element/size_d/size_h/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(V_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        V[((b*size_h + h)*size_t + t)*size_d + d] = total.value();
    }
}

// P[b,h,t,s] = softmax(s, where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// P_lse[b,h,t] = logsumexp(s, where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
extern "C" __global__ void forward_P_lse_O(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ V,  // [b, h, t, d]
    float* __restrict__ P_lse,  // [b, h, t]
    float* __restrict__ O,  // [b, h, t, d]
    INDEX size_t,
    INDEX size_d,
    INDEX across
)
{
    // 256 threads: a tile of 64 rows t a block, 4 by 4 pairs (t, s) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_t, length = size_t, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float o_tile[4][4] = {};  // [t, d_]
    float greatest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[4] = {};
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    for (INDEX first = 0; first < stop; first += 64) {
        float score_tile[4][4] = {};  // [t, s]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = top + at, d = chunk + step;
                float value = 0;
                if (t < rows && d < size_d) {
                    value = Q[(batch*size_t + t)*size_d + d];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, d = chunk + step;
                float value = 0;
                if (s < length && d < size_d) {
                    value = K[(batch*size_t + s)*size_d + d];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        score_tile[over][along] += tile[step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        float peak[4];  // of a row: the greatest of this thread, then of all
#pragma unroll
        for (int over = 0; over < 4; ++over) {
            peak[over] = greatest[over];
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX t = top + my_row + over, s = first + my_column + along;
                float value = -INFINITY;
                if (t < rows && s < length) {
                    value = s <= t ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
                    if (value <= -5e29f) value = -INFINITY;  // masked: in a formula, -1e30 stands for it
                }
                score_tile[over][along] = value;
                peak[over] = fmaxf(peak[over], value);
            }
            Bs[my_column/4][my_row + over] = peak[over];
        }
        __syncthreads();
#pragma unroll
        for (int over = 0; over < 4; ++over) {
            for (int other = 0; other < 16; ++other) peak[over] = fmaxf(peak[over], Bs[other][my_row + over]);
            // What was summed up so far is shrunk to the new greatest score; nothing yet: -inf - -inf is no number.
            const float shrink = greatest[over] < peak[over] ? expf(greatest[over] - peak[over]) : 1;
            greatest[over] = peak[over];
            total[over] *= shrink;
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                float& score = score_tile[over][along];
                score = score == -INFINITY ? 0 : expf(score - peak[over]);
                total[over] += score;
                o_tile[over][along] *= shrink;
            }
        }
        __syncthreads();
#pragma unroll
        for (int along = 0; along < 4; ++along) {
#pragma unroll
            for (int over = 0; over < 4; ++over) tile[my_column + along][my_row + over] = score_tile[over][along];
        }
        for (INDEX chunk = first; chunk < first + 64; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread%64, step = thread/64 + part*4;
                const INDEX d_ = left + at, s = chunk + step;
                float value = 0;
                if (d_ < size_d && s < length) {
                    value = V[(batch*size_t + s)*size_d + d_];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        o_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) Bs[my_column/4][my_row + over] = total[over];
    __syncthreads();
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        total[over] = 0;
        for (int other = 0; other < 16; ++other) total[over] += Bs[other][my_row + over];
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX t = top + my_row + over;
        if (t < rows) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_ = left + my_column + along;
                if (d_ < size_d) {
                    const float o = total[over] == 0 ? 0 : o_tile[over][along]/total[over];
                    O[(batch*size_t + t)*size_d + d_] = o;
                }
            }
            if (my_column == 0 && left == 0) {
                const float p_lse = total[over] == 0 ? -1e30f : greatest[over] + logf(total[over]);
                P_lse[batch*size_t + t] = p_lse;
            }
        }
    }
}

// Y[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d])
extern "C" __global__ void forward_Y(
    const float* __restrict__ wo,  // [c, h, d]
    const float* __restrict__ O,  // [b, h, t, d]
    float* __restrict__ Y,  // [b, t, c]
    float* __restrict__ Y_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_h*size_d;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(wo, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX t = m%size_t;
                const INDEX b = m/size_t;
                const INDEX d = k%size_d;
                const INDEX h = k/size_d;
                value = O[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(wo + c*(size_h*size_d) + k, whole_b, end - k);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(Y_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(Y + m*size_c, first, columns, results[over]);
    }
}

// Y[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_partial,  // [chunks, b*t, c]
    float* __restrict__ Y,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        Y[element] = total.value();
    }
}

// dO[b,h,t,d] = sum(c, dY[b,t,c]*wo[c,h,d])
extern "C" __global__ void backward_dO(
    const float* __restrict__ wo,  // [c, h, d]
    const float* __restrict__ dY,  // [b, t, c]
    float* __restrict__ dO,  // [b, h, t, d]
    float* __restrict__ dO_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_h*size_d, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, length);
    const bool whole_b = in_packs(wo, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(dY + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX n = left + at, c = begin + step;
            Pack<float> pack = {};
            if (n < columns && c < end) {
                pack = read(wo + c*(size_h*size_d) + n, whole_b, columns - n);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dO_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float do_ = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                dO[((b*size_h + h)*size_t + t)*size_d + d] = do_;
            }
        }
    }
}

// dO[b,h,t,d] = sum(c, dY[b,t,c]*wo[c,h,d]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dO_chunks(
    const float* __restrict__ dO_partial,  // [chunks, b*t, h*d]
    float* __restrict__ dO,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX h = element/size_d%size_h;
        const INDEX t = element/size_d/size_h%size_t;
        const INDEX b = element/size_d/size_h/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dO_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        dO[((b*size_h + h)*size_t + t)*size_d + d] = total.value();
    }
}

// P_row[b,h,t] = sum(d, O[b,h,t,d]*dO[b,h,t,d])
extern "C" __global__ void backward_P_row(
    const float* __restrict__ O,  // [b, h, t, d]
    const float* __restrict__ dO,  // [b, h, t, d]
    float* __restrict__ P_row,  // [b, h, t]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_h*size_t, count = size_d;
    __shared__ float part[1][32];
    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float p_row = 0;
    for (INDEX first = threadIdx.x*4; first < stop; first += blockDim.x*4) {
        const auto O_pack = load<4>(O + row*size_d, first, count);
        const auto dO_pack = load<4>(dO + row*size_d, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX d = first + lane;
            if (d < count) {
                p_row += O_pack.lane[lane]*dO_pack.lane[lane];
            }
        }
    }
    p_row = row_sum(p_row, part[0]);
    if (writer) P_row[row] = p_row;
}

// dwo[c,h,d] = sum(b, t, O[b,h,t,d]*dY[b,t,c])
extern "C" __global__ void backward_dwo(
    const float* __restrict__ O,  // [b, h, t, d]
    const float* __restrict__ dY,  // [b, t, c]
    float* __restrict__ dwo,  // [c, h, d]
    float* __restrict__ dwo_partial,  // [chunks, c, h*d]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_h*size_d, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, rows);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = top + at, k = begin + step;
            Pack<float> pack = {};
            if (c < rows && k < end) {
                pack = read(dY + k*size_c + c, whole_a, rows - c);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX n = left + at, k = begin + step;
            float value = 0;
            if (n < columns && k < end) {
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = O[((b*size_h + h)*size_t + t)*size_d + d];
            }
            Bs[step][at ^ step/4*8] = value;
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
        const INDEX c = top + my_row + over, first = left + my_column;
        if (c >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dwo_partial + (blockIdx.y*rows + c)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dwo_pack;
        if (accumulate) dwo_pack = load<4>(dwo + c*(size_h*size_d), first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float dwo_value = results[over].lane[lane];
                dwo_pack.lane[lane] = accumulate ? dwo_pack.lane[lane] + dwo_value : dwo_value;
            }
        }
        store(dwo + c*(size_h*size_d), first, columns, dwo_pack);
    }
}

// dwo[c,h,d] = sum(b, t, O[b,h,t,d]*dY[b,t,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwo_chunks(
    const float* __restrict__ dwo_partial,  // [chunks, c, h*d]
    float* __restrict__ dwo,  // [c, h, d]
    INDEX size_h,
    INDEX size_d,
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_c*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwo_partial[chunk*(size_c*size_h*size_d) + element]);
        }
        const float dwo_value = total.value();
        dwo[element] = accumulate ? dwo[element] + dwo_value : dwo_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dV[b,h,s,d] = sum(t, P[b,h,t,s]*dO[b,h,t,d])
// dK[b,h,s,d] = rsqrt(size(d))*sum(t, P[b,h,t,s]*Q[b,h,t,d]*(sum(d2, V[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
extern "C" __global__ void backward_dV_dK(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ V,  // [b, h, t, d]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dV,  // [b, h, t, d]
    float* __restrict__ dK,  // [b, h, t, d]
    INDEX size_t,
    INDEX size_d,
    INDEX across
)
{
    // 256 threads: a tile of 64 rows s a block, 4 by 4 pairs (s, t) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_t, length = size_t, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dv_tile[4][4] = {};  // [s, d_2]
    float dk_tile[4][4] = {};  // [s, d_3]
    INDEX begin = 0;
    const INDEX limit = top;
    if (begin < limit) begin = limit - limit%64;
    for (INDEX first = begin; first < length; first += 64) {
        float score_tile[4][4] = {};  // [s, t]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = top + at, d = chunk + step;
                float value = 0;
                if (s < rows && d < size_d) {
                    value = K[(batch*size_t + s)*size_d + d];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = first + at, d = chunk + step;
                float value = 0;
                if (t < length && d < size_d) {
                    value = Q[(batch*size_t + t)*size_d + d];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        score_tile[over][along] += tile[step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        float dP_tile[4][4] = {};  // [s, t]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = top + at, d_ = chunk + step;
                float value = 0;
                if (s < rows && d_ < size_d) {
                    value = V[(batch*size_t + s)*size_d + d_];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = first + at, d_ = chunk + step;
                float value = 0;
                if (t < length && d_ < size_d) {
                    value = dO[(batch*size_t + t)*size_d + d_];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        dP_tile[over][along] += tile[step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        float weight_tile[4][4];
        float weight_tile_[4][4];
#pragma unroll
        for (int over = 0; over < 4; ++over) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX s = top + my_row + over, t = first + my_column + along;
                weight_tile[over][along] = 0;
                weight_tile_[over][along] = 0;
                if (s < rows && t < length) {
                    const float score_ = s <= t ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
                    const float p = expf((score_ <= -5e29f ? -2e30f : score_) - P_lse[batch*size_t + t]);
                    {
                        float value;
                        value = p;
                        weight_tile[over][along] = value;
                    }
                    {
                        float value;
                        const float v = rsqrtf((float)size_d);
                        value = p*v*(dP_tile[over][along] - P_row[batch*size_t + t]);
                        weight_tile_[over][along] = value;
                    }
                }
            }
        }
#pragma unroll
        for (int along = 0; along < 4; ++along) {
#pragma unroll
            for (int over = 0; over < 4; ++over) tile[my_column + along][my_row + over] = weight_tile[over][along];
        }
        for (INDEX chunk = first; chunk < first + 64; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread%64, step = thread/64 + part*4;
                const INDEX d_2 = left + at, t = chunk + step;
                float value = 0;
                if (d_2 < size_d && t < length) {
                    value = dO[(batch*size_t + t)*size_d + d_2];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        dv_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        // The tile is read by all before it is written again: the last product ends with a barrier.
#pragma unroll
        for (int along = 0; along < 4; ++along) {
#pragma unroll
            for (int over = 0; over < 4; ++over) tile[my_column + along][my_row + over] = weight_tile_[over][along];
        }
        for (INDEX chunk = first; chunk < first + 64; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread%64, step = thread/64 + part*4;
                const INDEX d_3 = left + at, t = chunk + step;
                float value = 0;
                if (d_3 < size_d && t < length) {
                    value = Q[(batch*size_t + t)*size_d + d_3];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        dk_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX s = top + my_row + over;
        if (s < rows) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_2 = left + my_column + along;
                if (d_2 < size_d) {
                    const float dv = dv_tile[over][along];
                    dV[(batch*size_t + s)*size_d + d_2] = dv;
                }
            }
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_3 = left + my_column + along;
                if (d_3 < size_d) {
                    const float dk = dk_tile[over][along];
                    dK[(batch*size_t + s)*size_d + d_3] = dk;
                }
            }
        }
    }
}

// dwk[h,d,c] = sum(b, t, X[b,t,c]*dK[b,h,t,d])
extern "C" __global__ void backward_dwk(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ dK,  // [b, h, t, d]
    float* __restrict__ dwk,  // [h, d, c]
    float* __restrict__ dwk_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_h*size_d, columns = size_c, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(X, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX d = m%size_d;
                const INDEX h = m/size_d;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dK[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(X + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dwk_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dwk_pack;
        if (accumulate) dwk_pack = load<4>(dwk + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwk_value = results[over].lane[lane];
                dwk_pack.lane[lane] = accumulate ? dwk_pack.lane[lane] + dwk_value : dwk_value;
            }
        }
        store(dwk + m*size_c, first, columns, dwk_pack);
    }
}

// dwk[h,d,c] = sum(b, t, X[b,t,c]*dK[b,h,t,d]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwk_chunks(
    const float* __restrict__ dwk_partial,  // [chunks, h*d, c]
    float* __restrict__ dwk,  // [h, d, c]
    INDEX size_h,
    INDEX size_d,
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h*size_d*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwk_partial[chunk*(size_h*size_d*size_c) + element]);
        }
        const float dwk_value = total.value();
        dwk[element] = accumulate ? dwk[element] + dwk_value : dwk_value;
    }
}

// dwv[h,d,c] = sum(b, t, X[b,t,c]*dV[b,h,t,d])
extern "C" __global__ void backward_dwv(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ dV,  // [b, h, t, d]
    float* __restrict__ dwv,  // [h, d, c]
    float* __restrict__ dwv_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_h*size_d, columns = size_c, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(X, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX d = m%size_d;
                const INDEX h = m/size_d;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dV[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(X + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dwv_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dwv_pack;
        if (accumulate) dwv_pack = load<4>(dwv + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwv_value = results[over].lane[lane];
                dwv_pack.lane[lane] = accumulate ? dwv_pack.lane[lane] + dwv_value : dwv_value;
            }
        }
        store(dwv + m*size_c, first, columns, dwv_pack);
    }
}

// dwv[h,d,c] = sum(b, t, X[b,t,c]*dV[b,h,t,d]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwv_chunks(
    const float* __restrict__ dwv_partial,  // [chunks, h*d, c]
    float* __restrict__ dwv,  // [h, d, c]
    INDEX size_h,
    INDEX size_d,
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h*size_d*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwv_partial[chunk*(size_h*size_d*size_c) + element]);
        }
        const float dwv_value = total.value();
        dwv[element] = accumulate ? dwv[element] + dwv_value : dwv_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dQ[b,h,t,d] = rsqrt(size(d))*sum(s, K[b,h,s,d]*P[b,h,t,s]*(sum(d2, V[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
extern "C" __global__ void backward_dQ(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ V,  // [b, h, t, d]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dQ,  // [b, h, t, d]
    INDEX size_t,
    INDEX size_d,
    INDEX across
)
{
    // 256 threads: a tile of 64 rows t a block, 4 by 4 pairs (t, s) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_t, length = size_t, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dq_tile[4][4] = {};  // [t, d_2]
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    for (INDEX first = 0; first < stop; first += 64) {
        float score_tile[4][4] = {};  // [t, s]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = top + at, d = chunk + step;
                float value = 0;
                if (t < rows && d < size_d) {
                    value = Q[(batch*size_t + t)*size_d + d];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, d = chunk + step;
                float value = 0;
                if (s < length && d < size_d) {
                    value = K[(batch*size_t + s)*size_d + d];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        score_tile[over][along] += tile[step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        float dP_tile[4][4] = {};  // [t, s]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = top + at, d_ = chunk + step;
                float value = 0;
                if (t < rows && d_ < size_d) {
                    value = dO[(batch*size_t + t)*size_d + d_];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, d_ = chunk + step;
                float value = 0;
                if (s < length && d_ < size_d) {
                    value = V[(batch*size_t + s)*size_d + d_];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        dP_tile[over][along] += tile[step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
        float weight_tile[4][4];
#pragma unroll
        for (int over = 0; over < 4; ++over) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX t = top + my_row + over, s = first + my_column + along;
                weight_tile[over][along] = 0;
                if (t < rows && s < length) {
                    const float score_ = s <= t ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
                    const float p = expf((score_ <= -5e29f ? -2e30f : score_) - P_lse[batch*size_t + t]);
                    {
                        float value;
                        const float v = rsqrtf((float)size_d);
                        value = p*v*(dP_tile[over][along] - P_row[batch*size_t + t]);
                        weight_tile[over][along] = value;
                    }
                }
            }
        }
#pragma unroll
        for (int along = 0; along < 4; ++along) {
#pragma unroll
            for (int over = 0; over < 4; ++over) tile[my_column + along][my_row + over] = weight_tile[over][along];
        }
        for (INDEX chunk = first; chunk < first + 64; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread%64, step = thread/64 + part*4;
                const INDEX d_2 = left + at, s = chunk + step;
                float value = 0;
                if (d_2 < size_d && s < length) {
                    value = K[(batch*size_t + s)*size_d + d_2];
                }
                Bs[step][at] = value;
            }
            __syncthreads();
#pragma unroll
            for (int step = 0; step < 16; ++step) {
#pragma unroll
                for (int over = 0; over < 4; ++over) {
#pragma unroll
                    for (int along = 0; along < 4; ++along) {
                        dq_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
                    }
                }
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX t = top + my_row + over;
        if (t < rows) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_2 = left + my_column + along;
                if (d_2 < size_d) {
                    const float dq = dq_tile[over][along];
                    dQ[(batch*size_t + t)*size_d + d_2] = dq;
                }
            }
        }
    }
}

// dX_sum[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c])
extern "C" __global__ void backward_dX_sum(
    const float* __restrict__ wk,  // [h, d, c]
    const float* __restrict__ dK,  // [b, h, t, d]
    float* __restrict__ dX_sum,  // [b, t, c]
    float* __restrict__ dX_sum_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_h*size_d;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(wk, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX t = m%size_t;
                const INDEX b = m/size_t;
                const INDEX d = k%size_d;
                const INDEX h = k/size_d;
                value = dK[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(wk + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dX_sum + m*size_c, first, columns, results[over]);
    }
}

// dX_sum[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_sum_chunks(
    const float* __restrict__ dX_sum_partial,  // [chunks, b*t, c]
    float* __restrict__ dX_sum,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dX_sum[element] = total.value();
    }
}

// dX_sum2[b,t,c] = sum(h, d, dQ[b,h,t,d]*wq[h,d,c])
extern "C" __global__ void backward_dX_sum2(
    const float* __restrict__ wq,  // [h, d, c]
    const float* __restrict__ dQ,  // [b, h, t, d]
    float* __restrict__ dX_sum2,  // [b, t, c]
    float* __restrict__ dX_sum2_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_h*size_d;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(wq, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX t = m%size_t;
                const INDEX b = m/size_t;
                const INDEX d = k%size_d;
                const INDEX h = k/size_d;
                value = dQ[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(wq + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_sum2_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dX_sum2 + m*size_c, first, columns, results[over]);
    }
}

// dX_sum2[b,t,c] = sum(h, d, dQ[b,h,t,d]*wq[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_sum2_chunks(
    const float* __restrict__ dX_sum2_partial,  // [chunks, b*t, c]
    float* __restrict__ dX_sum2,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_sum2_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dX_sum2[element] = total.value();
    }
}

// dX_sum3[b,t,c] = sum(h, d, dV[b,h,t,d]*wv[h,d,c])
// dX[b,t,c] = dX_sum[b,t,c] + dX_sum2[b,t,c] + dX_sum3[b,t,c]
extern "C" __global__ void backward_dX(
    const float* __restrict__ wv,  // [h, d, c]
    const float* __restrict__ dV,  // [b, h, t, d]
    const float* __restrict__ dX_sum,  // [b, t, c]
    const float* __restrict__ dX_sum2,  // [b, t, c]
    float* __restrict__ dX,  // [b, t, c]
    float* __restrict__ dX_sum3_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_h*size_d;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(wv, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX t = m%size_t;
                const INDEX b = m/size_t;
                const INDEX d = k%size_d;
                const INDEX h = k/size_d;
                value = dV[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(wv + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dX_sum3_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto dX_sum_pack = load<4>(dX_sum + m*size_c, first, columns);
        const auto dX_sum2_pack = load<4>(dX_sum2 + m*size_c, first, columns);
        Pack<float, 4> dX_pack;
        if (accumulate) dX_pack = load<4>(dX + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dx_sum3 = results[over].lane[lane];
                const float dx = dX_sum_pack.lane[lane] + dX_sum2_pack.lane[lane] + dx_sum3;
                dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
            }
        }
        store(dX + m*size_c, first, columns, dX_pack);
    }
}

// dX_sum3[b,t,c] = sum(h, d, dV[b,h,t,d]*wv[h,d,c]), from chunks of the sum
// dX[b,t,c] = dX_sum[b,t,c] + dX_sum2[b,t,c] + dX_sum3[b,t,c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dX_chunks(
    const float* __restrict__ dX_sum3_partial,  // [chunks, b*t, c]
    const float* __restrict__ dX_sum,  // [b, t, c]
    const float* __restrict__ dX_sum2,  // [b, t, c]
    float* __restrict__ dX,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dX_sum3_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float dx_sum3 = total.value();
        const float dx = dX_sum[element] + dX_sum2[element] + dx_sum3;
        dX[element] = accumulate ? dX[element] + dx : dx;
    }
}

// dwq[h,d,c] = sum(b, t, X[b,t,c]*dQ[b,h,t,d])
extern "C" __global__ void backward_dwq(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ dQ,  // [b, h, t, d]
    float* __restrict__ dwq,  // [h, d, c]
    float* __restrict__ dwq_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_h,
    INDEX size_t,
    INDEX size_d,
    INDEX size_c,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_h*size_d, columns = size_c, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_b = in_packs(X, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX m = top + at, k = begin + step;
            float value = 0;
            if (m < rows && k < end) {
                const INDEX d = m%size_d;
                const INDEX h = m/size_d;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dQ[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, k = begin + step;
            Pack<float> pack = {};
            if (c < columns && k < end) {
                pack = read(X + k*size_c + c, whole_b, columns - c);
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
        const INDEX m = top + my_row + over, first = left + my_column;
        if (m >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dwq_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dwq_pack;
        if (accumulate) dwq_pack = load<4>(dwq + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwq_value = results[over].lane[lane];
                dwq_pack.lane[lane] = accumulate ? dwq_pack.lane[lane] + dwq_value : dwq_value;
            }
        }
        store(dwq + m*size_c, first, columns, dwq_pack);
    }
}

// dwq[h,d,c] = sum(b, t, X[b,t,c]*dQ[b,h,t,d]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwq_chunks(
    const float* __restrict__ dwq_partial,  // [chunks, h*d, c]
    float* __restrict__ dwq,  // [h, d, c]
    INDEX size_h,
    INDEX size_d,
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h*size_d*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwq_partial[chunk*(size_h*size_d*size_c) + element]);
        }
        const float dwq_value = total.value();
        dwq[element] = accumulate ? dwq[element] + dwq_value : dwq_value;
    }
}
