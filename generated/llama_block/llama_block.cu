// llama_block: forward and backward, float32.  Made by `derive emit llama_block -o DIR`; do not edit.
//
//     param eps = 1e-5
//     param group = 4
//     size p = 2
//     N1[b,t,c] = X[b,t,c]*rsqrt(mean(c1, X[b,t,c1]**2) + eps)*ln1w[c]
//     Q[b,h,t,p,i] = sum(c, N1[b,t,c]*wq[h,p,i,c])
//     K[b,g,t,p,i] = sum(c, N1[b,t,c]*wk[g,p,i,c])
//     V[b,g,t,d] = sum(c, N1[b,t,c]*wv[g,d,c])
//     Qr[b,h,t,p,i] = Q[b,h,t,p,i]*C[t,i] + where(p == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i])*S[t,i]
//     Kr[b,g,t,p,i] = K[b,g,t,p,i]*C[t,i] + where(p == 0, -K[b,g,t,1,i], K[b,g,t,0,i])*S[t,i]
//     A[b,h,t,s] = sum(p, i, Qr[b,h,t,p,i]*Kr[b,h//group,s,p,i])/sqrt(2*size(i))
//     P[b,h,t,s] = softmax(s, where(s <= t, A[b,h,t,s], -1e30))
//     O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h//group,s,d])
//     R[b,t,c] = X[b,t,c] + sum(h, d, O[b,h,t,d]*wo[c,h,d])
//     N2[b,t,c] = R[b,t,c]*rsqrt(mean(c1, R[b,t,c1]**2) + eps)*ln2w[c]
//     F[b,t,f] = sum(c, N2[b,t,c]*w1[f,c])
//     U[b,t,f] = sum(c, N2[b,t,c]*w3[f,c])
//     Y[b,t,c] = R[b,t,c] + sum(f, F[b,t,f]*sigmoid(F[b,t,f])*U[b,t,f]*w2[c,f])
//
//     dX = dR + diag(rstd) (g2 − diag((g2 ∘ xhat) 1) xhat / |c|)
//     dln1w = (dN1 ∘ xhat)ᵀ 1
//     dwq = einsum(btc,bhtpi->hpic; N1, dQ)
//     dwk = einsum(btc,bgtpi->gpic; N1, dK)
//     dwv = einsum(btc,bgtd->gdc; N1, dV)
//     dC[t,i] = sum(b, g, p, K[b,g,t,p,i]*dKr[b,g,t,p,i]) + sum(b, h, p, Q[b,h,t,p,i]*dQr[b,h,t,p,i])
//     dS[t,i] = sum(b, g, p, dKr[b,g,t,p,i]*where(p == 0, -K[b,g,t,1,i], K[b,g,t,0,i])) + sum(b, h, p, dQr[b,h,t,p,i]*where(p == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i]))
//     dwo = einsum(bhtd,btc->chd; O, dR)
//     dln2w = (dN2 ∘ rhat)ᵀ 1
//     dw1 = dFᵀ N2
//     dw3 = dUᵀ N2
//     dw2 = dYᵀ (U ∘ g1)
//     where
//     N1_in[b,t] = eps + mean(c, X[b,t,c]**2)
//     rstd[b,t] = rsqrt(N1_in[b,t])
//     xhat[b,t,c] = X[b,t,c]*rstd[b,t]
//     N2_in[b,t] = eps + mean(c, R[b,t,c]**2)
//     rstd1[b,t] = rsqrt(N2_in[b,t])
//     rhat[b,t,c] = R[b,t,c]*rstd1[b,t]
//     s1[b,t,f] = sigmoid(F[b,t,f])
//     g1[b,t,f] = F[b,t,f]*s1[b,t,f]
//     r[b,t,f] = sum(c, dY[b,t,c]*w2[c,f])
//     dU[b,t,f] = g1[b,t,f]*r[b,t,f]
//     dF[b,t,f] = U[b,t,f]*r[b,t,f]*(s1[b,t,f] + g1[b,t,f]*(1 - s1[b,t,f]))
//     dN2[b,t,c] = sum(f, dF[b,t,f]*w1[f,c]) + sum(f, dU[b,t,f]*w3[f,c])
//     g3[b,t,c] = dN2[b,t,c]*ln2w[c]
//     dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g3[b,t,c] - rhat[b,t,c]*mean(c1, g3[b,t,c1]*rhat[b,t,c1]))
//     dO[b,h,t,d] = sum(c, dR[b,t,c]*wo[c,h,d])
//     dP[b,h,t,s] = sum(d, V[b,h//4,s,d]*dO[b,h,t,d])
//     dA_sum[b,h,t,s] = 0.5*P[b,h,t,s]*sqrt(2)*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(i))
//     dKr[b,g,t,p,i] = sum(s, l, where(l + 4*g < size(h), Qr[b,l + 4*g,s,p,i]*dA_sum[b,l + 4*g,s,t], 0))
//     dQr[b,h,t,p,i] = sum(s, Kr[b,h//4,s,p,i]*dA_sum[b,h,t,s])
//     dV[b,g,t,d] = sum(s, l, where(l + 4*g < size(h), P[b,l + 4*g,s,t]*dO[b,l + 4*g,s,d], 0))
//     dK[b,g,t,p,i] = where(p == 0, S[t,i]*dKr[b,g,t,1,i], -S[t,i]*dKr[b,g,t,0,i]) + C[t,i]*dKr[b,g,t,p,i]
//     dQ[b,h,t,p,i] = where(p == 0, S[t,i]*dQr[b,h,t,1,i], -S[t,i]*dQr[b,h,t,0,i]) + C[t,i]*dQr[b,h,t,p,i]
//     dN1[b,t,c] = sum(g, d, dV[b,g,t,d]*wv[g,d,c]) + sum(g, p, i, dK[b,g,t,p,i]*wk[g,p,i,c]) + sum(h, p, i, dQ[b,h,t,p,i]*wq[h,p,i,c])
//     g2[b,t,c] = dN1[b,t,c]*ln1w[c]
//
// Saved for the backward: N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U.  Computed again: rstd, xhat, N1, rstd1, rhat, N2, s1, P, A, A_sum, dA_sum.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dX over dY, dX over X, dln1w over ln1w, dln1w over ln2w, dwo over wo, dln2w over ln2w, dw1 over w1, dw3 over w1, dw3 over w3, dw2 over w2.
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

__device__ inline float sigmoid(float x) { return 1/(1 + expf(-x)); }

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

// N1_in_sum[b,t] = sum(c, X[b,t,c]**2)
// N1_in[b,t] = 1e-05 + N1_in_sum[b,t]/size(c)
// rstd[b,t] = rsqrt(N1_in[b,t])
// xhat[b,t,c] = X[b,t,c]*rstd[b,t]
// N1[b,t,c] = ln1w[c]*xhat[b,t,c]
extern "C" __global__ void forward_N1_in_N1(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    float* __restrict__ N1_in,  // [b, t]
    float* __restrict__ N1,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[1][32];

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

    float n1_in_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto X_pack = load<4>(X + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float x = X_pack.lane[lane];
                if (held) x_row[at] = x;
                n1_in_sum += square(x);
            }
        }
    }
    n1_in_sum = row_sum(n1_in_sum, part[0]);
    const float n1_in = 1e-5f + n1_in_sum / (float)size_c;
    const float rstd = rsqrtf(n1_in);
    if (writer) N1_in[row] = n1_in;

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> N1_pack;
        const auto ln1w_pack = load<4>(ln1w, first, count);
        Pack<float, 4> X_pack;
        if (!held) X_pack = load<4>(X + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float x = held ? x_row[at] : X_pack.lane[lane];
                const float xhat = x*rstd;
                N1_pack.lane[lane] = ln1w_pack.lane[lane]*xhat;
            }
        }
        store(N1 + row*size_c, first, count, N1_pack);
    }
}

// Q[b,h,t,p,i] = sum(c, N1[b,t,c]*wq[h,p,i,c])
extern "C" __global__ void forward_Q(
    const float* __restrict__ wq,  // [h, 2, i, c]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ Q,  // [b, h, t, 2, i]
    float* __restrict__ Q_partial,  // [chunks, b*t, h*2*i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_h*2*size_i, length = size_c;
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
                const INDEX h = n/size_i/2;
                Q[((b*size_h + h)*size_t + t)*(2*size_i) + n%(2*size_i)] = q;
            }
        }
    }
}

// Q[b,h,t,p,i] = sum(c, N1[b,t,c]*wq[h,p,i,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_Q_chunks(
    const float* __restrict__ Q_partial,  // [chunks, b*t, h*2*i]
    float* __restrict__ Q,  // [b, h, t, 2, i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_i,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_h*2*size_i;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX h = element/size_i/2%size_h;
        const INDEX t = element/size_i/2/size_h%size_t;
        const INDEX b = element/size_i/2/size_h/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Q_partial[chunk*(size_b*size_t*size_h*2*size_i) + element]);
        }
        Q[((b*size_h + h)*size_t + t)*(2*size_i) + element%(2*size_i)] = total.value();
    }
}

// K[b,g,t,p,i] = sum(c, N1[b,t,c]*wk[g,p,i,c])
extern "C" __global__ void forward_K(
    const float* __restrict__ wk,  // [g, 2, i, c]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ K,  // [b, g, t, 2, i]
    float* __restrict__ K_partial,  // [chunks, b*t, g*2*i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_i,
    INDEX size_g
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_g*2*size_i, length = size_c;
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
                const INDEX g = n/size_i/2;
                K[((b*size_g + g)*size_t + t)*(2*size_i) + n%(2*size_i)] = k;
            }
        }
    }
}

// K[b,g,t,p,i] = sum(c, N1[b,t,c]*wk[g,p,i,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_K_chunks(
    const float* __restrict__ K_partial,  // [chunks, b*t, g*2*i]
    float* __restrict__ K,  // [b, g, t, 2, i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_i,
    INDEX size_g,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_g*2*size_i;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX g = element/size_i/2%size_g;
        const INDEX t = element/size_i/2/size_g%size_t;
        const INDEX b = element/size_i/2/size_g/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(K_partial[chunk*(size_b*size_t*size_g*2*size_i) + element]);
        }
        K[((b*size_g + g)*size_t + t)*(2*size_i) + element%(2*size_i)] = total.value();
    }
}

// V[b,g,t,d] = sum(c, N1[b,t,c]*wv[g,d,c])
extern "C" __global__ void forward_V(
    const float* __restrict__ wv,  // [g, d, c]
    const float* __restrict__ N1,  // [b, t, c]
    float* __restrict__ V,  // [b, g, t, d]
    float* __restrict__ V_partial,  // [chunks, b*t, g*d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_g,
    INDEX size_d
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_g*size_d, length = size_c;
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
                const INDEX g = n/size_d;
                V[((b*size_g + g)*size_t + t)*size_d + d] = v;
            }
        }
    }
}

// V[b,g,t,d] = sum(c, N1[b,t,c]*wv[g,d,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_V_chunks(
    const float* __restrict__ V_partial,  // [chunks, b*t, g*d]
    float* __restrict__ V,  // [b, g, t, d]
    INDEX size_b,
    INDEX size_t,
    INDEX size_g,
    INDEX size_d,
    INDEX chunks
)
{
    const INDEX count = size_b*size_t*size_g*size_d;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX d = element%size_d;
        const INDEX g = element/size_d%size_g;
        const INDEX t = element/size_d/size_g%size_t;
        const INDEX b = element/size_d/size_g/size_t;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(V_partial[chunk*(size_b*size_t*size_g*size_d) + element]);
        }
        V[((b*size_g + g)*size_t + t)*size_d + d] = total.value();
    }
}

// Qr[b,h,t,p,i] = C[t,i]*Q[b,h,t,p,i] + S[t,i]*where(p == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i])
extern "C" __global__ void forward_Qr(
    const float* __restrict__ C,  // [t, i]
    const float* __restrict__ S,  // [t, i]
    const float* __restrict__ Q,  // [b, h, t, 2, i]
    float* __restrict__ Qr,  // [b, h, t, 2, i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_i
)
{
    const INDEX count = size_b*size_h*size_t*2*size_i;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto Q_pack = load<4>(Q, first, count);
        Pack<float, 4> Qr_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX i = element%size_i;
                const INDEX p = element/size_i%2;
                const INDEX t = element/size_i/2%size_t;
                Qr_pack.lane[lane] = C[t*size_i + i]*Q_pack.lane[lane] + S[t*size_i + i]*(p == 0 ? -Q[(element/(2*size_i)*2 + 1)*size_i + i] : Q[element/(2*size_i)*2*size_i + i]);
            }
        }
        store(Qr, first, count, Qr_pack);
    }
}

// Kr[b,g,t,p,i] = C[t,i]*K[b,g,t,p,i] + S[t,i]*where(p == 0, -K[b,g,t,1,i], K[b,g,t,0,i])
extern "C" __global__ void forward_Kr(
    const float* __restrict__ C,  // [t, i]
    const float* __restrict__ S,  // [t, i]
    const float* __restrict__ K,  // [b, g, t, 2, i]
    float* __restrict__ Kr,  // [b, g, t, 2, i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_i,
    INDEX size_g
)
{
    const INDEX count = size_b*size_g*size_t*2*size_i;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto K_pack = load<4>(K, first, count);
        Pack<float, 4> Kr_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX element = first + lane;
            if (element < count) {
                const INDEX i = element%size_i;
                const INDEX p = element/size_i%2;
                const INDEX t = element/size_i/2%size_t;
                Kr_pack.lane[lane] = C[t*size_i + i]*K_pack.lane[lane] + S[t*size_i + i]*(p == 0 ? -K[(element/(2*size_i)*2 + 1)*size_i + i] : K[element/(2*size_i)*2*size_i + i]);
            }
        }
        store(Kr, first, count, Kr_pack);
    }
}

// P[b,h,t,s] = softmax(s, where(s <= t, 0.7071067811865476*rsqrt(size(i))*sum(r, i, Kr[b,h // 4,s,r,i]*Qr[b,h,t,r,i]), -1e+30))
// P_lse[b,h,t] = logsumexp(s, where(s <= t, 0.7071067811865476*rsqrt(size(i))*sum(r, i, Kr[b,h // 4,s,r,i]*Qr[b,h,t,r,i]), -1e+30))
// O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h // 4,s,d])
extern "C" __global__ void forward_P_lse_O(
    const float* __restrict__ V,  // [b, g, t, d]
    const float* __restrict__ Qr,  // [b, h, t, 2, i]
    const float* __restrict__ Kr,  // [b, g, t, 2, i]
    float* __restrict__ P_lse,  // [b, h, t]
    float* __restrict__ O,  // [b, h, t, d]
    INDEX size_t,
    INDEX size_h,
    INDEX size_i,
    INDEX size_g,
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
    const INDEX h = batch%size_h;
    const INDEX b = batch/size_h;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float o_tile[4][4] = {};  // [t, d]
    float greatest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[4] = {};
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    for (INDEX first = 0; first < stop; first += 64) {
        float score_tile[4][4] = {};  // [t, s]
        for (INDEX chunk = 0; chunk < 2*size_i; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = top + at, k = chunk + step;
                float value = 0;
                if (t < rows && k < 2*size_i) {
                    const INDEX i = k%size_i;
                    const INDEX n2 = k/size_i;
                    value = Qr[((batch*size_t + t)*2 + n2)*size_i + i];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, k = chunk + step;
                float value = 0;
                if (s < length && k < 2*size_i) {
                    const INDEX i = k%size_i;
                    const INDEX n2 = k/size_i;
                    value = Kr[(((b*size_g + h/4)*size_t + s)*2 + n2)*size_i + i];
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
                    value = s <= t ? 0.70710677f*rsqrtf((float)size_i)*score_tile[over][along] : -1e30f;
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
                const INDEX d = left + at, s = chunk + step;
                float value = 0;
                if (d < size_d && s < length) {
                    value = V[((b*size_g + h/4)*size_t + s)*size_d + d];
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
                const INDEX d = left + my_column + along;
                if (d < size_d) {
                    const float o = total[over] == 0 ? 0 : o_tile[over][along]/total[over];
                    O[(batch*size_t + t)*size_d + d] = o;
                }
            }
            if (my_column == 0 && left == 0) {
                const float p_lse = total[over] == 0 ? -1e30f : greatest[over] + logf(total[over]);
                P_lse[batch*size_t + t] = p_lse;
            }
        }
    }
}

// R_sum[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d])
// R[b,t,c] = R_sum[b,t,c] + X[b,t,c]
extern "C" __global__ void forward_R(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ wo,  // [c, h, d]
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
            store(R_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> R_pack;
        const auto X_pack = load<4>(X + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float r_sum = results[over].lane[lane];
                R_pack.lane[lane] = r_sum + X_pack.lane[lane];
            }
        }
        store(R + m*size_c, first, columns, R_pack);
    }
}

// R_sum[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d]), from chunks of the sum
// R[b,t,c] = R_sum[b,t,c] + X[b,t,c]
// Launched only where the sum was split.
extern "C" __global__ void forward_R_chunks(
    const float* __restrict__ R_sum_partial,  // [chunks, b*t, c]
    const float* __restrict__ X,  // [b, t, c]
    float* __restrict__ R,  // [b, t, c]
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
            total.add(R_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float r_sum = total.value();
        R[element] = r_sum + X[element];
    }
}

// N2_in_sum[b,t] = sum(c, R[b,t,c]**2)
// N2_in[b,t] = 1e-05 + N2_in_sum[b,t]/size(c)
// rstd1[b,t] = rsqrt(N2_in[b,t])
// rhat[b,t,c] = R[b,t,c]*rstd1[b,t]
// N2[b,t,c] = ln2w[c]*rhat[b,t,c]
extern "C" __global__ void forward_N2_in_N2(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    float* __restrict__ N2_in,  // [b, t]
    float* __restrict__ N2,  // [b, t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[1][32];

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

    float n2_in_sum = 0;
    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        const auto R_pack = load<4>(R + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float r = R_pack.lane[lane];
                if (held) r_row[at] = r;
                n2_in_sum += square(r);
            }
        }
    }
    n2_in_sum = row_sum(n2_in_sum, part[0]);
    const float n2_in = 1e-5f + n2_in_sum / (float)size_c;
    const float rstd1 = rsqrtf(n2_in);
    if (writer) N2_in[row] = n2_in;

    for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
        Pack<float, 4> N2_pack;
        const auto ln2w_pack = load<4>(ln2w, first, count);
        Pack<float, 4> R_pack;
        if (!held) R_pack = load<4>(R + row*size_c, first, count);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = own + lane*threads;
            if (c < count) {
                const float r = held ? r_row[at] : R_pack.lane[lane];
                const float rhat = r*rstd1;
                N2_pack.lane[lane] = ln2w_pack.lane[lane]*rhat;
            }
        }
        store(N2 + row*size_c, first, count, N2_pack);
    }
}

// F[b,t,f] = sum(c, N2[b,t,c]*w1[f,c])
// s1[b,t,f] = sigmoid(F[b,t,f])
extern "C" __global__ void forward_F_s1(
    const float* __restrict__ w1,  // [f, c]
    const float* __restrict__ N2,  // [b, t, c]
    float* __restrict__ F,  // [b, t, f]
    float* __restrict__ s1,  // [b, t, f]
    float* __restrict__ F_partial,  // [chunks, b*t, f]
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
    const bool whole_b = in_packs(w1, length);
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
                pack = read(w1 + f*size_c + c, whole_b, end - c);
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
            store(F_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> F_pack;
        Pack<float, 4> s1_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float f_ = results[over].lane[lane];
                F_pack.lane[lane] = f_;
                s1_pack.lane[lane] = sigmoid(f_);
            }
        }
        store(F + m*size_f, first, columns, F_pack);
        store(s1 + m*size_f, first, columns, s1_pack);
    }
}

// F[b,t,f] = sum(c, N2[b,t,c]*w1[f,c]), from chunks of the sum
// s1[b,t,f] = sigmoid(F[b,t,f])
// Launched only where the sum was split.
extern "C" __global__ void forward_F_s1_chunks(
    const float* __restrict__ F_partial,  // [chunks, b*t, f]
    float* __restrict__ F,  // [b, t, f]
    float* __restrict__ s1,  // [b, t, f]
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
            total.add(F_partial[chunk*(size_b*size_t*size_f) + element]);
        }
        const float f_ = total.value();
        F[element] = f_;
        s1[element] = sigmoid(f_);
    }
}

// U[b,t,f] = sum(c, N2[b,t,c]*w3[f,c])
extern "C" __global__ void forward_U(
    const float* __restrict__ w3,  // [f, c]
    const float* __restrict__ N2,  // [b, t, c]
    float* __restrict__ U,  // [b, t, f]
    float* __restrict__ U_partial,  // [chunks, b*t, f]
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
    const bool whole_b = in_packs(w3, length);
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
                pack = read(w3 + f*size_c + c, whole_b, end - c);
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
            store(U_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(U + m*size_f, first, columns, results[over]);
    }
}

// U[b,t,f] = sum(c, N2[b,t,c]*w3[f,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void forward_U_chunks(
    const float* __restrict__ U_partial,  // [chunks, b*t, f]
    float* __restrict__ U,  // [b, t, f]
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
            total.add(U_partial[chunk*(size_b*size_t*size_f) + element]);
        }
        U[element] = total.value();
    }
}

// Y_sum[b,t,c] = sum(f, F[b,t,f]*U[b,t,f]*s1[b,t,f]*w2[c,f])
// Y[b,t,c] = R[b,t,c] + Y_sum[b,t,c]
extern "C" __global__ void forward_Y(
    const float* __restrict__ w2,  // [c, f]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ F,  // [b, t, f]
    const float* __restrict__ U,  // [b, t, f]
    const float* __restrict__ s1,  // [b, t, f]
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
    const bool whole_b = in_packs(w2, length);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        for (int place = thread; place < 1024; place += 256) {
            const int at = place/16, step = place%16;
            const INDEX m = top + at, f = begin + step;
            float value = 0;
            if (m < rows && f < end) {
                value = F[m*size_f + f]*U[m*size_f + f]*s1[m*size_f + f];
            }
            As[step][at ^ step/4*8] = value;
        }
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX c = left + at, f = begin + step;
            Pack<float> pack = {};
            if (c < columns && f < end) {
                pack = read(w2 + c*size_f + f, whole_b, end - f);
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
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float y_sum = results[over].lane[lane];
                Y_pack.lane[lane] = R_pack.lane[lane] + y_sum;
            }
        }
        store(Y + m*size_c, first, columns, Y_pack);
    }
}

// Y_sum[b,t,c] = sum(f, F[b,t,f]*U[b,t,f]*s1[b,t,f]*w2[c,f]), from chunks of the sum
// Y[b,t,c] = R[b,t,c] + Y_sum[b,t,c]
// Launched only where the sum was split.
extern "C" __global__ void forward_Y_chunks(
    const float* __restrict__ Y_sum_partial,  // [chunks, b*t, c]
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
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(Y_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float y_sum = total.value();
        Y[element] = R[element] + y_sum;
    }
}

// s1[b,t,f] = sigmoid(F[b,t,f])
// g1[b,t,f] = F[b,t,f]*s1[b,t,f]
extern "C" __global__ void backward_g1(
    const float* __restrict__ F,  // [b, t, f]
    float* __restrict__ g1,  // [b, t, f]
    INDEX size_b,
    INDEX size_t,
    INDEX size_f
)
{
    const INDEX count = size_b*size_t*size_f;
    for (INDEX first = ((INDEX)blockIdx.x*blockDim.x + threadIdx.x)*4; first < count; first += (INDEX)gridDim.x*blockDim.x*4) {
        const auto F_pack = load<4>(F, first, count);
        Pack<float, 4> g1_pack;
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const float f_ = F_pack.lane[lane];
            const float s1_value = sigmoid(f_);
            g1_pack.lane[lane] = f_*s1_value;
        }
        store(g1, first, count, g1_pack);
    }
}

// r[b,t,f] = sum(c, dY[b,t,c]*w2[c,f])
// dU[b,t,f] = g1[b,t,f]*r[b,t,f]
// dF[b,t,f] = U[b,t,f]*r[b,t,f]*(sigmoid(F[b,t,f]) + g1[b,t,f]*(1 - sigmoid(F[b,t,f])))
extern "C" __global__ void backward_dU_dF(
    const float* __restrict__ w2,  // [c, f]
    const float* __restrict__ F,  // [b, t, f]
    const float* __restrict__ U,  // [b, t, f]
    const float* __restrict__ dY,  // [b, t, c]
    const float* __restrict__ g1,  // [b, t, f]
    float* __restrict__ dU,  // [b, t, f]
    float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ r_partial,  // [chunks, b*t, f]
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
    const bool whole_b = in_packs(w2, columns);
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
                pack = read(w2 + c*size_f + f, whole_b, columns - f);
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
            store(r_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto g1_pack = load<4>(g1 + m*size_f, first, columns);
        Pack<float, 4> dU_pack;
        const auto F_pack = load<4>(F + m*size_f, first, columns);
        Pack<float, 4> dF_pack;
        const auto U_pack = load<4>(U + m*size_f, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float r_value = results[over].lane[lane];
                const float g1_value = g1_pack.lane[lane];
                dU_pack.lane[lane] = g1_value*r_value;
                const float s = sigmoid(F_pack.lane[lane]);
                dF_pack.lane[lane] = U_pack.lane[lane]*r_value*(s + g1_value*(1.0f - s));
            }
        }
        store(dU + m*size_f, first, columns, dU_pack);
        store(dF + m*size_f, first, columns, dF_pack);
    }
}

// r[b,t,f] = sum(c, dY[b,t,c]*w2[c,f]), from chunks of the sum
// dU[b,t,f] = g1[b,t,f]*r[b,t,f]
// dF[b,t,f] = U[b,t,f]*r[b,t,f]*(sigmoid(F[b,t,f]) + g1[b,t,f]*(1 - sigmoid(F[b,t,f])))
// Launched only where the sum was split.
extern "C" __global__ void backward_dU_dF_chunks(
    const float* __restrict__ r_partial,  // [chunks, b*t, f]
    const float* __restrict__ F,  // [b, t, f]
    const float* __restrict__ U,  // [b, t, f]
    const float* __restrict__ g1,  // [b, t, f]
    float* __restrict__ dU,  // [b, t, f]
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
            total.add(r_partial[chunk*(size_b*size_t*size_f) + element]);
        }
        const float r_value = total.value();
        const float g1_value = g1[element];
        dU[element] = g1_value*r_value;
        const float s = sigmoid(F[element]);
        dF[element] = U[element]*r_value*(s + g1_value*(1.0f - s));
    }
}

// dw2[c,f] = sum(b, t, U[b,t,f]*dY[b,t,c]*g1[b,t,f])
extern "C" __global__ void backward_dw2(
    const float* __restrict__ U,  // [b, t, f]
    const float* __restrict__ dY,  // [b, t, c]
    const float* __restrict__ g1,  // [b, t, f]
    float* __restrict__ dw2,  // [c, f]
    float* __restrict__ dw2_partial,  // [chunks, c, f]
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
                value = U[k*size_f + f]*g1[k*size_f + f];
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
            store(dw2_partial + (blockIdx.y*rows + c)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dw2_pack;
        if (accumulate) dw2_pack = load<4>(dw2 + c*size_f, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX f = first + lane;
            if (f < columns) {
                const float dw2_value = results[over].lane[lane];
                dw2_pack.lane[lane] = accumulate ? dw2_pack.lane[lane] + dw2_value : dw2_value;
            }
        }
        store(dw2 + c*size_f, first, columns, dw2_pack);
    }
}

// dw2[c,f] = sum(b, t, U[b,t,f]*dY[b,t,c]*g1[b,t,f]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dw2_chunks(
    const float* __restrict__ dw2_partial,  // [chunks, c, f]
    float* __restrict__ dw2,  // [c, f]
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
            total.add(dw2_partial[chunk*(size_c*size_f) + element]);
        }
        const float dw2_value = total.value();
        dw2[element] = accumulate ? dw2[element] + dw2_value : dw2_value;
    }
}

// dN2_sum[b,t,c] = sum(f, dF[b,t,f]*w1[f,c])
extern "C" __global__ void backward_dN2_sum(
    const float* __restrict__ w1,  // [f, c]
    const float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dN2_sum,  // [b, t, c]
    float* __restrict__ dN2_sum_partial,  // [chunks, b*t, c]
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
    const bool whole_b = in_packs(w1, columns);
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
                pack = read(w1 + f*size_c + c, whole_b, columns - c);
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
            store(dN2_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN2_sum + m*size_c, first, columns, results[over]);
    }
}

// dN2_sum[b,t,c] = sum(f, dF[b,t,f]*w1[f,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dN2_sum_chunks(
    const float* __restrict__ dN2_sum_partial,  // [chunks, b*t, c]
    float* __restrict__ dN2_sum,  // [b, t, c]
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
            total.add(dN2_sum_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        dN2_sum[element] = total.value();
    }
}

// dw1_sum[f,c] = sum(b, t, R[b,t,c]*dF[b,t,f]*rsqrt(N2_in[b,t]))
// dw1[f,c] = dw1_sum[f,c]*ln2w[c]
extern "C" __global__ void backward_dw1(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ N2_in,  // [b, t]
    const float* __restrict__ dF,  // [b, t, f]
    float* __restrict__ dw1,  // [f, c]
    float* __restrict__ dw1_sum_partial,  // [chunks, f, c]
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
                value = R[k*size_c + c]*rsqrtf(N2_in[k]);
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
            store(dw1_sum_partial + (blockIdx.y*rows + f)*columns, first, columns, results[over]);
            continue;
        }
        const auto ln2w_pack = load<4>(ln2w, first, columns);
        Pack<float, 4> dw1_pack;
        if (accumulate) dw1_pack = load<4>(dw1 + f*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dw1_sum_value = results[over].lane[lane];
                const float dw1_value = dw1_sum_value*ln2w_pack.lane[lane];
                dw1_pack.lane[lane] = accumulate ? dw1_pack.lane[lane] + dw1_value : dw1_value;
            }
        }
        store(dw1 + f*size_c, first, columns, dw1_pack);
    }
}

// dw1_sum[f,c] = sum(b, t, R[b,t,c]*dF[b,t,f]*rsqrt(N2_in[b,t])), from chunks of the sum
// dw1[f,c] = dw1_sum[f,c]*ln2w[c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dw1_chunks(
    const float* __restrict__ dw1_sum_partial,  // [chunks, f, c]
    const float* __restrict__ ln2w,  // [c]
    float* __restrict__ dw1,  // [f, c]
    INDEX size_c,
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_f*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dw1_sum_partial[chunk*(size_f*size_c) + element]);
        }
        const float dw1_sum_value = total.value();
        const float dw1_value = dw1_sum_value*ln2w[c];
        dw1[element] = accumulate ? dw1[element] + dw1_value : dw1_value;
    }
}

// dN2_sum2[b,t,c] = sum(f, dU[b,t,f]*w3[f,c])
// dN2[b,t,c] = dN2_sum[b,t,c] + dN2_sum2[b,t,c]
extern "C" __global__ void backward_dN2(
    const float* __restrict__ w3,  // [f, c]
    const float* __restrict__ dU,  // [b, t, f]
    const float* __restrict__ dN2_sum,  // [b, t, c]
    float* __restrict__ dN2,  // [b, t, c]
    float* __restrict__ dN2_sum2_partial,  // [chunks, b*t, c]
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
    const bool whole_a = in_packs(dU, length);
    const bool whole_b = in_packs(w3, columns);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread/4, step = thread%4*4;
            const INDEX m = top + at, f = begin + step;
            Pack<float> pack = {};
            if (m < rows && f < end) {
                pack = read(dU + m*size_f + f, whole_a, end - f);
            }
            for (int lane = 0; lane < 4; ++lane) As[step + lane][at ^ step/4*8] = pack.lane[lane];
        }
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX c = left + at, f = begin + step;
            Pack<float> pack = {};
            if (c < columns && f < end) {
                pack = read(w3 + f*size_c + c, whole_b, columns - c);
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
            store(dN2_sum2_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        Pack<float, 4> dN2_pack;
        const auto dN2_sum_pack = load<4>(dN2_sum + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dn2_sum2 = results[over].lane[lane];
                dN2_pack.lane[lane] = dN2_sum_pack.lane[lane] + dn2_sum2;
            }
        }
        store(dN2 + m*size_c, first, columns, dN2_pack);
    }
}

// dN2_sum2[b,t,c] = sum(f, dU[b,t,f]*w3[f,c]), from chunks of the sum
// dN2[b,t,c] = dN2_sum[b,t,c] + dN2_sum2[b,t,c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dN2_chunks(
    const float* __restrict__ dN2_sum2_partial,  // [chunks, b*t, c]
    const float* __restrict__ dN2_sum,  // [b, t, c]
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
            total.add(dN2_sum2_partial[chunk*(size_b*size_t*size_c) + element]);
        }
        const float dn2_sum2 = total.value();
        dN2[element] = dN2_sum[element] + dn2_sum2;
    }
}

// dw3_sum[f,c] = sum(b, t, R[b,t,c]*dU[b,t,f]*rsqrt(N2_in[b,t]))
// dw3[f,c] = dw3_sum[f,c]*ln2w[c]
extern "C" __global__ void backward_dw3(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ N2_in,  // [b, t]
    const float* __restrict__ dU,  // [b, t, f]
    float* __restrict__ dw3,  // [f, c]
    float* __restrict__ dw3_sum_partial,  // [chunks, f, c]
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
    const bool whole_a = in_packs(dU, rows);
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    Pack<float> results[4] = {};
    for (INDEX begin = start; begin < end; begin += 16) {
        {
            const int at = thread%16*4, step = thread/16;
            const INDEX f = top + at, k = begin + step;
            Pack<float> pack = {};
            if (f < rows && k < end) {
                pack = read(dU + k*size_f + f, whole_a, rows - f);
            }
            *(Pack<float>*)&As[step][at ^ step/4*8] = pack;
        }
        for (int place = thread; place < 1024; place += 256) {
            const int at = place%64, step = place/64;
            const INDEX c = left + at, k = begin + step;
            float value = 0;
            if (c < columns && k < end) {
                value = R[k*size_c + c]*rsqrtf(N2_in[k]);
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
            store(dw3_sum_partial + (blockIdx.y*rows + f)*columns, first, columns, results[over]);
            continue;
        }
        const auto ln2w_pack = load<4>(ln2w, first, columns);
        Pack<float, 4> dw3_pack;
        if (accumulate) dw3_pack = load<4>(dw3 + f*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dw3_sum_value = results[over].lane[lane];
                const float dw3_value = dw3_sum_value*ln2w_pack.lane[lane];
                dw3_pack.lane[lane] = accumulate ? dw3_pack.lane[lane] + dw3_value : dw3_value;
            }
        }
        store(dw3 + f*size_c, first, columns, dw3_pack);
    }
}

// dw3_sum[f,c] = sum(b, t, R[b,t,c]*dU[b,t,f]*rsqrt(N2_in[b,t])), from chunks of the sum
// dw3[f,c] = dw3_sum[f,c]*ln2w[c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dw3_chunks(
    const float* __restrict__ dw3_sum_partial,  // [chunks, f, c]
    const float* __restrict__ ln2w,  // [c]
    float* __restrict__ dw3,  // [f, c]
    INDEX size_c,
    INDEX size_f,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_f*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dw3_sum_partial[chunk*(size_f*size_c) + element]);
        }
        const float dw3_sum_value = total.value();
        const float dw3_value = dw3_sum_value*ln2w[c];
        dw3[element] = accumulate ? dw3[element] + dw3_value : dw3_value;
    }
}

// rstd1[b,t] = rsqrt(N2_in[b,t])
// rhat[b,t,c] = R[b,t,c]*rstd1[b,t]
// g3[b,t,c] = dN2[b,t,c]*ln2w[c]
// dR_sum[b,t] = sum(c, g3[b,t,c]*rhat[b,t,c])
// dR_mean[b,t] = dR_sum[b,t]/size(c)
// dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g3[b,t,c] - dR_mean[b,t]*rhat[b,t,c])
// dln2w[c] = sum(b, t, dN2[b,t,c]*rhat[b,t,c]), of each block's rows
extern "C" __global__ void backward_dR_dln2w(
    const float* __restrict__ ln2w,  // [c]
    const float* __restrict__ R,  // [b, t, c]
    const float* __restrict__ N2_in,  // [b, t]
    const float* __restrict__ dY,  // [b, t, c]
    const float* __restrict__ dN2,  // [b, t, c]
    float* __restrict__ dR,  // [b, t, c]
    float* __restrict__ dln2w_partial,  // [chunks, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[1][32];

    // Each thread has its own places in shared memory, one for each element of a row that it works on.  For rows so
    // long that `shared` is 0, elements are read again and sums stand in device memory.
    DYN_SHARED(float, kept);
    const bool held = shared > 0;
    const int thread = threadIdx.y*blockDim.x + threadIdx.x, threads = blockDim.x*blockDim.y;
    const INDEX slots = (count + blockDim.x*4 - 1)/(blockDim.x*4)*4*threads;
    float* const r_row = kept + thread;  // R[b,t,c]
    float* const dn2_row = kept + slots + thread;  // dN2[b,t,c]
    // This block's share of sums over all rows.
    float* const dln2w_part = held ? kept + 2*slots + thread : dln2w_partial + blockIdx.x*count;
    for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = held ? own + lane*threads : c;
            if (c < count) {
                dln2w_part[at] = 0;
            }
        }
    }

    for (INDEX top = (INDEX)blockIdx.x*blockDim.y; top < rows; top += (INDEX)gridDim.x*blockDim.y) {
        const INDEX group = top + threadIdx.y;
        const INDEX row = group < rows ? group : rows - 1;
        const INDEX stop = group < rows ? count : 0;
        const float rstd1 = rsqrtf(N2_in[row]);

        float dr_sum = 0;
        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto R_pack = load<4>(R + row*size_c, first, count);
            const auto dN2_pack = load<4>(dN2 + row*size_c, first, count);
            const auto ln2w_pack = load<4>(ln2w, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float r = R_pack.lane[lane];
                    if (held) r_row[at] = r;
                    const float dn2 = dN2_pack.lane[lane];
                    if (held) dn2_row[at] = dn2;
                    const float rhat = r*rstd1;
                    const float g3 = dn2*ln2w_pack.lane[lane];
                    dr_sum += g3*rhat;
                    dln2w_part[at] += dn2*rhat;
                }
            }
        }
        dr_sum = row_sum(dr_sum, part[0]);
        const float dr_mean = dr_sum / (float)size_c;

        for (INDEX first = threadIdx.x*4, own = 0; first < stop; first += blockDim.x*4, own += threads*4) {
            const auto ln2w_pack = load<4>(ln2w, first, count);
            Pack<float, 4> dR_pack;
            const auto dY_pack = load<4>(dY + row*size_c, first, count);
            Pack<float, 4> R_pack;
            if (!held) R_pack = load<4>(R + row*size_c, first, count);
            Pack<float, 4> dN2_pack;
            if (!held) dN2_pack = load<4>(dN2 + row*size_c, first, count);
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    const float r = held ? r_row[at] : R_pack.lane[lane];
                    const float dn2 = held ? dn2_row[at] : dN2_pack.lane[lane];
                    const float rhat = r*rstd1;
                    const float g3 = dn2*ln2w_pack.lane[lane];
                    dR_pack.lane[lane] = dY_pack.lane[lane] + rstd1*(g3 - dr_mean*rhat);
                }
            }
            store(dR + row*size_c, first, count, dR_pack);
        }
        if (blockDim.x > 32) __syncthreads();  // `part` is free for the next row
    }

    // The block's rows together: one thread of each column adds up what those of other threadIdx.y have.
    __syncthreads();
    if (threadIdx.y == 0) {
        for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
            for (int lane = 0; lane < 4; ++lane) {
                const INDEX c = first + lane, at = held ? own + lane*threads : c;
                if (c < count) {
                    float dln2w_part_sum = dln2w_part[at];
                    for (int other = 1; other < blockDim.y; ++other) {
                        dln2w_part_sum += dln2w_part[at + other*blockDim.x];
                    }
                    dln2w_partial[blockIdx.x*count + c] = dln2w_part_sum;
                }
            }
        }
    }
}

// dln2w[c] = sum(b, t, dN2[b,t,c]*rhat[b,t,c])
extern "C" __global__ void backward_dR_dln2w_sum(
    const float* __restrict__ dln2w_partial,  // [chunks, c]
    float* __restrict__ dln2w,  // [c]
    INDEX size_c,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_c, c = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dln2w_value = 0;
    if (c < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dln2w_value += dln2w_partial[chunk*columns + c];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dln2w_value;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int line = 1; line < 8; ++line) {
            dln2w_value += tile[0][line][threadIdx.x];
        }
        dln2w[c] = accumulate ? dln2w[c] + dln2w_value : dln2w_value;
    }
}

// dO[b,h,t,d] = sum(c, dR[b,t,c]*wo[c,h,d])
extern "C" __global__ void backward_dO(
    const float* __restrict__ wo,  // [c, h, d]
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
    const bool whole_b = in_packs(wo, columns);
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

// dO[b,h,t,d] = sum(c, dR[b,t,c]*wo[c,h,d]), from chunks of the sum
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

// dwo[c,h,d] = sum(b, t, O[b,h,t,d]*dR[b,t,c])
extern "C" __global__ void backward_dwo(
    const float* __restrict__ O,  // [b, h, t, d]
    const float* __restrict__ dR,  // [b, t, c]
    float* __restrict__ dwo,  // [c, h, d]
    float* __restrict__ dwo_partial,  // [chunks, c, h*d]
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

// dwo[c,h,d] = sum(b, t, O[b,h,t,d]*dR[b,t,c]), from chunks of the sum
// Launched only where the sum was split.
extern "C" __global__ void backward_dwo_chunks(
    const float* __restrict__ dwo_partial,  // [chunks, c, h*d]
    float* __restrict__ dwo,  // [c, h, d]
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
            total.add(dwo_partial[chunk*(size_c*size_h*size_d) + element]);
        }
        const float dwo_value = total.value();
        dwo[element] = accumulate ? dwo[element] + dwo_value : dwo_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, 0.7071067811865476*rsqrt(size(i))*sum(r, i, Kr[b,h // 4,s,r,i]*Qr[b,h,t,r,i]), -1e+30) - P_lse[b,h,t])
// h = r + 4*g
// dKr[b,g,s,p,i] = sum(t, r, where(r + 4*g < size(h), 0.7071067811865476*P[b,r + 4*g,t,s]*Qr[b,r + 4*g,t,p,i]*rsqrt(size(i))*(sum(d, V[b,(r + 4*g) // 4,s,d]*dO[b,r + 4*g,t,d]) - P_row[b,r + 4*g,t]), 0))
// dV[b,g,s,d] = sum(t, r, where(r + 4*g < size(h), P[b,r + 4*g,t,s]*dO[b,r + 4*g,t,d], 0))
extern "C" __global__ void backward_dKr_dV(
    const float* __restrict__ V,  // [b, g, t, d]
    const float* __restrict__ Qr,  // [b, h, t, 2, i]
    const float* __restrict__ Kr,  // [b, g, t, 2, i]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dKr,  // [b, g, t, 2, i]
    float* __restrict__ dV,  // [b, g, t, d]
    INDEX size_t,
    INDEX size_h,
    INDEX size_i,
    INDEX size_g,
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
    const INDEX g = batch%size_g;
    const INDEX b = batch/size_g;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dkr_tile[4][4] = {};  // [s, column]
    float dv_tile[4][4] = {};  // [s, d_]
    for (INDEX r = 0; r < 4; ++r) {
        const INDEX h = r + 4*g;
        const bool holds = h < size_h;
        if (holds) {
            INDEX begin = 0;
            const INDEX limit = top;
            if (begin < limit) begin = limit - limit%64;
            for (INDEX first = begin; first < length; first += 64) {
                float score_tile[4][4] = {};  // [s, t]
                for (INDEX chunk = 0; chunk < 2*size_i; chunk += 16) {
                    for (int part = 0; part < 4; ++part) {
                        const int at = thread/16 + part*16, step = thread%16;
                        const INDEX s = top + at, k = chunk + step;
                        float value = 0;
                        if (s < rows && k < 2*size_i) {
                            const INDEX i = k%size_i;
                            const INDEX n2 = k/size_i;
                            value = Kr[(((b*size_g + h/4)*size_t + s)*2 + n2)*size_i + i];
                        }
                        tile[step][at] = value;
                    }
                    for (int part = 0; part < 4; ++part) {
                        const int at = thread/16 + part*16, step = thread%16;
                        const INDEX t = first + at, k = chunk + step;
                        float value = 0;
                        if (t < length && k < 2*size_i) {
                            const INDEX i = k%size_i;
                            const INDEX n2 = k/size_i;
                            value = Qr[(((b*size_h + h)*size_t + t)*2 + n2)*size_i + i];
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
                        const INDEX s = top + at, d = chunk + step;
                        float value = 0;
                        if (s < rows && d < size_d) {
                            value = V[((b*size_g + h/4)*size_t + s)*size_d + d];
                        }
                        tile[step][at] = value;
                    }
                    for (int part = 0; part < 4; ++part) {
                        const int at = thread/16 + part*16, step = thread%16;
                        const INDEX t = first + at, d = chunk + step;
                        float value = 0;
                        if (t < length && d < size_d) {
                            value = dO[((b*size_h + h)*size_t + t)*size_d + d];
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
                            const float score_ = s <= t ? 0.70710677f*rsqrtf((float)size_i)*score_tile[over][along] : -1e30f;
                            const float p = expf((score_ <= -5e29f ? -2e30f : score_) - P_lse[(b*size_h + h)*size_t + t]);
                            {
                                float value;
                                const float v = rsqrtf((float)size_i);
                                value = 0.70710677f*p*v*(dP_tile[over][along] - P_row[(b*size_h + h)*size_t + t]);
                                weight_tile[over][along] = value;
                            }
                            {
                                float value;
                                value = p;
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
                        const INDEX column = left + at, t = chunk + step;
                        float value = 0;
                        if (column < 2*size_i && t < length) {
                            const INDEX i = column%size_i;
                            const INDEX p = column/size_i;
                            value = Qr[(((b*size_h + h)*size_t + t)*2 + p)*size_i + i];
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
                                dkr_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
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
                        const INDEX d_ = left + at, t = chunk + step;
                        float value = 0;
                        if (d_ < size_d && t < length) {
                            value = dO[((b*size_h + h)*size_t + t)*size_d + d_];
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
            }
        }
    }
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX s = top + my_row + over;
        if (s < rows) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX column = left + my_column + along;
                if (column < 2*size_i) {
                    const float dkr = dkr_tile[over][along];
                    const INDEX i = column%size_i;
                    const INDEX p = column/size_i;
                    dKr[((batch*size_t + s)*2 + p)*size_i + i] = dkr;
                }
            }
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_ = left + my_column + along;
                if (d_ < size_d) {
                    const float dv = dv_tile[over][along];
                    dV[(batch*size_t + s)*size_d + d_] = dv;
                }
            }
        }
    }
}

// dwv_sum[g,d,c] = sum(b, t, X[b,t,c]*dV[b,g,t,d]*rsqrt(N1_in[b,t]))
// dwv[g,d,c] = dwv_sum[g,d,c]*ln1w[c]
extern "C" __global__ void backward_dwv(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ N1_in,  // [b, t]
    const float* __restrict__ dV,  // [b, g, t, d]
    float* __restrict__ dwv,  // [g, d, c]
    float* __restrict__ dwv_sum_partial,  // [chunks, g*d, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_g,
    INDEX size_d,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_g*size_d, columns = size_c, length = size_b*size_t;
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
                const INDEX g = m/size_d;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dV[((b*size_g + g)*size_t + t)*size_d + d]*rsqrtf(N1_in[k]);
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
            store(dwv_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto ln1w_pack = load<4>(ln1w, first, columns);
        Pack<float, 4> dwv_pack;
        if (accumulate) dwv_pack = load<4>(dwv + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwv_sum_value = results[over].lane[lane];
                const float dwv_value = dwv_sum_value*ln1w_pack.lane[lane];
                dwv_pack.lane[lane] = accumulate ? dwv_pack.lane[lane] + dwv_value : dwv_value;
            }
        }
        store(dwv + m*size_c, first, columns, dwv_pack);
    }
}

// dwv_sum[g,d,c] = sum(b, t, X[b,t,c]*dV[b,g,t,d]*rsqrt(N1_in[b,t])), from chunks of the sum
// dwv[g,d,c] = dwv_sum[g,d,c]*ln1w[c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dwv_chunks(
    const float* __restrict__ dwv_sum_partial,  // [chunks, g*d, c]
    const float* __restrict__ ln1w,  // [c]
    float* __restrict__ dwv,  // [g, d, c]
    INDEX size_c,
    INDEX size_g,
    INDEX size_d,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_g*size_d*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwv_sum_partial[chunk*(size_g*size_d*size_c) + element]);
        }
        const float dwv_sum_value = total.value();
        const float dwv_value = dwv_sum_value*ln1w[c];
        dwv[element] = accumulate ? dwv[element] + dwv_value : dwv_value;
    }
}

// P[b,h,t,s] = exp(where(s <= t, 0.7071067811865476*rsqrt(size(i))*sum(r, i, Kr[b,h // 4,s,r,i]*Qr[b,h,t,r,i]), -1e+30) - P_lse[b,h,t])
// dQr[b,h,t,p,i] = 0.7071067811865476*rsqrt(size(i))*sum(s, Kr[b,h // 4,s,p,i]*P[b,h,t,s]*(sum(d, V[b,h // 4,s,d]*dO[b,h,t,d]) - P_row[b,h,t]))
extern "C" __global__ void backward_dQr(
    const float* __restrict__ V,  // [b, g, t, d]
    const float* __restrict__ Qr,  // [b, h, t, 2, i]
    const float* __restrict__ Kr,  // [b, g, t, 2, i]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dQr,  // [b, h, t, 2, i]
    INDEX size_t,
    INDEX size_h,
    INDEX size_i,
    INDEX size_g,
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
    const INDEX h = batch%size_h;
    const INDEX b = batch/size_h;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dqr_tile[4][4] = {};  // [t, column]
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    for (INDEX first = 0; first < stop; first += 64) {
        float score_tile[4][4] = {};  // [t, s]
        for (INDEX chunk = 0; chunk < 2*size_i; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX t = top + at, k = chunk + step;
                float value = 0;
                if (t < rows && k < 2*size_i) {
                    const INDEX i = k%size_i;
                    const INDEX n2 = k/size_i;
                    value = Qr[((batch*size_t + t)*2 + n2)*size_i + i];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, k = chunk + step;
                float value = 0;
                if (s < length && k < 2*size_i) {
                    const INDEX i = k%size_i;
                    const INDEX n2 = k/size_i;
                    value = Kr[(((b*size_g + h/4)*size_t + s)*2 + n2)*size_i + i];
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
                const INDEX t = top + at, d = chunk + step;
                float value = 0;
                if (t < rows && d < size_d) {
                    value = dO[(batch*size_t + t)*size_d + d];
                }
                tile[step][at] = value;
            }
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = first + at, d = chunk + step;
                float value = 0;
                if (s < length && d < size_d) {
                    value = V[((b*size_g + h/4)*size_t + s)*size_d + d];
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
                    const float score_ = s <= t ? 0.70710677f*rsqrtf((float)size_i)*score_tile[over][along] : -1e30f;
                    const float p = expf((score_ <= -5e29f ? -2e30f : score_) - P_lse[batch*size_t + t]);
                    {
                        float value;
                        const float v = rsqrtf((float)size_i);
                        value = 0.70710677f*p*v*(dP_tile[over][along] - P_row[batch*size_t + t]);
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
                const INDEX column = left + at, s = chunk + step;
                float value = 0;
                if (column < 2*size_i && s < length) {
                    const INDEX i = column%size_i;
                    const INDEX p = column/size_i;
                    value = Kr[(((b*size_g + h/4)*size_t + s)*2 + p)*size_i + i];
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
                        dqr_tile[over][along] += tile[chunk - first + step][my_row + over]*Bs[step][my_column + along];
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
                const INDEX column = left + my_column + along;
                if (column < 2*size_i) {
                    const float dqr = dqr_tile[over][along];
                    const INDEX i = column%size_i;
                    const INDEX p = column/size_i;
                    dQr[((batch*size_t + t)*2 + p)*size_i + i] = dqr;
                }
            }
        }
    }
}

// dN1_sum[b,t,c] = sum(g, d, dV[b,g,t,d]*wv[g,d,c])
extern "C" __global__ void backward_dN1_sum(
    const float* __restrict__ wv,  // [g, d, c]
    const float* __restrict__ dV,  // [b, g, t, d]
    float* __restrict__ dN1_sum,  // [b, t, c]
    float* __restrict__ dN1_sum_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_g,
    INDEX size_d
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_g*size_d;
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
                const INDEX g = k/size_d;
                value = dV[((b*size_g + g)*size_t + t)*size_d + d];
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
            store(dN1_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN1_sum + m*size_c, first, columns, results[over]);
    }
}

// dN1_sum[b,t,c] = sum(g, d, dV[b,g,t,d]*wv[g,d,c]), from chunks of the sum
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

// dK[b,g,t,p,i] = where(p == 0, S[t,i]*dKr[b,g,t,1,i], -S[t,i]*dKr[b,g,t,0,i]) + C[t,i]*dKr[b,g,t,p,i]
// dC_sum[t,i] = sum(b, g, r, K[b,g,t,r,i]*dKr[b,g,t,r,i]), of each chunk of rows
// dS_sum[t,i] = sum(b, g, r, dKr[b,g,t,r,i]*where(r == 0, -K[b,g,t,1,i], K[b,g,t,0,i])), of each chunk of rows
extern "C" __global__ void backward_dK_dC_sum_dS_sum(
    const float* __restrict__ C,  // [t, i]
    const float* __restrict__ S,  // [t, i]
    const float* __restrict__ K,  // [b, g, t, 2, i]
    const float* __restrict__ dKr,  // [b, g, t, 2, i]
    float* __restrict__ dK,  // [b, g, t, 2, i]
    float* __restrict__ dC_sum,  // [t, i]
    float* __restrict__ dS_sum,  // [t, i]
    float* __restrict__ dC_sum_partial,  // [chunks, t*i]
    float* __restrict__ dS_sum_partial,  // [chunks, t*i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_i,
    INDEX size_g,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_t*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_g*2, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc_sum = 0;
    float ds_sum = 0;
    if (column < columns) {
        const INDEX i = column%size_i;
        const INDEX t = column/size_i;
        const float c = C[column];
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX p = row%2;
            const float dkr = dKr[((row/2*size_t + t)*2 + p)*size_i + i];
            dK[((row/2*size_t + t)*2 + p)*size_i + i] = (p == 0 ? S[column]*dKr[((row/2*size_t + t)*2 + 1)*size_i + i] : -(S[column]*dKr[(row/2*size_t + t)*2*size_i + i])) + c*dkr;
            dc_sum += K[((row/2*size_t + t)*2 + p)*size_i + i]*dkr;
            ds_sum += dkr*(p == 0 ? -K[((row/2*size_t + t)*2 + 1)*size_i + i] : K[(row/2*size_t + t)*2*size_i + i]);
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc_sum;
    tile[1][threadIdx.y][threadIdx.x] = ds_sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc_sum += tile[0][line][threadIdx.x];
            ds_sum += tile[1][line][threadIdx.x];
        }
        if (chunks == 1) {
            dC_sum[column] = dc_sum;
            dS_sum[column] = ds_sum;
        } else {
            dC_sum_partial[blockIdx.y*columns + column] = dc_sum;
            dS_sum_partial[blockIdx.y*columns + column] = ds_sum;
        }
    }
}

// dC_sum[t,i] = sum(b, g, r, K[b,g,t,r,i]*dKr[b,g,t,r,i])
// dS_sum[t,i] = sum(b, g, r, dKr[b,g,t,r,i]*where(r == 0, -K[b,g,t,1,i], K[b,g,t,0,i]))
// Launched only where the sum was split.
extern "C" __global__ void backward_dK_dC_sum_dS_sum_sum(
    const float* __restrict__ dC_sum_partial,  // [chunks, t*i]
    const float* __restrict__ dS_sum_partial,  // [chunks, t*i]
    float* __restrict__ dC_sum,  // [t, i]
    float* __restrict__ dS_sum,  // [t, i]
    INDEX size_t,
    INDEX size_i,
    INDEX chunks
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_t*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc_sum = 0;
    float ds_sum = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dc_sum += dC_sum_partial[chunk*columns + column];
            ds_sum += dS_sum_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc_sum;
    tile[1][threadIdx.y][threadIdx.x] = ds_sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc_sum += tile[0][line][threadIdx.x];
            ds_sum += tile[1][line][threadIdx.x];
        }
        dC_sum[column] = dc_sum;
        dS_sum[column] = ds_sum;
    }
}

// dwk_sum[g,p,i,c] = sum(b, t, X[b,t,c]*dK[b,g,t,p,i]*rsqrt(N1_in[b,t]))
// dwk[g,p,i,c] = dwk_sum[g,p,i,c]*ln1w[c]
extern "C" __global__ void backward_dwk(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ N1_in,  // [b, t]
    const float* __restrict__ dK,  // [b, g, t, 2, i]
    float* __restrict__ dwk,  // [g, 2, i, c]
    float* __restrict__ dwk_sum_partial,  // [chunks, g*2*i, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_i,
    INDEX size_g,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_g*2*size_i, columns = size_c, length = size_b*size_t;
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
                const INDEX g = m/size_i/2;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dK[((b*size_g + g)*size_t + t)*(2*size_i) + m%(2*size_i)]*rsqrtf(N1_in[k]);
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
            store(dwk_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto ln1w_pack = load<4>(ln1w, first, columns);
        Pack<float, 4> dwk_pack;
        if (accumulate) dwk_pack = load<4>(dwk + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwk_sum_value = results[over].lane[lane];
                const float dwk_value = dwk_sum_value*ln1w_pack.lane[lane];
                dwk_pack.lane[lane] = accumulate ? dwk_pack.lane[lane] + dwk_value : dwk_value;
            }
        }
        store(dwk + m*size_c, first, columns, dwk_pack);
    }
}

// dwk_sum[g,p,i,c] = sum(b, t, X[b,t,c]*dK[b,g,t,p,i]*rsqrt(N1_in[b,t])), from chunks of the sum
// dwk[g,p,i,c] = dwk_sum[g,p,i,c]*ln1w[c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dwk_chunks(
    const float* __restrict__ dwk_sum_partial,  // [chunks, g*2*i, c]
    const float* __restrict__ ln1w,  // [c]
    float* __restrict__ dwk,  // [g, 2, i, c]
    INDEX size_c,
    INDEX size_i,
    INDEX size_g,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_g*2*size_i*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwk_sum_partial[chunk*(size_g*2*size_i*size_c) + element]);
        }
        const float dwk_sum_value = total.value();
        const float dwk_value = dwk_sum_value*ln1w[c];
        dwk[element] = accumulate ? dwk[element] + dwk_value : dwk_value;
    }
}

// dN1_sum2[b,t,c] = sum(g, r, i, dK[b,g,t,r,i]*wk[g,r,i,c])
extern "C" __global__ void backward_dN1_sum2(
    const float* __restrict__ wk,  // [g, 2, i, c]
    const float* __restrict__ dK,  // [b, g, t, 2, i]
    float* __restrict__ dN1_sum2,  // [b, t, c]
    float* __restrict__ dN1_sum2_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_i,
    INDEX size_g
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_g*2*size_i;
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
                const INDEX g = k/size_i/2;
                value = dK[((b*size_g + g)*size_t + t)*(2*size_i) + k%(2*size_i)];
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
            store(dN1_sum2_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        store(dN1_sum2 + m*size_c, first, columns, results[over]);
    }
}

// dN1_sum2[b,t,c] = sum(g, r, i, dK[b,g,t,r,i]*wk[g,r,i,c]), from chunks of the sum
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

// dQ[b,h,t,p,i] = where(p == 0, S[t,i]*dQr[b,h,t,1,i], -S[t,i]*dQr[b,h,t,0,i]) + C[t,i]*dQr[b,h,t,p,i]
// dC_sum2[t,i] = sum(b, h, r, Q[b,h,t,r,i]*dQr[b,h,t,r,i]), of each chunk of rows
// dS_sum2[t,i] = sum(b, h, r, dQr[b,h,t,r,i]*where(r == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i])), of each chunk of rows
extern "C" __global__ void backward_dQ_dC_dS(
    const float* __restrict__ C,  // [t, i]
    const float* __restrict__ S,  // [t, i]
    const float* __restrict__ Q,  // [b, h, t, 2, i]
    const float* __restrict__ dQr,  // [b, h, t, 2, i]
    const float* __restrict__ dC_sum,  // [t, i]
    const float* __restrict__ dS_sum,  // [t, i]
    float* __restrict__ dC,  // [t, i]
    float* __restrict__ dS,  // [t, i]
    float* __restrict__ dQ,  // [b, h, t, 2, i]
    float* __restrict__ dC_sum2_partial,  // [chunks, t*i]
    float* __restrict__ dS_sum2_partial,  // [chunks, t*i]
    INDEX size_b,
    INDEX size_t,
    INDEX size_h,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_t*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = size_b*size_h*2, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc_sum2 = 0;
    float ds_sum2 = 0;
    if (column < columns) {
        const INDEX i = column%size_i;
        const INDEX t = column/size_i;
        const float c = C[column];
        for (INDEX row = begin + threadIdx.y; row < end; row += 8) {
            const INDEX p = row%2;
            const float dqr = dQr[((row/2*size_t + t)*2 + p)*size_i + i];
            dQ[((row/2*size_t + t)*2 + p)*size_i + i] = (p == 0 ? S[column]*dQr[((row/2*size_t + t)*2 + 1)*size_i + i] : -(S[column]*dQr[(row/2*size_t + t)*2*size_i + i])) + c*dqr;
            dc_sum2 += Q[((row/2*size_t + t)*2 + p)*size_i + i]*dqr;
            ds_sum2 += dqr*(p == 0 ? -Q[((row/2*size_t + t)*2 + 1)*size_i + i] : Q[(row/2*size_t + t)*2*size_i + i]);
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc_sum2;
    tile[1][threadIdx.y][threadIdx.x] = ds_sum2;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc_sum2 += tile[0][line][threadIdx.x];
            ds_sum2 += tile[1][line][threadIdx.x];
        }
        if (chunks == 1) {
            const float dc = dC_sum[column] + dc_sum2;
            dC[column] = accumulate ? dC[column] + dc : dc;
            const float ds = dS_sum[column] + ds_sum2;
            dS[column] = accumulate ? dS[column] + ds : ds;
        } else {
            dC_sum2_partial[blockIdx.y*columns + column] = dc_sum2;
            dS_sum2_partial[blockIdx.y*columns + column] = ds_sum2;
        }
    }
}

// dC_sum2[t,i] = sum(b, h, r, Q[b,h,t,r,i]*dQr[b,h,t,r,i])
// dC[t,i] = dC_sum[t,i] + dC_sum2[t,i]
// dS_sum2[t,i] = sum(b, h, r, dQr[b,h,t,r,i]*where(r == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i]))
// dS[t,i] = dS_sum[t,i] + dS_sum2[t,i]
// Launched only where the sum was split.
extern "C" __global__ void backward_dQ_dC_dS_sum(
    const float* __restrict__ dC_sum2_partial,  // [chunks, t*i]
    const float* __restrict__ dS_sum2_partial,  // [chunks, t*i]
    const float* __restrict__ dC_sum,  // [t, i]
    const float* __restrict__ dS_sum,  // [t, i]
    float* __restrict__ dC,  // [t, i]
    float* __restrict__ dS,  // [t, i]
    INDEX size_t,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    // Threads (32, 8): a column a threadIdx.x, every eighth row of the block's chunk a threadIdx.y.
    const INDEX columns = size_t*size_i, column = (INDEX)blockIdx.x*32 + threadIdx.x;
    const INDEX rows = chunks, share = (rows + gridDim.y - 1)/gridDim.y;
    const INDEX begin = blockIdx.y*share, end = begin + share < rows ? begin + share : rows;
    float dc_sum2 = 0;
    float ds_sum2 = 0;
    if (column < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dc_sum2 += dC_sum2_partial[chunk*columns + column];
            ds_sum2 += dS_sum2_partial[chunk*columns + column];
        }
    }
    __shared__ float tile[2][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dc_sum2;
    tile[1][threadIdx.y][threadIdx.x] = ds_sum2;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int line = 1; line < 8; ++line) {
            dc_sum2 += tile[0][line][threadIdx.x];
            ds_sum2 += tile[1][line][threadIdx.x];
        }
        const float dc = dC_sum[column] + dc_sum2;
        dC[column] = accumulate ? dC[column] + dc : dc;
        const float ds = dS_sum[column] + ds_sum2;
        dS[column] = accumulate ? dS[column] + ds : ds;
    }
}

// dwq_sum[h,p,i,c] = sum(b, t, X[b,t,c]*dQ[b,h,t,p,i]*rsqrt(N1_in[b,t]))
// dwq[h,p,i,c] = dwq_sum[h,p,i,c]*ln1w[c]
extern "C" __global__ void backward_dwq(
    const float* __restrict__ X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ N1_in,  // [b, t]
    const float* __restrict__ dQ,  // [b, h, t, 2, i]
    float* __restrict__ dwq,  // [h, 2, i, c]
    float* __restrict__ dwq_sum_partial,  // [chunks, h*2*i, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_i,
    int accumulate
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_h*2*size_i, columns = size_c, length = size_b*size_t;
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
                const INDEX h = m/size_i/2;
                const INDEX t = k%size_t;
                const INDEX b = k/size_t;
                value = dQ[((b*size_h + h)*size_t + t)*(2*size_i) + m%(2*size_i)]*rsqrtf(N1_in[k]);
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
            store(dwq_sum_partial + (blockIdx.y*rows + m)*columns, first, columns, results[over]);
            continue;
        }
        const auto ln1w_pack = load<4>(ln1w, first, columns);
        Pack<float, 4> dwq_pack;
        if (accumulate) dwq_pack = load<4>(dwq + m*size_c, first, columns);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane;
            if (c < columns) {
                const float dwq_sum_value = results[over].lane[lane];
                const float dwq_value = dwq_sum_value*ln1w_pack.lane[lane];
                dwq_pack.lane[lane] = accumulate ? dwq_pack.lane[lane] + dwq_value : dwq_value;
            }
        }
        store(dwq + m*size_c, first, columns, dwq_pack);
    }
}

// dwq_sum[h,p,i,c] = sum(b, t, X[b,t,c]*dQ[b,h,t,p,i]*rsqrt(N1_in[b,t])), from chunks of the sum
// dwq[h,p,i,c] = dwq_sum[h,p,i,c]*ln1w[c]
// Launched only where the sum was split.
extern "C" __global__ void backward_dwq_chunks(
    const float* __restrict__ dwq_sum_partial,  // [chunks, h*2*i, c]
    const float* __restrict__ ln1w,  // [c]
    float* __restrict__ dwq,  // [h, 2, i, c]
    INDEX size_c,
    INDEX size_h,
    INDEX size_i,
    INDEX chunks,
    int accumulate
)
{
    const INDEX count = size_h*2*size_i*size_c;
    for (INDEX element = (INDEX)blockIdx.x*blockDim.x + threadIdx.x; element < count; element += (INDEX)gridDim.x*blockDim.x) {
        const INDEX c = element%size_c;
        Sum total;
        for (INDEX chunk = 0; chunk < chunks; ++chunk) {
            total.add(dwq_sum_partial[chunk*(size_h*2*size_i*size_c) + element]);
        }
        const float dwq_sum_value = total.value();
        const float dwq_value = dwq_sum_value*ln1w[c];
        dwq[element] = accumulate ? dwq[element] + dwq_value : dwq_value;
    }
}

// dN1_sum3[b,t,c] = sum(h, r, i, dQ[b,h,t,r,i]*wq[h,r,i,c])
// dN1[b,t,c] = dN1_sum[b,t,c] + dN1_sum2[b,t,c] + dN1_sum3[b,t,c]
extern "C" __global__ void backward_dN1(
    const float* __restrict__ wq,  // [h, 2, i, c]
    const float* __restrict__ dN1_sum,  // [b, t, c]
    const float* __restrict__ dN1_sum2,  // [b, t, c]
    const float* __restrict__ dQ,  // [b, h, t, 2, i]
    float* __restrict__ dN1,  // [b, t, c]
    float* __restrict__ dN1_sum3_partial,  // [chunks, b*t, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX size_h,
    INDEX size_i
)
{
    // 256 threads: a tile of 64 by 64 results a block, 4 by 4 of them a thread; 16 terms of the sum at a time.
    // Element (step, at) of a tile stands at [step][at ^ step/4*8], so that no two threads meet at a bank.
    __shared__ __align__(16) float As[16][68], Bs[16][68];
    const INDEX rows = size_b*size_t, columns = size_c, length = size_h*2*size_i;
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
                const INDEX h = k/size_i/2;
                value = dQ[((b*size_h + h)*size_t + t)*(2*size_i) + k%(2*size_i)];
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

// dN1_sum3[b,t,c] = sum(h, r, i, dQ[b,h,t,r,i]*wq[h,r,i,c]), from chunks of the sum
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

// rstd[b,t] = rsqrt(N1_in[b,t])
// xhat[b,t,c] = X[b,t,c]*rstd[b,t]
// g2[b,t,c] = dN1[b,t,c]*ln1w[c]
// dX_sum[b,t] = sum(c, g2[b,t,c]*xhat[b,t,c])
// dX_mean[b,t] = dX_sum[b,t]/size(c)
// dX[b,t,c] = dR[b,t,c] + rstd[b,t]*(g2[b,t,c] - dX_mean[b,t]*xhat[b,t,c])
// dln1w[c] = sum(b, t, dN1[b,t,c]*xhat[b,t,c]), of each block's rows
extern "C" __global__ void backward_dX_dln1w(
    const float* X,  // [b, t, c]
    const float* __restrict__ ln1w,  // [c]
    const float* __restrict__ N1_in,  // [b, t]
    const float* __restrict__ dR,  // [b, t, c]
    const float* __restrict__ dN1,  // [b, t, c]
    float* dX,  // [b, t, c]
    float* __restrict__ dln1w_partial,  // [chunks, c]
    INDEX size_b,
    INDEX size_t,
    INDEX size_c,
    INDEX shared,
    int accumulate
)
{
    // A row is worked on by the blockDim.x threads of one threadIdx.y; spare threads keep in step with the last row.
    const INDEX rows = size_b*size_t, count = size_c;
    __shared__ float part[1][32];

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
    for (INDEX first = threadIdx.x*4, own = 0; first < count; first += blockDim.x*4, own += threads*4) {
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) {
            const INDEX c = first + lane, at = held ? own + lane*threads : c;
            if (c < count) {
                dln1w_part[at] = 0;
            }
        }
    }

    for (INDEX top = (INDEX)blockIdx.x*blockDim.y; top < rows; top += (INDEX)gridDim.x*blockDim.y) {
        const INDEX group = top + threadIdx.y;
        const INDEX row = group < rows ? group : rows - 1;
        const INDEX stop = group < rows ? count : 0;
        const float rstd = rsqrtf(N1_in[row]);

        float dx_sum = 0;
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
                    const float xhat = x*rstd;
                    const float g2 = dn1*ln1w_pack.lane[lane];
                    dx_sum += g2*xhat;
                    dln1w_part[at] += dn1*xhat;
                }
            }
        }
        dx_sum = row_sum(dx_sum, part[0]);
        const float dx_mean = dx_sum / (float)size_c;

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
                    const float xhat = x*rstd;
                    const float g2 = dn1*ln1w_pack.lane[lane];
                    const float dx = dR_pack.lane[lane] + rstd*(g2 - dx_mean*xhat);
                    dX_pack.lane[lane] = accumulate ? dX_pack.lane[lane] + dx : dx;
                }
            }
            store(dX + row*size_c, first, count, dX_pack);
        }
        if (blockDim.x > 32) __syncthreads();  // `part` is free for the next row
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
                    for (int other = 1; other < blockDim.y; ++other) {
                        dln1w_part_sum += dln1w_part[at + other*blockDim.x];
                    }
                    dln1w_partial[blockIdx.x*count + c] = dln1w_part_sum;
                }
            }
        }
    }
}

// dln1w[c] = sum(b, t, dN1[b,t,c]*xhat[b,t,c])
extern "C" __global__ void backward_dX_dln1w_sum(
    const float* __restrict__ dln1w_partial,  // [chunks, c]
    float* __restrict__ dln1w,  // [c]
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
    if (c < columns) {
        for (INDEX chunk = begin + threadIdx.y; chunk < end; chunk += 8) {
            dln1w_value += dln1w_partial[chunk*columns + c];
        }
    }
    __shared__ float tile[1][8][33];
    tile[0][threadIdx.y][threadIdx.x] = dln1w_value;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
        for (int line = 1; line < 8; ++line) {
            dln1w_value += tile[0][line][threadIdx.x];
        }
        dln1w[c] = accumulate ? dln1w[c] + dln1w_value : dln1w_value;
    }
}
