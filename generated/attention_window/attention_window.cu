// attention_window: forward and backward, float32.  Made by `derive emit attention_window -o DIR`; do not edit.
//
//     S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
//     P[b,h,t,s] = softmax(s, where(s <= t and t - s < 128, S[b,h,t,s], -1e30))
//     O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
//
//     dQ = dS_sum K
//     dK = dS_sumᵀ Q
//     dV = Pᵀ dO
//     where
//     dP[b,h,t,s] = sum(d, V[b,h,s,d]*dO[b,h,t,d])
//     dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))
//
// Saved for the backward: P_lse.  Computed again: P, S, S_sum, dS_sum.
// Sums are kept in float32; the same bits at every run.
// In place, one at a time and without accumulate: dQ over O.

#ifndef INDEX
#define INDEX int  // the wrapper makes it long long when a tensor has 2^30 elements or more
#endif
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)  // NVRTC has no <math.h>
#endif

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

// P[b,h,t,s] = softmax(s, where(s <= t and t - s < 128, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// P_lse[b,h,t] = logsumexp(s, where(s <= t and t - s < 128, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30))
// O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
extern "C" __global__ void forward_P_lse_O(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, s, d]
    const float* __restrict__ V,  // [b, h, s, d]
    float* __restrict__ O,  // [b, h, t, d]
    float* __restrict__ P_lse,  // [b, h, t]
    INDEX size_t,
    INDEX size_s,
    INDEX size_d,
    INDEX across
)
{
    // 256 threads: a tile of 64 rows t a block, 4 by 4 pairs (t, s) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_t, length = size_s, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float o_tile[4][4] = {};  // [t, d_]
    float greatest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[4] = {};
    INDEX begin = 0;
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    const INDEX limit_ = top - 127;
    if (begin < limit_) begin = limit_ - limit_%64;
    for (INDEX first = begin; first < stop; first += 64) {
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
                    value = K[(batch*size_s + s)*size_d + d];
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
                    value = s <= t && t - s < 128 ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
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
                    value = V[(batch*size_s + s)*size_d + d_];
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

// P[b,h,t,s] = exp(where(s <= t and t - s < 128, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dQ[b,h,t,d] = rsqrt(size(d))*sum(s, K[b,h,s,d]*P[b,h,t,s]*(sum(d2, V[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
extern "C" __global__ void backward_dQ(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, s, d]
    const float* __restrict__ V,  // [b, h, s, d]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dQ,  // [b, h, t, d]
    INDEX size_t,
    INDEX size_s,
    INDEX size_d,
    INDEX across,
    int accumulate
)
{
    // 256 threads: a tile of 64 rows t a block, 4 by 4 pairs (t, s) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_t, length = size_s, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dq_tile[4][4] = {};  // [t, d_2]
    INDEX begin = 0;
    INDEX stop = length;
    const INDEX limit = last + 1;
    if (limit < stop) stop = limit;
    const INDEX limit_ = top - 127;
    if (begin < limit_) begin = limit_ - limit_%64;
    for (INDEX first = begin; first < stop; first += 64) {
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
                    value = K[(batch*size_s + s)*size_d + d];
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
                    value = V[(batch*size_s + s)*size_d + d_];
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
                    const float score_ = s <= t && t - s < 128 ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
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
                    value = K[(batch*size_s + s)*size_d + d_2];
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
                    dQ[(batch*size_t + t)*size_d + d_2] = accumulate ? dQ[(batch*size_t + t)*size_d + d_2] + dq : dq;
                }
            }
        }
    }
}

// P[b,h,t,s] = exp(where(s <= t and t - s < 128, rsqrt(size(d))*sum(d, K[b,h,s,d]*Q[b,h,t,d]), -1e+30) - P_lse[b,h,t])
// dK[b,h,s,d] = rsqrt(size(d))*sum(t, P[b,h,t,s]*Q[b,h,t,d]*(sum(d2, V[b,h,s,d2]*dO[b,h,t,d2]) - P_row[b,h,t]))
// dV[b,h,s,d] = sum(t, P[b,h,t,s]*dO[b,h,t,d])
extern "C" __global__ void backward_dK_dV(
    const float* __restrict__ Q,  // [b, h, t, d]
    const float* __restrict__ K,  // [b, h, s, d]
    const float* __restrict__ V,  // [b, h, s, d]
    const float* __restrict__ P_lse,  // [b, h, t]
    const float* __restrict__ dO,  // [b, h, t, d]
    const float* __restrict__ P_row,  // [b, h, t]
    float* __restrict__ dK,  // [b, h, s, d]
    float* __restrict__ dV,  // [b, h, s, d]
    INDEX size_t,
    INDEX size_s,
    INDEX size_d,
    INDEX across,
    int accumulate
)
{
    // 256 threads: a tile of 64 rows s a block, 4 by 4 pairs (s, t) a thread at a time.
    __shared__ float tile[64][68], Bs[16][68];
    const INDEX rows = size_s, length = size_t, down = (rows + 63)/64;
    const INDEX top = (INDEX)blockIdx.x/across%down*64;
    const INDEX left = (INDEX)blockIdx.x%across*64;  // columns of the results: 64 a block
    const INDEX batch = (INDEX)blockIdx.x/across/down;
    const INDEX last = (top + 64 < rows ? top + 64 : rows) - 1;
    const int thread = threadIdx.x, my_row = thread/16*4, my_column = thread%16*4;
    float dk_tile[4][4] = {};  // [s, d_2]
    float dv_tile[4][4] = {};  // [s, d_3]
    INDEX begin = 0;
    INDEX stop = length;
    const INDEX limit = top;
    if (begin < limit) begin = limit - limit%64;
    const INDEX limit_ = last + 128;
    if (limit_ < stop) stop = limit_;
    for (INDEX first = begin; first < stop; first += 64) {
        float score_tile[4][4] = {};  // [s, t]
        for (INDEX chunk = 0; chunk < size_d; chunk += 16) {
            for (int part = 0; part < 4; ++part) {
                const int at = thread/16 + part*16, step = thread%16;
                const INDEX s = top + at, d = chunk + step;
                float value = 0;
                if (s < rows && d < size_d) {
                    value = K[(batch*size_s + s)*size_d + d];
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
                    value = V[(batch*size_s + s)*size_d + d_];
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
                    const float score_ = s <= t && t - s < 128 ? rsqrtf((float)size_d)*score_tile[over][along] : -1e30f;
                    const float p = expf((score_ <= -5e29f ? -2e30f : score_) - P_lse[batch*size_t + t]);
                    {
                        float value;
                        const float v = rsqrtf((float)size_d);
                        value = p*v*(dP_tile[over][along] - P_row[batch*size_t + t]);
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
                const INDEX d_2 = left + at, t = chunk + step;
                float value = 0;
                if (d_2 < size_d && t < length) {
                    value = Q[(batch*size_t + t)*size_d + d_2];
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
                    value = dO[(batch*size_t + t)*size_d + d_3];
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
#pragma unroll
    for (int over = 0; over < 4; ++over) {
        const INDEX s = top + my_row + over;
        if (s < rows) {
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_2 = left + my_column + along;
                if (d_2 < size_d) {
                    const float dk = dk_tile[over][along];
                    dK[(batch*size_s + s)*size_d + d_2] = accumulate ? dK[(batch*size_s + s)*size_d + d_2] + dk : dk;
                }
            }
#pragma unroll
            for (int along = 0; along < 4; ++along) {
                const INDEX d_3 = left + my_column + along;
                if (d_3 < size_d) {
                    const float dv = dv_tile[over][along];
                    dV[(batch*size_s + s)*size_d + d_3] = accumulate ? dV[(batch*size_s + s)*size_d + d_3] + dv : dv;
                }
            }
        }
    }
}
