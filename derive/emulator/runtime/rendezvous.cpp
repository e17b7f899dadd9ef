// Where threads meet: the block's barrier, and the collectives of a warp.
#include <string.h>
#include <time.h>

#include "check.h"
#include "count.h"
#include "scheduler.h"
#include "stacks.h"

namespace derive {

// Lanes that called the same operation with the same mask in the same line; it happens when all are there.
struct Group {
  unsigned mask, arrived;
  int operation, line;
  unsigned predicate;
  unsigned char source[DERIVE_WARP];
  unsigned long long value[DERIVE_WARP];
  void* payload[DERIVE_WARP];
};

struct Warp {
  unsigned group_count;
  Group groups[DERIVE_WARP];
  // What each lane gets. A lane reads it before it can take part in anything else, so one slot is enough.
  unsigned long long result[DERIVE_WARP];
};

static Warp warps[MAX_THREADS / DERIVE_WARP];
static unsigned barrier_waiting;
static int barrier_line, barrier_sum, barrier_result;

void reset_rendezvous() {
  barrier_waiting = 0;
  for (unsigned w = 0; w * DERIVE_WARP < block_threads(); ++w) warps[w].group_count = 0;
}

static unsigned existing_lanes(unsigned warp) {
  unsigned count = block_threads() - warp * DERIVE_WARP;
  return count >= DERIVE_WARP ? DERIVE_FULL_MASK : (1u << count) - 1;
}

static inline Group& join(Warp& warp, Wait wait, int operation, unsigned mask, int line) {
  unsigned lane = current_thread_linear() % DERIVE_WARP;
  if (!(mask >> lane & 1) && checking) {
    report_line("warp-divergence", line, 0, "calls %s with mask 0x%08x, which lacks the calling lane %u",
                wait_name(wait), mask, lane);
    mask |= 1u << lane;
  }
  if (!(mask >> lane & 1)) {
    message.clear();
    message.format("%d\n", line);
    describe_place();
    message.format(": line %d calls %s with mask 0x%08x, which lacks the calling lane %u", line, wait_name(wait), mask,
                   lane);
    fail_launch();
  }
  int key = wait * 16 + operation;
  for (unsigned i = 0; i < warp.group_count; ++i) {
    Group& group = warp.groups[i];
    if (group.mask == mask && group.operation == key && group.line == line && !(group.arrived >> lane & 1)) {
      group.arrived |= 1u << lane;
      return group;
    }
  }
  Group& group = warp.groups[warp.group_count++];
  group.mask = mask;
  group.arrived = 1u << lane;
  group.operation = key;
  group.line = line;
  group.predicate = 0;
  return group;
}

static bool complete(const Group& group, unsigned warp) {
  return group.arrived == (group.mask & existing_lanes(warp));
}

// Lets the other lanes of a completed group go and forgets it; the caller goes on by itself.
static void release(Warp& warp, Group& group, unsigned first_thread, unsigned but) {
  for (unsigned rest = group.arrived; rest != 0; rest &= rest - 1) {
    unsigned lane = __builtin_ctz(rest);
    if (lane != but) make_ready(first_thread + lane);
  }
  Group& last = warp.groups[--warp.group_count];
  if (&group != &last) group = last;
}

bool resolve_activemask() {
  bool any = false;
  for (unsigned w = 0; w * DERIVE_WARP < block_threads(); ++w) {
    Warp& warp = warps[w];
    for (unsigned i = 0; i < warp.group_count;) {
      Group& group = warp.groups[i];
      if (group.operation != AT_ACTIVEMASK * 16) {
        ++i;
        continue;
      }
      for (unsigned lane = 0; lane < DERIVE_WARP; ++lane) warp.result[lane] = group.arrived;
      release(warp, group, w * DERIVE_WARP, DERIVE_WARP);
      any = true;
    }
  }
  return any;
}

// The lanes that came get what those that came had to give; the rest is all ones.
static void finish_alone(Warp& warp, Group& group, unsigned w) {
  int wait = group.operation / 16;
  for (unsigned rest = group.arrived; rest != 0; rest &= rest - 1) {
    unsigned lane = __builtin_ctz(rest);
    warp.result[lane] = group.predicate;
    if (wait != AT_SHUFFLE) continue;
    unsigned source = group.source[lane];
    warp.result[lane] = group.arrived >> source & 1 ? group.value[source] : ~0ull;
  }
  if (wait == AT_SYNCWARP) check_syncwarp(w, group.arrived);
}

static bool release_stuck_warps() {
  bool any = false;
  for (unsigned w = 0; w * DERIVE_WARP < block_threads(); ++w) {
    Warp& warp = warps[w];
    while (warp.group_count > 0) {
      Group& group = warp.groups[0];
      unsigned missing = group.mask & existing_lanes(w) & ~group.arrived;
      report_line("warp-divergence", group.line, 0, "%s with mask 0x%08x waits for lanes 0x%08x of warp %u",
                  wait_name(static_cast<Wait>(group.operation / 16)), group.mask, missing, w);
      finish_alone(warp, group, w);
      release(warp, group, w * DERIVE_WARP, DERIVE_WARP);
      any = true;
    }
  }
  return any;
}

bool release_stuck() {
  if (release_stuck_warps()) return true;
  if (barrier_waiting == 0) return false;
  int line = 0;
  for (unsigned i = block_threads(); i-- > 0;)
    if (waits[i] == AT_BARRIER) line = wait_lines[i];
  report_line("barrier-divergence", line, 0, "only %u of %u threads of the block reach this barrier", barrier_waiting,
              block_threads());
  barrier_waiting = 0;
  barrier_result = barrier_sum;
  for (unsigned i = 0; i < block_threads(); ++i)
    if (waits[i] == AT_BARRIER) make_ready(i);
  check_barrier();
  return true;
}

}  // namespace derive

using namespace derive;

extern "C" int derive_rt_barrier_reduce(int line, int operation, int value) {
  if (barrier_waiting == 0) {
    barrier_line = line;
    barrier_sum = operation == DERIVE_AND;
  } else if (line != barrier_line) {
    if (checking) {
      report_line("barrier-divergence", line, barrier_line,
                  "reaches this barrier while other threads of the block wait at another one");
    } else {
      message.clear();
      message.format("%d,%d\n", barrier_line, line);
      describe_place();
      message.format(" reaches the barrier in line %d while other threads of the block wait at the one in line %d", line,
                     barrier_line);
      fail_launch();
    }
  }
  if (operation == DERIVE_COUNT) barrier_sum += value != 0;
  if (operation == DERIVE_AND) barrier_sum = barrier_sum && value != 0;
  if (operation == DERIVE_OR) barrier_sum = barrier_sum || value != 0;
  if (++barrier_waiting < block_threads()) {
    wait_here(AT_BARRIER, line);
    return barrier_result;
  }
  barrier_waiting = 0;
  barrier_result = barrier_sum;
  unsigned me = current_thread_linear();
  for (unsigned i = 0; i < block_threads(); ++i)
    if (i != me) make_ready(i);
  if (checking) check_barrier();
  if (counting) count_barrier();
  return barrier_result;
}

extern "C" void derive_rt_barrier(int line) { derive_rt_barrier_reduce(line, DERIVE_NONE, 0); }

extern "C" void derive_rt_syncwarp(unsigned mask, int line) {
  unsigned w = current_thread_linear() / DERIVE_WARP;
  Group& group = join(warps[w], AT_SYNCWARP, 0, mask, line);
  if (!complete(group, w)) return wait_here(AT_SYNCWARP, line);
  if (checking) check_syncwarp(w, group.arrived);
  release(warps[w], group, w * DERIVE_WARP, current_thread_linear() % DERIVE_WARP);
}

static unsigned source_lane(unsigned lane, int from, int operand, unsigned width) {
  unsigned base = lane & ~(width - 1), place = lane & (width - 1);
  unsigned value = static_cast<unsigned>(operand);
  switch (from) {
    case DERIVE_INDEX: return base | (value & (width - 1));
    case DERIVE_UP: return place < value ? lane : lane - value;
    case DERIVE_DOWN: return value >= width - place ? lane : lane + value;
    default: {
      unsigned source = lane ^ value;
      return source < base + width ? source : lane;
    }
  }
}

extern "C" unsigned long long derive_rt_shuffle(unsigned mask, int from, int operand, int width,
                                                unsigned long long value, int line) {
  unsigned thread = current_thread_linear(), w = thread / DERIVE_WARP, lane = thread % DERIVE_WARP;
  Warp& warp = warps[w];
  Group& group = join(warp, AT_SHUFFLE, from, mask, line);
  unsigned source = source_lane(lane, from, operand, static_cast<unsigned>(width)) % DERIVE_WARP;
  if (checking && !(mask & existing_lanes(w) & 1u << source))
    report_line("warp-divergence", line, 0, "a shuffle reads lane %u, which is outside its mask 0x%08x or the block",
                source, mask);
  group.value[lane] = value;
  group.source[lane] = source;
  if (!complete(group, w)) {
    wait_here(AT_SHUFFLE, line);
    return warp.result[lane];
  }
  unsigned arrived = group.arrived;
  for (unsigned rest = arrived; rest != 0; rest &= rest - 1) {
    unsigned to = __builtin_ctz(rest), chosen = group.source[to];
    // What a lane outside the mask would have given is undefined: all ones, a NaN in every format.
    warp.result[to] = arrived >> chosen & 1 ? group.value[chosen] : ~0ull;
  }
  release(warp, group, w * DERIVE_WARP, lane);
  return warp.result[lane];
}

extern "C" unsigned derive_rt_vote(unsigned mask, int operation, int predicate, int line) {
  unsigned thread = current_thread_linear(), w = thread / DERIVE_WARP, lane = thread % DERIVE_WARP;
  Warp& warp = warps[w];
  Wait wait = operation == DERIVE_ACTIVE ? AT_ACTIVEMASK : AT_VOTE;
  Group& group = join(warp, wait, 0, mask, line);
  if (predicate) group.predicate |= 1u << lane;
  if (!complete(group, w)) {
    wait_here(wait, line);
    return static_cast<unsigned>(warp.result[lane]);
  }
  unsigned votes = operation == DERIVE_ACTIVE ? group.arrived : group.predicate;
  for (unsigned rest = group.arrived; rest != 0; rest &= rest - 1) warp.result[__builtin_ctz(rest)] = votes;
  release(warp, group, w * DERIVE_WARP, lane);
  return votes;
}

extern "C" void derive_rt_collective(unsigned mask, int operation, void* payload, derive_collective_fn run, int line) {
  unsigned thread = current_thread_linear(), w = thread / DERIVE_WARP, lane = thread % DERIVE_WARP;
  Group& group = join(warps[w], AT_COLLECTIVE, operation, mask, line);
  group.payload[lane] = payload;
  if (!complete(group, w)) return wait_here(AT_COLLECTIVE, line);
  for (unsigned i = 0; i < DERIVE_WARP; ++i)
    if (!(group.arrived >> i & 1)) group.payload[i] = nullptr;
  run(group.payload, group.arrived);
  release(warps[w], group, w * DERIVE_WARP, lane);
}

extern "C" void derive_rt_fence(int, int) {
  if (checking) check_fence();
}

extern "C" void derive_rt_assert(const char* expression, int line) {
  message.clear();
  message.format("%d\n", line);
  describe_place();
  message.format(": assertion failed in line %d: %s", line, expression);
  fail_launch();
}

extern "C" void derive_rt_trap(int line) {
  message.clear();
  message.format("%d\n", line);
  describe_place();
  message.format(": __trap() in line %d", line);
  fail_launch();
}

extern "C" long long derive_rt_clock() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

extern "C" unsigned derive_rt_lane() { return current_thread_linear() % DERIVE_WARP; }

