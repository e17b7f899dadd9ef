// Happens-before: which earlier access is surely over when the running thread makes its own.
//
// Barriers order a block, __syncwarp orders the lanes of its mask, and an atomic after a fence orders blocks:
// the thread that fenced publishes, whoever then does an atomic on the same address has seen it. So does a volatile
// flag, set after a fence and read before one. Nothing else orders memory; a schedule in which it happened to work does
// not count.
#include <stdlib.h>
#include <string.h>

#include "shadow.h"
#include "spin.h"
#include "stacks.h"

namespace derive {

unsigned now, block_time, barrier_time;

static unsigned seen[MAX_THREADS][DERIVE_WARP];  // up to what time a thread knows each lane of its warp
static unsigned whole_warp_time[MAX_THREADS];    // the last time that all lanes of its warp met
static unsigned fence_time[MAX_THREADS], fence_barrier[MAX_THREADS], acquire_time[MAX_THREADS];
static bool fence_is_new[MAX_THREADS];           // no flag has been set since

static unsigned* block_starts = nullptr;           // in the order of execution
static unsigned long long* block_numbers = nullptr;
static unsigned long block_count, block_capacity;

// What one block has made known through one address.
struct Publication {
  unsigned fence, barrier, atomic;  // times; all zero if it published nothing
  unsigned thread;                  // THREAD + 1 if several did
};

struct SyncObject {
  const void* address;
  Publication* by_block;
  unsigned long capacity;
  unsigned long acquired_by;  // the block, counted from 1, that last did an atomic here
};
static SyncObject* objects = nullptr;
static unsigned object_count, object_capacity;

void reset_order() {
  now = 1;
  block_count = 0;
  for (unsigned i = 0; i < object_count; ++i) free(objects[i].by_block);
  object_count = 0;
  memset(seen, 0, sizeof seen);
  memset(whole_warp_time, 0, sizeof whole_warp_time);
  memset(fence_time, 0, sizeof fence_time);
  memset(acquire_time, 0, sizeof acquire_time);
}

void check_block_start(unsigned long long block) {
  settle_doubt();
  settle_reads();
  reset_spin();
  block_time = barrier_time = ++now;
  if (block_count == block_capacity) {
    block_capacity = block_capacity * 2 + 64;
    block_starts = static_cast<unsigned*>(realloc(block_starts, block_capacity * sizeof *block_starts));
    block_numbers = static_cast<unsigned long long*>(realloc(block_numbers, block_capacity * sizeof *block_numbers));
  }
  block_starts[block_count] = now;
  block_numbers[block_count++] = block;
}

void check_barrier() {
  settle_doubt();
  barrier_time = ++now;
}

void check_syncwarp(unsigned warp, unsigned mask) {
  settle_doubt();
  ++now;
  unsigned joined[DERIVE_WARP] = {};
  unsigned first = warp * DERIVE_WARP;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const unsigned* known = seen[first + __builtin_ctz(rest)];
    for (int lane = 0; lane < DERIVE_WARP; ++lane) joined[lane] = known[lane] > joined[lane] ? known[lane] : joined[lane];
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) joined[__builtin_ctz(rest)] = now;
  unsigned last = block_threads() - first;
  bool whole = mask == (last >= DERIVE_WARP ? DERIVE_FULL_MASK : (1u << last) - 1);
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    unsigned thread = first + __builtin_ctz(rest);
    memcpy(seen[thread], joined, sizeof joined);
    if (whole) whole_warp_time[thread] = now;
  }
}

void check_fence() {
  fence_is_new[current] = !confirm_read();
  fence_time[current] = ++now;
  fence_barrier[current] = barrier_time;
}

bool take_fence() {
  bool fenced = fence_is_new[current] && fence_time[current] >= block_time;
  fence_is_new[current] = false;
  return fenced;
}

// Position in the order of execution of the block that was running at this time.
static unsigned long block_index(unsigned time) {
  unsigned long low = 0, high = block_count;
  while (high - low > 1) {
    unsigned long middle = (low + high) / 2;
    (block_starts[middle] <= time ? low : high) = middle;
  }
  return low;
}

unsigned long long block_at(unsigned time) { return block_count == 0 ? 0 : block_numbers[block_index(time)]; }

static bool published(const Record& before) {
  unsigned long block = block_index(before.time);
  for (unsigned i = 0; i < object_count; ++i) {
    const SyncObject& object = objects[i];
    if (object.acquired_by != block_count || block >= object.capacity) continue;
    const Publication& p = object.by_block[block];
    if (p.fence == 0) continue;
    unsigned thread = before.who & THREAD;
    if (before.who & ATOMIC && before.time <= p.atomic) return true;
    if (before.time < p.barrier) return true;
    if ((p.thread == thread || p.thread > THREAD) && before.time < p.fence) return true;
  }
  return false;
}

bool ordered(const Tracked& region, const Record& before) {
  if (before.time < block_time) return region.shared || before.time == 0 || published(before);
  unsigned thread = before.who & THREAD;
  if (thread == current || before.time < barrier_time) return true;
  if (thread / DERIVE_WARP == current / DERIVE_WARP && before.time < seen[current][thread % DERIVE_WARP]) return true;
  return before.time < fence_time[thread] && fence_time[thread] <= acquire_time[current] &&
         fence_time[thread] >= block_time;
}

bool readers_ordered(const Tracked& region, const Record& before) {
  if (before.who & OTHER_BLOCK && !region.shared) {
    bool any = false;
    for (unsigned i = 0; i < object_count; ++i) any = any || objects[i].acquired_by == block_count;
    if (!any) return false;
  }
  if (before.time < barrier_time) return true;
  if (before.who & OTHER_WARP) return false;
  return !(before.who & OTHER_LANE) || before.time < whole_warp_time[current];
}

static SyncObject* find_object(const void* address) {
  for (unsigned i = 0; i < object_count; ++i)
    if (objects[i].address == address) return &objects[i];
  return nullptr;
}

void publish(const void* address) {
  SyncObject* object = find_object(address);
  if (object == nullptr) {
    if (object_count == object_capacity) {
      object_capacity = object_capacity * 2 + 8;
      objects = static_cast<SyncObject*>(realloc(objects, object_capacity * sizeof *objects));
    }
    object = &objects[object_count++];
    *object = {address, nullptr, 0, 0};
  }
  if (block_count > object->capacity) {
    unsigned long wanted = block_count * 2 + 64;
    object->by_block = static_cast<Publication*>(realloc(object->by_block, wanted * sizeof(Publication)));
    memset(object->by_block + object->capacity, 0, (wanted - object->capacity) * sizeof(Publication));
    object->capacity = wanted;
  }
  Publication& p = object->by_block[block_count - 1];
  p.thread = p.fence == 0 || p.thread == current ? current : THREAD + 1;
  p.fence = fence_time[current];
  p.barrier = fence_barrier[current];
  p.atomic = now;
  object->acquired_by = block_count;
}

void acquire(const void* address) {
  if (SyncObject* object = find_object(address)) {
    object->acquired_by = block_count;
    acquire_time[current] = now;
  }
}

void atomic_order(const void* address) {
  acquire(address);
  if (fence_time[current] >= block_time) publish(address);
}

}  // namespace derive
