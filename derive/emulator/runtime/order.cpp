// Happens-before: which earlier access is surely over when the running thread makes its own.
//
// Barriers order a block, __syncwarp orders the lanes of its mask, and an atomic after a fence orders blocks:
// the thread that fenced publishes, whoever then does an atomic on the same address has seen it. So does a volatile
// flag, set after a fence and read before one. Nothing else orders memory; a schedule in which it happened to work does
// not count.
#include <stdlib.h>
#include <string.h>

#include "publish.h"
#include "shadow.h"
#include "spin.h"
#include "stacks.h"

namespace derive {

unsigned now, block_time, barrier_time;

static unsigned seen[MAX_THREADS][DERIVE_WARP];  // up to what time a thread knows each lane of its warp
static unsigned whole_warp_time[MAX_THREADS];    // the last time that all lanes of its warp met
static unsigned fence_time[MAX_THREADS], fence_barrier[MAX_THREADS], fence_warp[MAX_THREADS];
static unsigned acquire_time[MAX_THREADS];       // when it, or a lane that it has met since, last saw a flag
static unsigned wrote_time[MAX_THREADS], stored_time[MAX_THREADS];  // its last write to global memory, to shared
static unsigned fenced_barrier;                  // a barrier before which each thread has fenced what it wrote
static unsigned fenced_warp[MAX_THREADS];        // a meeting of its warp before which each lane fenced what it wrote
static bool fence_is_new[MAX_THREADS];           // no flag has been set since

static unsigned* block_starts = nullptr;           // in the order of execution
static unsigned long long* block_numbers = nullptr;
unsigned long block_count;
static unsigned long block_capacity;

void reset_order() {
  now = 1;
  block_count = 0;
  reset_publications();
  memset(seen, 0, sizeof seen);
  memset(whole_warp_time, 0, sizeof whole_warp_time);
  memset(fence_time, 0, sizeof fence_time);
  memset(acquire_time, 0, sizeof acquire_time);
  memset(wrote_time, 0, sizeof wrote_time);
  memset(stored_time, 0, sizeof stored_time);
  memset(fenced_warp, 0, sizeof fenced_warp);
  fenced_barrier = 0;
}

void check_block_start(unsigned long long block) {
  settle_doubt();
  settle_reads();
  reset_spin();
  block_time = barrier_time = ++now;
  fenced_barrier = 0;
  if (block_count == block_capacity) {
    block_capacity = block_capacity * 2 + 64;
    block_starts = static_cast<unsigned*>(realloc(block_starts, block_capacity * sizeof *block_starts));
    block_numbers = static_cast<unsigned long long*>(realloc(block_numbers, block_capacity * sizeof *block_numbers));
  }
  block_starts[block_count] = now;
  block_numbers[block_count++] = block;
}

static bool has_fenced(unsigned thread, const unsigned* written) {
  return written[thread] < block_time || written[thread] < fence_time[thread];
}

void check_barrier() {
  settle_doubt();
  barrier_time = ++now;
  for (unsigned t = 0; t < block_threads(); ++t)
    if (!has_fenced(t, wrote_time)) return;
  fenced_barrier = barrier_time;
}

void note_write(bool shared) { (shared ? stored_time : wrote_time)[current] = now; }

void check_syncwarp(unsigned warp, unsigned mask) {
  settle_doubt();
  ++now;
  unsigned joined[DERIVE_WARP] = {};
  unsigned first = warp * DERIVE_WARP;
  unsigned acquired = 0;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    unsigned thread = first + __builtin_ctz(rest);
    const unsigned* known = seen[thread];
    acquired = acquire_time[thread] > acquired ? acquire_time[thread] : acquired;
    for (int lane = 0; lane < DERIVE_WARP; ++lane) joined[lane] = known[lane] > joined[lane] ? known[lane] : joined[lane];
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) joined[__builtin_ctz(rest)] = now;
  unsigned last = block_threads() - first;
  bool whole = mask == (last >= DERIVE_WARP ? DERIVE_FULL_MASK : (1u << last) - 1), fenced = whole;
  for (unsigned rest = mask; fenced && rest != 0; rest &= rest - 1) {
    unsigned thread = first + __builtin_ctz(rest);
    fenced = has_fenced(thread, wrote_time) && has_fenced(thread, stored_time);
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    unsigned thread = first + __builtin_ctz(rest);
    memcpy(seen[thread], joined, sizeof joined);
    acquire_time[thread] = acquired;
    if (whole) whole_warp_time[thread] = now;
    if (fenced) fenced_warp[thread] = now;
  }
}

void check_fence() {
  fence_is_new[current] = !confirm_read();
  fence_time[current] = ++now;
  fence_barrier[current] = barrier_time;
  fence_warp[current] = whole_warp_time[current] >= block_time ? whole_warp_time[current] : 0;
}

bool take_fence() {
  bool fenced = fence_is_new[current] && fence_time[current] >= block_time;
  fence_is_new[current] = false;
  return fenced;
}

// Position in the order of execution of the block that was running at this time.
unsigned long block_index(unsigned time) {
  unsigned long low = 0, high = block_count;
  while (high - low > 1) {
    unsigned long middle = (low + high) / 2;
    (block_starts[middle] <= time ? low : high) = middle;
  }
  return low;
}

unsigned long long block_at(unsigned time) { return block_count == 0 ? 0 : block_numbers[block_index(time)]; }

bool ordered(const Tracked& region, const Record& before) {
  if (before.time < block_time) return region.shared || before.time == 0 || published(before);
  unsigned thread = before.who & THREAD;
  if (thread == current || before.time < barrier_time) return true;
  if (thread / DERIVE_WARP == current / DERIVE_WARP && before.time < seen[current][thread % DERIVE_WARP]) return true;
  if (acquire_time[current] < block_time) return false;
  return (before.time < fence_time[thread] && fence_time[thread] <= acquire_time[current]) ||
         told_by(before, acquire_time[current]);
}

bool others_ordered(const Record& before) {
  if (!(before.who & ATOMIC)) return true;
  if (before.who & OTHERS_BEFORE && !heard_any()) return false;
  return !(before.who & OTHERS_HERE) || !unreleased(before.time) || acquire_time[current] >= block_time;
}

bool readers_ordered(const Tracked& region, const Record& before) {
  if (before.who & OTHER_BLOCK && !region.shared) {
    if (!heard_any()) return false;
  }
  if (before.time < barrier_time) return true;
  if (before.who & OTHER_WARP) return false;
  return !(before.who & OTHER_LANE) || before.time < whole_warp_time[current];
}

Publication publication() {
  unsigned barrier = fence_barrier[current] > fenced_barrier ? fence_barrier[current] : fenced_barrier;
  unsigned warp = fence_warp[current] > fenced_warp[current] ? fence_warp[current] : fenced_warp[current];
  return {fence_time[current], barrier, warp, now, current};
}

void acquire(const void* address) {
  if (hear(address)) acquire_time[current] = now;
}

void atomic_order(const void* address) {
  acquire(address);
  if (fence_time[current] >= block_time) publish(address);
}

bool unreleased(unsigned time) {
  return time >= barrier_time && time >= fence_time[current] && time >= seen[current][current % DERIVE_WARP];
}

Record atomic_record(const Tracked& region, const Record& before, unsigned short site) {
  unsigned who = current | ATOMIC, thread = before.who & THREAD;
  if (before.time < block_time) {
    bool alone = region.shared || !(before.who & ATOMIC) || (!(before.who & OTHERS_BEFORE) && ordered(region, before));
    return {now, site, static_cast<unsigned short>(alone ? who : who | OTHERS_BEFORE)};
  }
  bool plain = !(before.who & (ATOMIC | VOLATILE));
  if (plain && thread == current && unreleased(before.time)) return before;  // whoever comes after it comes after both
  if (!plain) who |= before.who & OTHERS_BEFORE;
  bool others = thread != current || before.who & OTHERS_HERE;
  if (before.who & ATOMIC && before.time >= barrier_time && others) who |= OTHERS_HERE;
  if (!region.shared && (plain || before.who & BLOCK_WROTE)) who |= BLOCK_WROTE;
  bool same_warp = before.time >= barrier_time && thread / DERIVE_WARP == current / DERIVE_WARP;
  if (same_warp && (plain ? fence_time[thread] <= before.time : before.who & WARP_WROTE)) who |= WARP_WROTE;
  if (who & (BLOCK_WROTE | WARP_WROTE)) site = site_pair(before.site, site);
  return {now, site, static_cast<unsigned short>(who)};
}

}  // namespace derive
