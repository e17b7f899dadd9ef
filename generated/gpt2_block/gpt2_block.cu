// gpt2_block: forward and backward, float32.  Made by `derive emit gpt2_block -o DIR`; do not edit.
//
//     param eps = 1e-5
//     M1[b,t] = mean(c, X[b,t,c])
//     V1[b,t] = mean(c, (X[b,t,c] - M1[b,t])**2)
//     N1[b,t,c] = (X[b,t,c] - M1[b,t])/sqrt(V1[b,t] + eps)*ln1w[c] + ln1b[c]
//     Q[b,h,t,d] = sum(c, N1[b,t,c]*wq[h,d,c]) + bq[h,d]
//     K[b,h,t,d] = sum(c, N1[b,t,c]*wk[h,d,c]) + bk[h,d]
//     U[b,h,t,d] = sum(c, N1[b,t,c]*wv[h,d,c]) + bv[h,d]
//     S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
//     P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
//     O[b,h,t,d] = sum(s, P[b,h,t,s]*U[b,h,s,d])
//     R[b,t,c] = X[b,t,c] + sum(h, d, O[b,h,t,d]*attprojw[c,h,d]) + attprojb[c]
//     M2[b,t] = mean(c, R[b,t,c])
//     V2[b,t] = mean(c, (R[b,t,c] - M2[b,t])**2)
//     N2[b,t,c] = (R[b,t,c] - M2[b,t])/sqrt(V2[b,t] + eps)*ln2w[c] + ln2b[c]
//     F[b,t,f] = sum(c, N2[b,t,c]*fcw[f,c]) + fcb[f]
//     G[b,t,f] = 0.5*F[b,t,f]*(1 + tanh(sqrt(2/pi)*(F[b,t,f] + 0.044715*F[b,t,f]**3)))
//     Y[b,t,c] = R[b,t,c] + sum(f, G[b,t,f]*fcprojw[c,f]) + fcprojb[c]
//
//     dX = dR + diag(rstd) (g − g 1 1ᵀ / |c| − diag((g ∘ xhat) 1) xhat / |c|)
//     dln1w = (dN1 ∘ xhat)ᵀ 1
//     dln1b = dN1ᵀ 1
//     dwq = einsum(btc,bhtd->hdc; N1, dQ)
//     dbq = einsum(bhtd->hd; dQ)
//     dwk = einsum(btc,bhtd->hdc; N1, dK)
//     dbk = einsum(bhtd->hd; dK)
//     dwv = einsum(btc,bhtd->hdc; N1, dU)
//     dbv = einsum(bhtd->hd; dU)
//     dattprojw = einsum(bhtd,btc->chd; O, dR)
//     dattprojb = dRᵀ 1
//     dln2w = (dN2 ∘ rhat)ᵀ 1
//     dln2b = dN2ᵀ 1
//     dfcw = dFᵀ N2
//     dfcb = dFᵀ 1
//     dfcprojw = dYᵀ G
//     dfcprojb = dYᵀ 1
//     where
//     rstd[b,t] = rsqrt(eps + V1[b,t])
//     xhat[b,t,c] = rstd[b,t]*(X[b,t,c] - M1[b,t])
//     rstd1[b,t] = rsqrt(eps + V2[b,t])
//     rhat[b,t,c] = rstd1[b,t]*(R[b,t,c] - M2[b,t])
//     t1[b,t,f] = tanh(sqrt(2)*(F[b,t,f] + 0.044715*F[b,t,f]**3)/sqrt(pi))
//     dG[b,t,f] = sum(c, dY[b,t,c]*fcprojw[c,f])
//     dF[b,t,f] = 0.5*dG[b,t,f]*(t1[b,t,f] + F[b,t,f]*sqrt(2)*(1 - t1[b,t,f]**2)*(0.134145*F[b,t,f]**2 + 1)/sqrt(pi) + 1)
//     dN2[b,t,c] = sum(f, dF[b,t,f]*fcw[f,c])
//     g1[b,t,c] = dN2[b,t,c]*ln2w[c]
//     dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g1[b,t,c] - mean(l, g1[b,t,l]) - rhat[b,t,c]*mean(l, g1[b,t,l]*rhat[b,t,l]))
//     dO[b,h,t,d] = sum(c, attprojw[c,h,d]*dR[b,t,c])
//     dP[b,h,t,s] = sum(d, U[b,h,s,d]*dO[b,h,t,d])
//     dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))
//     dU[b,h,t,d] = sum(s, P[b,h,s,t]*dO[b,h,s,d])
//     dK[b,h,t,d] = sum(s, Q[b,h,s,d]*dS_sum[b,h,s,t])
//     dQ[b,h,t,d] = sum(s, K[b,h,s,d]*dS_sum[b,h,t,s])
//     dN1[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]) + sum(h, d, dQ[b,h,t,d]*wq[h,d,c]) + sum(h, d, dU[b,h,t,d]*wv[h,d,c])
//     g[b,t,c] = dN1[b,t,c]*ln1w[c]
//
// Saved for the backward: M1, V1, Q, K, U, P_lse, O, R, M2, V2, F.  Computed again: rstd, xhat, N1, rstd1, rhat, N2, t1, G, P, S, S_sum, dS_sum.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dln1w over ln2w, dln1w over ln2b, dln1b over ln2w, dln1b over ln2b, dwq over wq, dwq over wk, dwq over wv, dattprojw over attprojw, dattprojb over ln2w, dattprojb over ln2b, dln2w over ln2w, dln2w over ln2b, dln2b over ln2w, dln2b over ln2b, dfcw over fcw, dfcprojw over fcprojw, dfcprojb over ln2w, dfcprojb over ln2b.
// A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif
#ifndef DYN_SHARED
#define DYN_SHARED(T, name) extern __shared__ T name[]
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

// M1_sum[b,t] = sum(c, X[b,t,c])
// M1[b,t] = M1_sum[b,t]/size(c)
// V1_sum[b,t] = sum(c, (X[b,t,c] - M1[b,t])**2)
// V1[b,t] = V1_sum[b,t]/size(c)
// rstd[b,t] = rsqrt(1e-05 + V1[b,t])
// xhat[b,t,c] = rstd[b,t]*(X[b,t,c] - M1[b,t])
// N1[b,t,c] = ln1b[c] + ln1w[c]*xhat[b,t,c]
extern "C" __global__ void forward_M1_V1_N1(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ ln1b,  // [c]
    float* __restrict__ M1,  // [b, t]
    float* __restrict__ V1,  // [b, t]
    float* __restrict__ N1,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const x_row = kept + thread;  // X[b,t,c]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float m1_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                m1_sum += x;
            }
        }
    }
    m1_sum = row_sum(m1_sum, part[0]);
    const float m1 = m1_sum / (float)size_c;
    if (writer) M1[row] = m1;

    float v1_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                v1_sum += square(x - m1);
            }
        }
    }
    v1_sum = row_sum(v1_sum, part[1]);
    const float v1 = v1_sum / (float)size_c;
    const float rstd = rsqrtf(1e-5f + v1);
    if (writer) V1[row] = v1;

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> N1_pack;
        const auto ln1b_pack = load<4>(ln1b, first, count);
        const auto ln1w_pack = load<4>(ln1w, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float xhat = rstd*(x - m1);
                N1_pack.lane[lane] = ln1b_pack.lane[lane] + ln1w_pack.lane[lane]*xhat;
            }
        }
        store(N1 + row*size_c, first, count, N1_pack);
    }
}

// Q_sum[b,h,t,d] = sum(c, N1[b,t,c]*wq[h,d,c])
// Q[b,h,t,d] = Q_sum[b,h,t,d] + bq[h,d]
extern "C" __global__ void forward_Q(
    const float* __restrict__ wq,  // [h, d, c]
    const float* __restrict__ bq,  // [h, d]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ Q,  // [b, h, t, d]
    float* __restrict__ Q_sum_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
    const bool whole_a = in_packs(N1, length);
    const bool whole_b = in_packs(wq, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(N1 + m*size_c + c, whole_a, end - c);
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
            store(Q_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float q_sum = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                Q[((b*size_h + h)*size_t + t)*size_d + d] = q_sum + bq[n];
            }
        }
    }
}

// Q_sum[b,h,t,d] = sum(c, N1[b,t,c]*wq[h,d,c]), from chunks of the sum
// Q[b,h,t,d] = Q_sum[b,h,t,d] + bq[h,d]
// Launched only where the sum was split.
extern "C" __global__ void forward_Q_chunks(
    const float* __restrict__ Q_sum_partial,  // [chunks, b*t, h*d]
    const float* __restrict__ bq,  // [h, d]
    float* __restrict__ Q,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
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
            total.add(Q_sum_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        const float q_sum = total.value();
        Q[((b*size_h + h)*size_t + t)*size_d + d] = q_sum + bq[element%(size_h*size_d)];
    }
}

// K_sum[b,h,t,d] = sum(c, N1[b,t,c]*wk[h,d,c])
// K[b,h,t,d] = K_sum[b,h,t,d] + bk[h,d]
extern "C" __global__ void forward_K(
    const float* __restrict__ wk,  // [h, d, c]
    const float* __restrict__ bk,  // [h, d]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ K,  // [b, h, t, d]
    float* __restrict__ K_sum_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
    const bool whole_a = in_packs(N1, length);
    const bool whole_b = in_packs(wk, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(N1 + m*size_c + c, whole_a, end - c);
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
            store(K_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float k_sum = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                K[((b*size_h + h)*size_t + t)*size_d + d] = k_sum + bk[n];
            }
        }
    }
}

// K_sum[b,h,t,d] = sum(c, N1[b,t,c]*wk[h,d,c]), from chunks of the sum
// K[b,h,t,d] = K_sum[b,h,t,d] + bk[h,d]
// Launched only where the sum was split.
extern "C" __global__ void forward_K_chunks(
    const float* __restrict__ K_sum_partial,  // [chunks, b*t, h*d]
    const float* __restrict__ bk,  // [h, d]
    float* __restrict__ K,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
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
            total.add(K_sum_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        const float k_sum = total.value();
        K[((b*size_h + h)*size_t + t)*size_d + d] = k_sum + bk[element%(size_h*size_d)];
    }
}

// U_sum[b,h,t,d] = sum(c, N1[b,t,c]*wv[h,d,c])
// U[b,h,t,d] = U_sum[b,h,t,d] + bv[h,d]
extern "C" __global__ void forward_U(
    const float* __restrict__ wv,  // [h, d, c]
    const float* __restrict__ bv,  // [h, d]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ U,  // [b, h, t, d]
    float* __restrict__ U_sum_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
    const bool whole_a = in_packs(N1, length);
    const bool whole_b = in_packs(wv, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(N1 + m*size_c + c, whole_a, end - c);
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
            store(U_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const INDEX t = m%size_t;
        const INDEX b = m/size_t;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float u_sum = results[over].lane[lane];
                const INDEX d = n%size_d;
                const INDEX h = n/size_d;
                U[((b*size_h + h)*size_t + t)*size_d + d] = u_sum + bv[n];
            }
        }
    }
}

// U_sum[b,h,t,d] = sum(c, N1[b,t,c]*wv[h,d,c]), from chunks of the sum
// U[b,h,t,d] = U_sum[b,h,t,d] + bv[h,d]
// Launched only where the sum was split.
extern "C" __global__ void forward_U_chunks(
    const float* __restrict__ U_sum_partial,  // [chunks, b*t, h*d]
    const float* __restrict__ bv,  // [h, d]
    float* __restrict__ U,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
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
            total.add(U_sum_partial[chunk*(size_b*size_t*size_h*size_d) + element]);
        }
        const float u_sum = total.value();
        U[((b*size_h + h)*size_t + t)*size_d + d] = u_sum + bv[element%(size_h*size_d)];
    }
}

// P[b,h,t,s] = softmax(s, where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// P_lse[b,h,t] = logsumexp(s, where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// O[b,h,t,d] = sum(s, P[b,h,t,s]*U[b,h,s,d])
extern "C" __global__ void forward_P_lse_O(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ U,  // [b, h, t, d]
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
                    value = U[(batch*size_t + s)*size_d + d_];
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

// R_sum[b,t,c] = sum(h, d, O[b,h,t,d]*attprojw[c,h,d])
// R[b,t,c] = R_sum[b,t,c] + X[b,t,c] + attprojb[c]
extern "C" __global__ void forward_R(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ attprojw,  // [c, h, d]
    const float* __restrict__ attprojb,  // [c]
    const float* __restrict__ O,  // [b, h, t, d]
    float* __restrict__ R,  // [b, t, c]
    float* __restrict__ R_sum_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
    const bool whole_b = in_packs(attprojw, length);
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
                pack = read(attprojw + c*(size_h*size_d) + k, whole_b, end - k);
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
            store(R_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> R_pack;
        const auto X_pack = load<4>(X + m*size_c, first, columns);
        const auto attprojb_pack = load<4>(attprojb, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float r_sum = results[over].lane[lane];
                R_pack.lane[lane] = r_sum + X_pack.lane[lane] + attprojb_pack.lane[lane];
            }
        }
        store(R + m*size_c, first, columns, R_pack);
    }
}

// R_sum[b,t,c] = sum(h, d, O[b,h,t,d]*attprojw[c,h,d]), from chunks of the sum
// R[b,t,c] = R_sum[b,t,c] + X[b,t,c] + attprojb[c]
// Launched only where the sum was split.
extern "C" __global__ void forward_R_chunks(
    const float* __restrict__ R_sum_partial,  // [chunks, b*t, c]
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ attprojb,  // [c]
    float* __restrict__ R,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(R_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float r_sum = total.value();
        R[element] = r_sum + X[element] + attprojb[c];
    }
}

// M2_sum[b,t] = sum(c, R[b,t,c])
// M2[b,t] = M2_sum[b,t]/size(c)
// V2_sum[b,t] = sum(c, (R[b,t,c] - M2[b,t])**2)
// V2[b,t] = V2_sum[b,t]/size(c)
// rstd1[b,t] = rsqrt(1e-05 + V2[b,t])
// rhat[b,t,c] = rstd1[b,t]*(R[b,t,c] - M2[b,t])
// N2[b,t,c] = ln2b[c] + ln2w[c]*rhat[b,t,c]
extern "C" __global__ void forward_M2_V2_N2(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ ln2b,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    float* __restrict__ M2,  // [b, t]
    float* __restrict__ V2,  // [b, t]
    float* __restrict__ N2,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    float* const r_row = kept + thread;  // R[b,t,c]

    const INDEX group = (INDEX)blockIdx.x*blockDim.y + threadIdx.y;
    const INDEX row = group < rows ? group : rows - 1;
    const INDEX stop = group < rows ? count : 0;
    const bool writer = group < rows && threadIdx.x == 0;

    float m2_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto R_pack = load<4>(R + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float r = R_pack.lane[lane];
                if (held) r_row[at] = r;
                m2_sum += r;
            }
        }
    }
    m2_sum = row_sum(m2_sum, part[0]);
    const float m2 = m2_sum / (float)size_c;
    if (writer) M2[row] = m2;

    float v2_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> R_pack;
        if (!held) R_pack = load<4>(R + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float r = held ? r_row[at] : R_pack.lane[lane];
                v2_sum += square(r - m2);
            }
        }
    }
    v2_sum = row_sum(v2_sum, part[1]);
    const float v2 = v2_sum / (float)size_c;
    const float rstd1 = rsqrtf(1e-5f + v2);
    if (writer) V2[row] = v2;

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> N2_pack;
        const auto ln2b_pack = load<4>(ln2b, first, count);
        const auto ln2w_pack = load<4>(ln2w, first, count);
        Pack<float, 4> R_pack;
        if (!held) R_pack = load<4>(R + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float r = held ? r_row[at] : R_pack.lane[lane];
                const float rhat = rstd1*(r - m2);
                N2_pack.lane[lane] = ln2b_pack.lane[lane] + ln2w_pack.lane[lane]*rhat;
            }
        }
        store(N2 + row*size_c, first, count, N2_pack);
    }
}

// F_sum[b,t,f] = sum(c, N2[b,t,c]*fcw[f,c])
// F[b,t,f] = F_sum[b,t,f] + fcb[f]
// t1[b,t,f] = tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3))
// G[b,t,f] = 0.5*F[b,t,f]*(1 + t1[b,t,f])
extern "C" __global__ void forward_F_G(
    const float* __restrict__ fcw,  // [f, c]
    const float* __restrict__ fcb,  // [f]
    const float* __restrict__ N2,  // [b, t, c]
    float* __restrict__ F,  // [b, t, f]
    float* __restrict__ G,  // [b, t, f]
    float* __restrict__ F_sum_partial,  // [chunks, b*t, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_f, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(N2, length);
    const bool whole_b = in_packs(fcw, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(N2 + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX f = left + at, c = begin + step;
            Pack<float> pack = {};
            if (f < columns && c < end) {
                pack = read(fcw + f*size_c + c, whole_b, end - c);
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
            store(F_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto fcb_pack = load<4>(fcb, first, columns);
        Pack<float, 4> F_pack;
        Pack<float, 4> G_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float f_sum = results[over].lane[lane];
                const float f_ = f_sum + fcb_pack.lane[lane];
                F_pack.lane[lane] = f_;
                const float t1 = tanhf(0.7978846f*(f_ + 0.044715f*cube(f_)));
                G_pack.lane[lane] = 0.5f*f_*(1.0f + t1);
            }
        }
        store(F + m*size_f, first, columns, F_pack);
        store(G + m*size_f, first, columns, G_pack);
    }
}

// F_sum[b,t,f] = sum(c, N2[b,t,c]*fcw[f,c]), from chunks of the sum
// F[b,t,f] = F_sum[b,t,f] + fcb[f]
// t1[b,t,f] = tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3))
// G[b,t,f] = 0.5*F[b,t,f]*(1 + t1[b,t,f])
// Launched only where the sum was split.
extern "C" __global__ void forward_F_G_chunks(
    const float* __restrict__ F_sum_partial,  // [chunks, b*t, f]
    const float* __restrict__ fcb,  // [f]
    float* __restrict__ F,  // [b, t, f]
    float* __restrict__ G,  // [b, t, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_f,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_f;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX f = element%size_f;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(F_sum_partial[chunk*(size_b*size_t*size_f) + element]);
        }
        const float f_sum = total.value();
        const float f_ = f_sum + fcb[f];
        F[element] = f_;
        const float t1 = tanhf(0.7978846f*(f_ + 0.044715f*cube(f_)));
        G[element] = 0.5f*f_*(1.0f + t1);
    }
}

// Y_sum[b,t,c] = sum(f, G[b,t,f]*fcprojw[c,f])
// Y[b,t,c] = R[b,t,c] + Y_sum[b,t,c] + fcprojb[c]
extern "C" __global__ void forward_Y(
    const float* __restrict__ fcprojw,  // [c, f]
    const float* __restrict__ fcprojb,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ G,  // [b, t, f]
    float* __restrict__ Y,  // [b, t, c]
    float* __restrict__ Y_sum_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_f;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(G, length);
    const bool whole_b = in_packs(fcprojw, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, f = begin + step;
            Pack<float> pack = {};
            if (m < rows && f < end) {
                pack = read(G + m*size_f + f, whole_a, end - f);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX c = left + at, f = begin + step;
            Pack<float> pack = {};
            if (c < columns && f < end) {
                pack = read(fcprojw + c*size_f + f, whole_b, end - f);
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
            store(Y_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> Y_pack;
        const auto R_pack = load<4>(R + m*size_c, first, columns);
        const auto fcprojb_pack = load<4>(fcprojb, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float y_sum = results[over].lane[lane];
                Y_pack.lane[lane] = R_pack.lane[lane] + y_sum + fcprojb_pack.lane[lane];
            }
        }
        store(Y + m*size_c, first, columns, Y_pack);
    }
}

// Y_sum[b,t,c] = sum(f, G[b,t,f]*fcprojw[c,f]), from chunks of the sum
// Y[b,t,c] = R[b,t,c] + Y_sum[b,t,c] + fcprojb[c]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, b*t, c]
    const float* __restrict__ fcprojb,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    float* __restrict__ Y,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float y_sum = total.value();
        Y[element] = R[element] + y_sum + fcprojb[c];
    }
}

// dG[b,t,f] = sum(c, dY[b,t,c]*fcprojw[c,f])
// dF[b,t,f] = 0.5*dG[b,t,f]*(1 + tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3)) + 0.7978845608028654*F[b,t,f]*(1 - tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3))**2)*(1 + 0.134145*F[b,t,f]**2))
extern "C" __global__ void backward_dF(
    const float* __restrict__ fcprojw,  // [c, f]
    const float* __restrict__ F,  // [b, t, f]
    const float* __restrict__ dY,  // [b, t, c]
    float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dG_partial,  // [chunks, b*t, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_f, length = size_c;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dY, length);
    const bool whole_b = in_packs(fcprojw, columns);
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
            const INDEX f = left + at, c = begin + step;
            Pack<float> pack = {};
            if (f < columns && c < end) {
                pack = read(fcprojw + c*size_f + f, whole_b, columns - f);
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
            store(dG_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto F_pack = load<4>(F + m*size_f, first, columns);
        Pack<float, 4> dF_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float dg = results[over].lane[lane];
                const float f_ = F_pack.lane[lane];
                const float t_ = tanhf(0.7978846f*(f_ + 0.044715f*cube(f_)));
                dF_pack.lane[lane] = 0.5f*dg*(1.0f + t_ + 0.7978846f*f_*(1.0f - square(t_))*(1.0f + 0.134145f*square(f_)));
            }
        }
        store(dF + m*size_f, first, columns, dF_pack);
    }
}

// dG[b,t,f] = sum(c, dY[b,t,c]*fcprojw[c,f]), from chunks of the sum
// dF[b,t,f] = 0.5*dG[b,t,f]*(1 + tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3)) + 0.7978845608028654*F[b,t,f]*(1 - tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3))**2)*(1 + 0.134145*F[b,t,f]**2))
// Launched only where the sum was split.
extern "C" __global__ void backward_dF_chunks(
    const float* __restrict__ dG_partial,  // [chunks, b*t, f]
    const float* __restrict__ F,  // [b, t, f]
    float* __restrict__ dF,  // [b, t, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_f,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_f;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dG_partial[chunk*(size_b*size_t*size_f) + element]);
        }
        const float dg = total.value();
        const float f_ = F[element];
        const float t_ = tanhf(0.7978846f*(f_ + 0.044715f*cube(f_)));
        dF[element] = 0.5f*dg*(1.0f + t_ + 0.7978846f*f_*(1.0f - square(t_))*(1.0f + 0.134145f*square(f_)));
    }
}

// dN2[b,t,c] = sum(f, dF[b,t,f]*fcw[f,c])
extern "C" __global__ void backward_dN2(
    const float* __restrict__ fcw,  // [f, c]
    const float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dN2,  // [b, t, c]
    float* __restrict__ dN2_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_f;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dF, length);
    const bool whole_b = in_packs(fcw, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, f = begin + step;
            Pack<float> pack = {};
            if (m < rows && f < end) {
                pack = read(dF + m*size_f + f, whole_a, end - f);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, f = begin + step;
            Pack<float> pack = {};
            if (c < columns && f < end) {
                pack = read(fcw + f*size_c + c, whole_b, columns - c);
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
            store(dN2_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN2 + m*size_c, first, columns, results[over]);
    }
}

// dN2[b,t,c] = sum(f, dF[b,t,f]*fcw[f,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dN2_chunks(
    const float* __restrict__ dN2_partial,  // [chunks, b*t, c]
    float* __restrict__ dN2,  // [b, t, c]
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
            total.add(dN2_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dN2[element] = total.value();
    }
}

// dfcw[f,c] = sum(b, t, dF[b,t,f]*(ln2b[c] + ln2w[c]*rsqrt(1e-05 + V2[b,t])*(R[b,t,c] - M2[b,t])))
extern "C" __global__ void backward_dfcw(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ ln2b,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ M2,  // [b, t]
    const float* __restrict__ V2,  // [b, t]
    const float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dfcw,  // [f, c]
    float* __restrict__ dfcw_partial,  // [chunks, f, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_f, columns = size_c, length = size_b*size_t;
    const INDEX across = (columns + 63)/64, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64, left = (INDEX)blockIdx.x%across*64;
    const INDEX share = ((length + gridDim.y - 1)/gridDim.y + 63)/64*64, start = blockIdx.y*share;
    const INDEX end = start + share < length ? start + share : length;
    const bool whole_a = in_packs(dF, rows);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX f = top + at, k = begin + step;
            Pack<float> pack = {};
            if (f < rows && k < end) {
                pack = read(dF + k*size_f + f, whole_a, rows - f);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX c = left + at, k = begin + step;
            float value = 0;
            if (c < columns && k < end) {
                value = ln2b[c] + ln2w[c]*rsqrtf(1e-5f + V2[k])*(R[k*size_c + c] - M2[k]);
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
        const INDEX f = top + my_row + over, first = left + my_column;
        if (f >= rows || first >= columns) continue;
        if (gridDim.y > 1) {
            store(dfcw_partial + (blockIdx.y*rows + f)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dfcw_pack;
        if (accumulate) dfcw_pack = load<4>(dfcw + f*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dfcw_value = results[over].lane[lane];
                dfcw_pack.lane[lane] = accumulate ? dfcw_pack.lane[lane] + dfcw_value : dfcw_value;
            }
        }
        store(dfcw + f*size_c, first, columns, dfcw_pack);
    }
}

// dfcw[f,c] = sum(b, t, dF[b,t,f]*(ln2b[c] + ln2w[c]*rsqrt(1e-05 + V2[b,t])*(R[b,t,c] - M2[b,t]))), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dfcw_chunks(
    const float* __restrict__ dfcw_partial,  // [chunks, f, c]
    float* __restrict__ dfcw,  // [f, c]
    INDEX size_c,
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_f*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dfcw_partial[chunk*(size_f*size_c) + element]);
        }
        const float dfcw_value = total.value();
        dfcw[element] = accumulate ? dfcw[element] + dfcw_value : dfcw_value;
    }
}

// dfcb[f] = sum(b, t, dF[b,t,f]), of each chunk of rows
extern "C" __global__ void backward_dfcb(
    const float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dfcb,  // [f]
    float* __restrict__ dfcb_partial,  // [chunks, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    // Threads (8, 32): 4 neighbouring columns a threadIdx.x, one row in 32 of the block's chunk a threadIdx.y.
    const INDEX columns = size_f, first = (INDEX)blockIdx.x*32 + threadIdx.x*4;
    const INDEX rows = size_b*size_t, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dfcb_part[4] = {};
    if (first < columns) {
        for (INDEX row = begin + threadIdx.y; row < end; row += 32) {
            const auto dF_pack = load<4>(dF + row*size_f, first, columns);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX f = first + lane;
                if (f < columns) {
                    dfcb_part[lane] += dF_pack.lane[lane];
                }
            }
        }
    }
    // 8 places more than threads, so that what a warp reads below lies in different banks.
    __shared__ float tile[1][4][264];
    const int thread = threadIdx.y*8 + threadIdx.x;
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) tile[0][lane][thread] = dfcb_part[lane];
    __syncthreads();
    const INDEX f = (INDEX)blockIdx.x*32 + thread;
    if (thread < 32 && f < columns) {
        float dfcb_value = 0;
        for (int line = 0; line < 32; ++line) {
            dfcb_value += tile[0][thread%4][line*8 + thread/4];
        }
        if (chunks == 1) {
            dfcb[f] = accumulate ? dfcb[f] + dfcb_value : dfcb_value;
        } else {
            dfcb_partial[blockIdx.y*columns + f] = dfcb_value;
        }
    }
}

// dfcb[f] = sum(b, t, dF[b,t,f])
// Launched only where the sum was split.
extern "C" __global__ void backward_dfcb_sum(
    const float* __restrict__ dfcb_partial,  // [chunks, f]
    float* __restrict__ dfcb,  // [f]
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_f, f = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dfcb_value = 0;
    if (f < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dfcb_value += dfcb_partial[chunk*columns + f];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dfcb_value;
    __syncthreads();
    if (threadIdx.y == 0 && f < columns) {
        for (int line = 1; line < 8; ++line) {
            dfcb_value += tile[0][line][threadIdx.x];
        }
        dfcb[f] = accumulate ? dfcb[f] + dfcb_value : dfcb_value;
    }
}

// dfcprojw_sum[c,f] = sum(b, t, F[b,t,f]*dY[b,t,c]*(1 + tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3))))
// dfcprojw[c,f] = 0.5*dfcprojw_sum[c,f]
extern "C" __global__ void backward_dfcprojw(
    const float* __restrict__ F,  // [b, t, f]
    const float* __restrict__ dY,  // [b, t, c]
    float* __restrict__ dfcprojw,  // [c, f]
    float* __restrict__ dfcprojw_sum_partial,  // [chunks, c, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_f,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_c, columns = size_f, length = size_b*size_t;
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
            const INDEX f = left + at, k = begin + step;
            float value = 0;
            if (f < columns && k < end) {
                const float f_ = F[k*size_f + f];
                value = f_*(1.0f + tanhf(0.7978846f*(f_ + 0.044715f*cube(f_))));
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
            store(dfcprojw_sum_partial + (blockIdx.y*rows + c)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dfcprojw_pack;
        if (accumulate) dfcprojw_pack = load<4>(dfcprojw + c*size_f, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float dfcprojw_sum_value = results[over].lane[lane];
                const float dfcprojw_value = 0.5f*dfcprojw_sum_value;
                dfcprojw_pack.lane[lane] = accumulate ? dfcprojw_pack.lane[lane] + dfcprojw_value : dfcprojw_value;
            }
        }
        store(dfcprojw + c*size_f, first, columns, dfcprojw_pack);
    }
}

// dfcprojw_sum[c,f] = sum(b, t, F[b,t,f]*dY[b,t,c]*(1 + tanh(0.7978845608028654*(F[b,t,f] + 0.044715*F[b,t,f]**3)))), from chunks of the sum
// dfcprojw[c,f] = 0.5*dfcprojw_sum[c,f]
// Launched only where the sum was split.
extern "C" __global__ void backward_dfcprojw_chunks(
    const float* __restrict__ dfcprojw_sum_partial,  // [chunks, c, f]
    float* __restrict__ dfcprojw,  // [c, f]
    INDEX size_c,
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_c*size_f;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dfcprojw_sum_partial[chunk*(size_c*size_f) + element]);
        }
        const float dfcprojw_sum_value = total.value();
        const float dfcprojw_value = 0.5f*dfcprojw_sum_value;
        dfcprojw[element] = accumulate ? dfcprojw[element] + dfcprojw_value : dfcprojw_value;
    }
}

// rstd1[b,t] = rsqrt(1e-05 + V2[b,t])
// rhat[b,t,c] = rstd1[b,t]*(R[b,t,c] - M2[b,t])
// g1[b,t,c] = dN2[b,t,c]*ln2w[c]
// dR_sum[b,t] = sum(c, g1[b,t,c])
// dR_mean[b,t] = dR_sum[b,t]/size(c)
// dR_sum2[b,t] = sum(c, g1[b,t,c]*rhat[b,t,c])
// dR_mean2[b,t] = dR_sum2[b,t]/size(c)
// dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g1[b,t,c] - dR_mean[b,t] - dR_mean2[b,t]*rhat[b,t,c])
// dattprojb[c] = sum(b, t, dR[b,t,c]), of each block's rows
// dln2w[c] = sum(b, t, dN2[b,t,c]*rhat[b,t,c]), of each block's rows
// dln2b[c] = sum(b, t, dN2[b,t,c]), of each block's rows
// dfcprojb[c] = sum(b, t, dY[b,t,c]), of each block's rows
extern "C" __global__ void backward_dR_dattprojb_dln2w(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ M2,  // [b, t]
    const float* __restrict__ V2,  // [b, t]
    const float* __restrict__ dY,  // [b, t, c]
    const float* __restrict__ dN2,  // [b, t, c]
    float* __restrict__ dR,  // [b, t, c]
    float* __restrict__ dattprojb_partial,  // [chunks, c]
    float* __restrict__ dln2w_partial,  // [chunks, c]
    float* __restrict__ dln2b_partial,  // [chunks, c]
    float* __restrict__ dfcprojb_partial,  // [chunks, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again and sums stand in device memory.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const r_row = kept + thread;  // R[b,t,c]
    float* const dn2_row = kept + slots + thread;  // dN2[b,t,c]
    float* const dy_row = kept + 2*slots + thread;  // dY[b,t,c]
    // This block's share of sums over all rows.
    float* const dattprojb_part = held ? kept + 3*slots + thread : dattprojb_partial + blockIdx.x*count;
    float* const dln2w_part = held ? kept + 4*slots + thread : dln2w_partial + blockIdx.x*count;
    float* const dln2b_part = held ? kept + 5*slots + thread : dln2b_partial + blockIdx.x*count;
    float* const dfcprojb_part = held ? kept + 6*slots + thread : dfcprojb_partial + blockIdx.x*count;
    for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = held ? own + lane*threads : c;
            if (c < count) {
                dattprojb_part[at] = 0;
                dln2w_part[at] = 0;
                dln2b_part[at] = 0;
                dfcprojb_part[at] = 0;
            }
        }
    }

    for (INDEX top = (INDEX)blockIdx.x*blockDim.y; top < rows; top += (INDEX)gridDim.x*blockDim.y) {
        const INDEX group = top + threadIdx.y;
        const INDEX row = group < rows ? group : rows - 1;
        const INDEX stop = group < rows ? count : 0;
        const float rstd1 = rsqrtf(1e-5f + V2[row]);
        const float m2 = M2[row];

        float dr_sum = 0;
        float dr_sum2 = 0;
        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto R_pack = load<4>(R + row*size_c, first, count);
            const auto dN2_pack = load<4>(dN2 + row*size_c, first, count);
            const auto dY_pack = load<4>(dY + row*size_c, first, count);
            const auto ln2w_pack = load<4>(ln2w, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float r = R_pack.lane[lane];
                    if (held) r_row[at] = r;
                    const float dn2 = dN2_pack.lane[lane];
                    if (held) dn2_row[at] = dn2;
                    const float dy = dY_pack.lane[lane];
                    if (held) dy_row[at] = dy;
                    const float rhat = rstd1*(r - m2);
                    const float g1 = dn2*ln2w_pack.lane[lane];
                    dr_sum += g1;
                    dr_sum2 += g1*rhat;
                    dln2w_part[at] += dn2*rhat;
                    dln2b_part[at] += dn2;
                    dfcprojb_part[at] += dy;
                }
            }
        }
        dr_sum = row_sum(dr_sum, part[0]);
        dr_sum2 = row_sum(dr_sum2, part[1]);
        const float dr_mean = dr_sum / (float)size_c;
        const float dr_mean2 = dr_sum2 / (float)size_c;

        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto ln2w_pack = load<4>(ln2w, first, count);
            Pack<float, 4> dR_pack;
            Pack<float, 4> R_pack;
            if (!held) R_pack = load<4>(R + row*size_c, first, count);
            Pack<float, 4> dN2_pack;
            if (!held) dN2_pack = load<4>(dN2 + row*size_c, first, count);
            Pack<float, 4> dY_pack;
            if (!held) dY_pack = load<4>(dY + row*size_c, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float r = held ? r_row[at] : R_pack.lane[lane];
                    const float dn2 = held ? dn2_row[at] : dN2_pack.lane[lane];
                    const float dy = held ? dy_row[at] : dY_pack.lane[lane];
                    const float rhat = rstd1*(r - m2);
                    const float g1 = dn2*ln2w_pack.lane[lane];
                    const float dr = dy + rstd1*(g1 - dr_mean - dr_mean2*rhat);
                    dR_pack.lane[lane] = dr;
                    dattprojb_part[at] += dr;
                }
            }
            store(dR + row*size_c, first, count, dR_pack);
        }
    }

    // The block's rows together: one thread of each column adds up what those of other threadIdx.y have.
    __syncthreads();
    if (threadIdx.y == 0) {
        for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    float dattprojb_part_sum = dattprojb_part[at];
                    float dln2w_part_sum = dln2w_part[at];
                    float dln2b_part_sum = dln2b_part[at];
                    float dfcprojb_part_sum = dfcprojb_part[at];
                    for (int other = 1; other < blockDim.y; ++other) {
                        dattprojb_part_sum += dattprojb_part[at + other*blockDim.x];
                        dln2w_part_sum += dln2w_part[at + other*blockDim.x];
                        dln2b_part_sum += dln2b_part[at + other*blockDim.x];
                        dfcprojb_part_sum += dfcprojb_part[at + other*blockDim.x];
                    }
                    dattprojb_partial[blockIdx.x*count + c] = dattprojb_part_sum;
                    dln2w_partial[blockIdx.x*count + c] = dln2w_part_sum;
                    dln2b_partial[blockIdx.x*count + c] = dln2b_part_sum;
                    dfcprojb_partial[blockIdx.x*count + c] = dfcprojb_part_sum;
                }
            }
        }
    }
}

// dattprojb[c] = sum(b, t, dR[b,t,c])
// dln2w[c] = sum(b, t, dN2[b,t,c]*rhat[b,t,c])
// dln2b[c] = sum(b, t, dN2[b,t,c])
// dfcprojb[c] = sum(b, t, dY[b,t,c])
extern "C" __global__ void backward_dR_dattprojb_dln2w_sum(
    const float* __restrict__ dattprojb_partial,  // [chunks, c]
    const float* __restrict__ dln2w_partial,  // [chunks, c]
    const float* __restrict__ dln2b_partial,  // [chunks, c]
    const float* __restrict__ dfcprojb_partial,  // [chunks, c]
    float* __restrict__ dattprojb,  // [c]
    float* __restrict__ dln2w,  // [c]
    float* __restrict__ dln2b,  // [c]
    float* __restrict__ dfcprojb,  // [c]
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_c, c = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dattprojb_value = 0;
    float dln2w_value = 0;
    float dln2b_value = 0;
    float dfcprojb_value = 0;
    if (c < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dattprojb_value += dattprojb_partial[chunk*columns + c];
            dln2w_value += dln2w_partial[chunk*columns + c];
            dln2b_value += dln2b_partial[chunk*columns + c];
            dfcprojb_value += dfcprojb_partial[chunk*columns + c];
        }
    }
    __shared__ float tile[4][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dattprojb_value;
    tile[1][threadIdx.y][threadIdx.x] = dln2w_value;
    tile[2][threadIdx.y][threadIdx.x] = dln2b_value;
    tile[3][threadIdx.y][threadIdx.x] = dfcprojb_value;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int line = 1; line < 8; ++line) {
            dattprojb_value += tile[0][line][threadIdx.x];
            dln2w_value += tile[1][line][threadIdx.x];
            dln2b_value += tile[2][line][threadIdx.x];
            dfcprojb_value += tile[3][line][threadIdx.x];
        }
        dattprojb[c] = accumulate ? dattprojb[c] + dattprojb_value : dattprojb_value;
        dln2w[c] = accumulate ? dln2w[c] + dln2w_value : dln2w_value;
        dln2b[c] = accumulate ? dln2b[c] + dln2b_value : dln2b_value;
        dfcprojb[c] = accumulate ? dfcprojb[c] + dfcprojb_value : dfcprojb_value;
    }
}

// dO[b,h,t,d] = sum(c, attprojw[c,h,d]*dR[b,t,c])
extern "C" __global__ void backward_dO(
    const float* __restrict__ attprojw,  // [c, h, d]
    const float* __restrict__ dR,  // [b, t, c]
    float* __restrict__ dO,  // [b, h, t, d]
    float* __restrict__ dO_partial,  // [chunks, b*t, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
    const bool whole_a = in_packs(dR, length);
    const bool whole_b = in_packs(attprojw, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, c = begin + step;
            Pack<float> pack = {};
            if (m < rows && c < end) {
                pack = read(dR + m*size_c + c, whole_a, end - c);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX n = left + at, c = begin + step;
            Pack<float> pack = {};
            if (n < columns && c < end) {
                pack = read(attprojw + c*(size_h*size_d) + n, whole_b, columns - n);
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

// dO[b,h,t,d] = sum(c, attprojw[c,h,d]*dR[b,t,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dO_chunks(
    const float* __restrict__ dO_partial,  // [chunks, b*t, h*d]
    float* __restrict__ dO,  // [b, h, t, d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
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
    INDEX size_t,
    INDEX size_h,
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

// dattprojw[c,h,d] = sum(b, t, O[b,h,t,d]*dR[b,t,c])
extern "C" __global__ void backward_dattprojw(
    const float* __restrict__ O,  // [b, h, t, d]
    const float* __restrict__ dR,  // [b, t, c]
    float* __restrict__ dattprojw,  // [c, h, d]
    float* __restrict__ dattprojw_partial,  // [chunks, c, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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
    const bool whole_a = in_packs(dR, rows);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = top + at, k = begin + step;
            Pack<float> pack = {};
            if (c < rows && k < end) {
                pack = read(dR + k*size_c + c, whole_a, rows - c);
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
            store(dattprojw_partial + (blockIdx.y*rows + c)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dattprojw_pack;
        if (accumulate) dattprojw_pack = load<4>(dattprojw + c*(size_h*size_d), first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX n = first + lane;
            if (n < columns) {
                const float dattprojw_value = results[over].lane[lane];
                dattprojw_pack.lane[lane] = accumulate ? dattprojw_pack.lane[lane] + dattprojw_value : dattprojw_value;
            }
        }
        store(dattprojw + c*(size_h*size_d), first, columns, dattprojw_pack);
    }
}

// dattprojw[c,h,d] = sum(b, t, O[b,h,t,d]*dR[b,t,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dattprojw_chunks(
    const float* __restrict__ dattprojw_partial,  // [chunks, c, h*d]
    float* __restrict__ dattprojw,  // [c, h, d]
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_c*size_h*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dattprojw_partial[chunk*(size_c*size_h*size_d) + element]);
        }
        const float dattprojw_value = total.value();
        dattprojw[element] = accumulate ? dattprojw[element] + dattprojw_value : dattprojw_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dU[b,h,s,d] = sum(t, P[b,h,t,s]*dO[b,h,t,d])
// dK[b,h,s,d] = rsqrt(size(d))*sum(t, P[b,h,t,s]*Q[b,h,t,d]*(sum(d2, U[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
extern "C" __global__ void backward_dU_dK(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ U,  // [b, h, t, d]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dU,  // [b, h, t, d]
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
    float du_tile[4][4] = {};  // [s, d_2]
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
                    value = U[(batch*size_t + s)*size_d + d_];
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
                        du_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
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
                    const float du = du_tile[over][along];
                    dU[(batch*size_t + s)*size_d + d_2] = du;
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

// dwk[h,d,c] = sum(b, t, dK[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t])))
extern "C" __global__ void backward_dwk(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ ln1b,  // [c]
    const float* __restrict__ M1,  // [b, t]
    const float* __restrict__ V1,  // [b, t]
    const float* __restrict__ dK,  // [b, h, t, d]
    float* __restrict__ dwk,  // [h, d, c]
    float* __restrict__ dwk_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX c = left + at, k = begin + step;
            float value = 0;
            if (c < columns && k < end) {
                value = ln1b[c] + ln1w[c]*rsqrtf(1e-5f + V1[k])*(X[k*size_c + c] - M1[k]);
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

// dwk[h,d,c] = sum(b, t, dK[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t]))), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwk_chunks(
    const float* __restrict__ dwk_partial,  // [chunks, h*d, c]
    float* __restrict__ dwk,  // [h, d, c]
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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

// dbk[h,d] = sum(b, t, dK[b,h,t,d]), of each chunk of rows
extern "C" __global__ void backward_dbk(
    const float* __restrict__ dK,  // [b, h, t, d]
    float* __restrict__ dbk,  // [h, d]
    float* __restrict__ dbk_partial,  // [chunks, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_t, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbk_value = 0;
    if (column < columns) {
        const INDEX d = column%size_d;
        const INDEX h = column/size_d;
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX t = row%size_t;
            const INDEX b = row/size_t;
            dbk_value += dK[((b*size_h + h)*size_t + t)*size_d + d];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbk_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbk_value += tile[0][line][threadIdx.x];
        }
        if (chunks == 1) {
            dbk[column] = accumulate ? dbk[column] + dbk_value : dbk_value;
        } else {
            dbk_partial[blockIdx.y*columns + column] = dbk_value;
        }
    }
}

// dbk[h,d] = sum(b, t, dK[b,h,t,d])
// Launched only where the sum was split.
extern "C" __global__ void backward_dbk_sum(
    const float* __restrict__ dbk_partial,  // [chunks, h*d]
    float* __restrict__ dbk,  // [h, d]
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbk_value = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dbk_value += dbk_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbk_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbk_value += tile[0][line][threadIdx.x];
        }
        dbk[column] = accumulate ? dbk[column] + dbk_value : dbk_value;
    }
}

// dwv[h,d,c] = sum(b, t, dU[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t])))
extern "C" __global__ void backward_dwv(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ ln1b,  // [c]
    const float* __restrict__ M1,  // [b, t]
    const float* __restrict__ V1,  // [b, t]
    const float* __restrict__ dU,  // [b, h, t, d]
    float* __restrict__ dwv,  // [h, d, c]
    float* __restrict__ dwv_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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
                value = dU[((b*size_h + h)*size_t + t)*size_d + d];
            }
            As[step][at ^ step/4*8] = value;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX c = left + at, k = begin + step;
            float value = 0;
            if (c < columns && k < end) {
                value = ln1b[c] + ln1w[c]*rsqrtf(1e-5f + V1[k])*(X[k*size_c + c] - M1[k]);
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

// dwv[h,d,c] = sum(b, t, dU[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t]))), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwv_chunks(
    const float* __restrict__ dwv_partial,  // [chunks, h*d, c]
    float* __restrict__ dwv,  // [h, d, c]
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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

// dbv[h,d] = sum(b, t, dU[b,h,t,d]), of each chunk of rows
extern "C" __global__ void backward_dbv(
    const float* __restrict__ dU,  // [b, h, t, d]
    float* __restrict__ dbv,  // [h, d]
    float* __restrict__ dbv_partial,  // [chunks, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_t, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbv_value = 0;
    if (column < columns) {
        const INDEX d = column%size_d;
        const INDEX h = column/size_d;
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX t = row%size_t;
            const INDEX b = row/size_t;
            dbv_value += dU[((b*size_h + h)*size_t + t)*size_d + d];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbv_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbv_value += tile[0][line][threadIdx.x];
        }
        if (chunks == 1) {
            dbv[column] = accumulate ? dbv[column] + dbv_value : dbv_value;
        } else {
            dbv_partial[blockIdx.y*columns + column] = dbv_value;
        }
    }
}

// dbv[h,d] = sum(b, t, dU[b,h,t,d])
// Launched only where the sum was split.
extern "C" __global__ void backward_dbv_sum(
    const float* __restrict__ dbv_partial,  // [chunks, h*d]
    float* __restrict__ dbv,  // [h, d]
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbv_value = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dbv_value += dbv_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbv_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbv_value += tile[0][line][threadIdx.x];
        }
        dbv[column] = accumulate ? dbv[column] + dbv_value : dbv_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dQ[b,h,t,d] = rsqrt(size(d))*sum(s, K[b,h,s,d]*P[b,h,t,s]*(sum(d2, U[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
extern "C" __global__ void backward_dQ(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, t, d]
    const float* __restrict__ U,  // [b, h, t, d]
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
                    value = U[(batch*size_t + s)*size_d + d_];
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

// dN1_sum[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c])
extern "C" __global__ void backward_dN1_sum(
    const float* __restrict__ wk,  // [h, d, c]
    const float* __restrict__ dK,  // [b, h, t, d]
    float* __restrict__ dN1_sum,  // [b, t, c]
    float* __restrict__ dN1_sum_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
            store(dN1_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN1_sum + m*size_c, first, columns, results[over]);
    }
}

// dN1_sum[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dN1_sum_chunks(
    const float* __restrict__ dN1_sum_partial,  // [chunks, b*t, c]
    float* __restrict__ dN1_sum,  // [b, t, c]
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
            total.add(dN1_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dN1_sum[element] = total.value();
    }
}

// dN1_sum2[b,t,c] = sum(h, d, dQ[b,h,t,d]*wq[h,d,c])
extern "C" __global__ void backward_dN1_sum2(
    const float* __restrict__ wq,  // [h, d, c]
    const float* __restrict__ dQ,  // [b, h, t, d]
    float* __restrict__ dN1_sum2,  // [b, t, c]
    float* __restrict__ dN1_sum2_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
            store(dN1_sum2_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN1_sum2 + m*size_c, first, columns, results[over]);
    }
}

// dN1_sum2[b,t,c] = sum(h, d, dQ[b,h,t,d]*wq[h,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dN1_sum2_chunks(
    const float* __restrict__ dN1_sum2_partial,  // [chunks, b*t, c]
    float* __restrict__ dN1_sum2,  // [b, t, c]
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
            total.add(dN1_sum2_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dN1_sum2[element] = total.value();
    }
}

// dN1_sum3[b,t,c] = sum(h, d, dU[b,h,t,d]*wv[h,d,c])
// dN1[b,t,c] = dN1_sum[b,t,c] + dN1_sum2[b,t,c] + dN1_sum3[b,t,c]
extern "C" __global__ void backward_dN1(
    const float* __restrict__ wv,  // [h, d, c]
    const float* __restrict__ dU,  // [b, h, t, d]
    const float* __restrict__ dN1_sum,  // [b, t, c]
    const float* __restrict__ dN1_sum2,  // [b, t, c]
    float* __restrict__ dN1,  // [b, t, c]
    float* __restrict__ dN1_sum3_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d
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
                value = dU[((b*size_h + h)*size_t + t)*size_d + d];
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
            store(dN1_sum3_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dN1_pack;
        const auto dN1_sum_pack = load<4>(dN1_sum + m*size_c, first, columns);
        const auto dN1_sum2_pack = load<4>(dN1_sum2 + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dn1_sum3 = results[over].lane[lane];
                dN1_pack.lane[lane] = dN1_sum_pack.lane[lane] + dN1_sum2_pack.lane[lane] + dn1_sum3;
            }
        }
        store(dN1 + m*size_c, first, columns, dN1_pack);
    }
}

// dN1_sum3[b,t,c] = sum(h, d, dU[b,h,t,d]*wv[h,d,c]), from chunks of the sum
// dN1[b,t,c] = dN1_sum[b,t,c] + dN1_sum2[b,t,c] + dN1_sum3[b,t,c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dN1_chunks(
    const float* __restrict__ dN1_sum3_partial,  // [chunks, b*t, c]
    const float* __restrict__ dN1_sum,  // [b, t, c]
    const float* __restrict__ dN1_sum2,  // [b, t, c]
    float* __restrict__ dN1,  // [b, t, c]
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
            total.add(dN1_sum3_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float dn1_sum3 = total.value();
        dN1[element] = dN1_sum[element] + dN1_sum2[element] + dn1_sum3;
    }
}

// rstd[b,t] = rsqrt(1e-05 + V1[b,t])
// xhat[b,t,c] = rstd[b,t]*(X[b,t,c] - M1[b,t])
// g[b,t,c] = dN1[b,t,c]*ln1w[c]
// dX_sum[b,t] = sum(c, g[b,t,c])
// dX_mean[b,t] = dX_sum[b,t]/size(c)
// dX_sum2[b,t] = sum(c, g[b,t,c]*xhat[b,t,c])
// dX_mean2[b,t] = dX_sum2[b,t]/size(c)
// dX[b,t,c] = dR[b,t,c] + rstd[b,t]*(g[b,t,c] - dX_mean[b,t] - dX_mean2[b,t]*xhat[b,t,c])
// dln1w[c] = sum(b, t, dN1[b,t,c]*xhat[b,t,c]), of each block's rows
// dln1b[c] = sum(b, t, dN1[b,t,c]), of each block's rows
extern "C" __global__ void backward_dX_dln1w_dln1b(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ M1,  // [b, t]
    const float* __restrict__ V1,  // [b, t]
    const float* __restrict__ dR,  // [b, t, c]
    const float* __restrict__ dN1,  // [b, t, c]
    float* __restrict__ dX,  // [b, t, c]
    float* __restrict__ dln1w_partial,  // [chunks, c]
    float* __restrict__ dln1b_partial,  // [chunks, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[2][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again and sums stand in device memory.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const x_row = kept + thread;  // X[b,t,c]
    float* const dn1_row = kept + slots + thread;  // dN1[b,t,c]
    // This block's share of sums over all rows.
    float* const dln1w_part = held ? kept + 2*slots + thread : dln1w_partial + blockIdx.x*count;
    float* const dln1b_part = held ? kept + 3*slots + thread : dln1b_partial + blockIdx.x*count;
    for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = held ? own + lane*threads : c;
            if (c < count) {
                dln1w_part[at] = 0;
                dln1b_part[at] = 0;
            }
        }
    }

    for (INDEX top = (INDEX)blockIdx.x*blockDim.y; top < rows; top += (INDEX)gridDim.x*blockDim.y) {
        const INDEX group = top + threadIdx.y;
        const INDEX row = group < rows ? group : rows - 1;
        const INDEX stop = group < rows ? count : 0;
        const float rstd = rsqrtf(1e-5f + V1[row]);
        const float m1 = M1[row];

        float dx_sum = 0;
        float dx_sum2 = 0;
        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto X_pack = load<4>(X + row*size_c, first, count);
            const auto dN1_pack = load<4>(dN1 + row*size_c, first, count);
            const auto ln1w_pack = load<4>(ln1w, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float x = X_pack.lane[lane];
                    if (held) x_row[at] = x;
                    const float dn1 = dN1_pack.lane[lane];
                    if (held) dn1_row[at] = dn1;
                    const float xhat = rstd*(x - m1);
                    const float g = dn1*ln1w_pack.lane[lane];
                    dx_sum += g;
                    dx_sum2 += g*xhat;
                    dln1w_part[at] += dn1*xhat;
                    dln1b_part[at] += dn1;
                }
            }
        }
        dx_sum = row_sum(dx_sum, part[0]);
        dx_sum2 = row_sum(dx_sum2, part[1]);
        const float dx_mean = dx_sum / (float)size_c;
        const float dx_mean2 = dx_sum2 / (float)size_c;

        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto ln1w_pack = load<4>(ln1w, first, count);
            const auto dR_pack = load<4>(dR + row*size_c, first, count);
            Pack<float, 4> dX_pack;
            if (accumulate) dX_pack = load<4>(dX + row*size_c, first, count);
            Pack<float, 4> X_pack;
            if (!held) X_pack = load<4>(X + row*size_c, first, count);
            Pack<float, 4> dN1_pack;
            if (!held) dN1_pack = load<4>(dN1 + row*size_c, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float x = held ? x_row[at] : X_pack.lane[lane];
                    const float dn1 = held ? dn1_row[at] : dN1_pack.lane[lane];
                    const float xhat = rstd*(x - m1);
                    const float g = dn1*ln1w_pack.lane[lane];
                    const float dx = dR_pack.lane[lane] + rstd*(g - dx_mean - dx_mean2*xhat);
                    dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
                }
            }
            store(dX + row*size_c, first, count, dX_pack);
        }
    }

    // The block's rows together: one thread of each column adds up what those of other threadIdx.y have.
    __syncthreads();
    if (threadIdx.y == 0) {
        for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    float dln1w_part_sum = dln1w_part[at];
                    float dln1b_part_sum = dln1b_part[at];
                    for (int other = 1; other < blockDim.y; ++other) {
                        dln1w_part_sum += dln1w_part[at + other*blockDim.x];
                        dln1b_part_sum += dln1b_part[at + other*blockDim.x];
                    }
                    dln1w_partial[blockIdx.x*count + c] = dln1w_part_sum;
                    dln1b_partial[blockIdx.x*count + c] = dln1b_part_sum;
                }
            }
        }
    }
}

// dln1w[c] = sum(b, t, dN1[b,t,c]*xhat[b,t,c])
// dln1b[c] = sum(b, t, dN1[b,t,c])
extern "C" __global__ void backward_dX_dln1w_dln1b_sum(
    const float* __restrict__ dln1w_partial,  // [chunks, c]
    const float* __restrict__ dln1b_partial,  // [chunks, c]
    float* __restrict__ dln1w,  // [c]
    float* __restrict__ dln1b,  // [c]
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_c, c = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dln1w_value = 0;
    float dln1b_value = 0;
    if (c < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dln1w_value += dln1w_partial[chunk*columns + c];
            dln1b_value += dln1b_partial[chunk*columns + c];
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dln1w_value;
    tile[1][threadIdx.y][threadIdx.x] = dln1b_value;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int line = 1; line < 8; ++line) {
            dln1w_value += tile[0][line][threadIdx.x];
            dln1b_value += tile[1][line][threadIdx.x];
        }
        dln1w[c] = accumulate ? dln1w[c] + dln1w_value : dln1w_value;
        dln1b[c] = accumulate ? dln1b[c] + dln1b_value : dln1b_value;
    }
}

// dwq[h,d,c] = sum(b, t, dQ[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t])))
extern "C" __global__ void backward_dwq(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ ln1b,  // [c]
    const float* __restrict__ M1,  // [b, t]
    const float* __restrict__ V1,  // [b, t]
    const float* __restrict__ dQ,  // [b, h, t, d]
    float* __restrict__ dwq,  // [h, d, c]
    float* __restrict__ dwq_partial,  // [chunks, h*d, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX c = left + at, k = begin + step;
            float value = 0;
            if (c < columns && k < end) {
                value = ln1b[c] + ln1w[c]*rsqrtf(1e-5f + V1[k])*(X[k*size_c + c] - M1[k]);
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

// dwq[h,d,c] = sum(b, t, dQ[b,h,t,d]*(ln1b[c] + ln1w[c]*rsqrt(1e-05 + V1[b,t])*(X[b,t,c] - M1[b,t]))), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwq_chunks(
    const float* __restrict__ dwq_partial,  // [chunks, h*d, c]
    float* __restrict__ dwq,  // [h, d, c]
    INDEX size_c,
    INDEX size_h,
    INDEX size_d,
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

// dbq[h,d] = sum(b, t, dQ[b,h,t,d]), of each chunk of rows
extern "C" __global__ void backward_dbq(
    const float* __restrict__ dQ,  // [b, h, t, d]
    float* __restrict__ dbq,  // [h, d]
    float* __restrict__ dbq_partial,  // [chunks, h*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_t, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbq_value = 0;
    if (column < columns) {
        const INDEX d = column%size_d;
        const INDEX h = column/size_d;
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX t = row%size_t;
            const INDEX b = row/size_t;
            dbq_value += dQ[((b*size_h + h)*size_t + t)*size_d + d];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbq_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbq_value += tile[0][line][threadIdx.x];
        }
        if (chunks == 1) {
            dbq[column] = accumulate ? dbq[column] + dbq_value : dbq_value;
        } else {
            dbq_partial[blockIdx.y*columns + column] = dbq_value;
        }
    }
}

// dbq[h,d] = sum(b, t, dQ[b,h,t,d])
// Launched only where the sum was split.
extern "C" __global__ void backward_dbq_sum(
    const float* __restrict__ dbq_partial,  // [chunks, h*d]
    float* __restrict__ dbq,  // [h, d]
    INDEX size_h,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_h*size_d, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dbq_value = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dbq_value += dbq_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dbq_value;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dbq_value += tile[0][line][threadIdx.x];
        }
        dbq[column] = accumulate ? dbq[column] + dbq_value : dbq_value;
    }
}
