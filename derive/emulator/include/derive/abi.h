// What a kernel's shared object and the runner agree on. Included by both; no C++ library in here.
#pragma once

struct derive_dim {
  unsigned x, y, z;
};

// Class of a parameter, or of the element that a pointer parameter points to.
enum derive_class : unsigned char {
  DERIVE_OTHER = 0,
  DERIVE_SIGNED = 1,
  DERIVE_UNSIGNED = 2,
  DERIVE_FLOAT = 3,
  DERIVE_BOOL = 4,
  DERIVE_BFLOAT16 = 5,
  DERIVE_VOID = 6,
};

struct derive_param {
  unsigned char is_pointer;
  unsigned char is_const;       // of the pointee
  unsigned char element_class;  // of the value, or of the pointee's scalar (float for float4*)
  unsigned size;                // bytes of the parameter itself
  unsigned element_size;        // bytes of the pointee (16 for float4*), or of the value
  unsigned scalar_size;         // bytes of its scalar (4 for float4*)
};

struct derive_kernel {
  const char* name;        // as it is asked for: "gemm" or "scale<float>"
  const char* parameters;  // names, separated by commas
  void (*call)(void** args);
  void (*address)();
  const derive_param* params;
  unsigned param_count;
  unsigned max_threads;  // of a block, by __launch_bounds__; 0 without
};

// Kept by each shared object, filled in by the runner before every switch of fibers.
struct derive_state {
  derive_dim thread, block, block_dim, grid_dim;
};

struct derive_module {
  unsigned abi;
  unsigned kernel_count;
  const derive_kernel* kernels;
  derive_state* state;
  char* dynamic_shared;
  unsigned long dynamic_capacity;
};

#define DERIVE_ABI 2
#define DERIVE_WARP 32
#define DERIVE_FULL_MASK 0xffffffffu
#define DERIVE_DYNAMIC_CAPACITY (228 * 1024)
#define DERIVE_REDZONE 16384  // in check mode, unused bytes before and after each variable

enum derive_vote { DERIVE_BALLOT, DERIVE_ACTIVE };
enum derive_reduce { DERIVE_NONE, DERIVE_COUNT, DERIVE_AND, DERIVE_OR };
enum derive_lane_from { DERIVE_INDEX, DERIVE_UP, DERIVE_DOWN, DERIVE_XOR };

// A warp collective: run once, by the last lane to arrive; payloads[lane] is null for absent lanes.
typedef void (*derive_collective_fn)(void** payloads, unsigned mask);

// Entry points of the runner. Every way in which threads meet goes through one of them.
extern "C" {
void derive_rt_barrier(int line);
int derive_rt_barrier_reduce(int line, int operation, int value);
void derive_rt_syncwarp(unsigned mask, int line);
unsigned long long derive_rt_shuffle(unsigned mask, int from, int operand, int width, unsigned long long value,
                                     int line);
unsigned derive_rt_vote(unsigned mask, int operation, int predicate, int line);
void derive_rt_collective(unsigned mask, int operation, void* payload, derive_collective_fn run, int line);
void derive_rt_fence(int scope, int line);
int derive_rt_printf(const char* format, ...);
void derive_rt_assert(const char* expression, int line);
void derive_rt_trap(int line);
void derive_rt_pause(int line);
long long derive_rt_clock();
unsigned derive_rt_lane();
// Check mode only: an atomic operation is about to touch `size` bytes; `kind` 1 reads, 2 writes, 3 both.
void derive_rt_atomic(const volatile void* address, unsigned size, int kind, int line);
void derive_rt_copy(const void* from, void* to, unsigned long size, int line);
// Check mode only: a warp is about to load or store a matrix whose rows (or columns) are `pitch` bytes apart.
void derive_rt_matrix(const void* place, unsigned long pitch, int line);
}
