#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "count.h"
#include "stacks.h"

namespace derive {

static const Launch* launch = nullptr;
static StackPointer scheduler_pointer = nullptr;
static Status status = OK;

unsigned current, thread_count, ready_head, ready_count;
unsigned short ready[MAX_THREADS];
Wait waits[MAX_THREADS];
int wait_lines[MAX_THREADS];
static unsigned started, exited;
static unsigned short start_order[MAX_THREADS], stack_of[MAX_THREADS];
static unsigned short free_stacks[MAX_THREADS];
static unsigned free_count, current_stack;
static derive_dim index_of[MAX_THREADS];
static unsigned long long random_state;

static const unsigned NOBODY = ~0u;

static unsigned long long next_random() {  // splitmix64
  unsigned long long z = (random_state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

static inline void become(unsigned thread) {
  current = thread;
  launch->module->state->thread = index_of[thread];
}

// Threads that were let go come before threads that never ran: fewer stacks are in use, and warm ones.
static inline unsigned take_next(bool* is_new) {
  unsigned unstarted = thread_count - started;
  *is_new = false;
  if (ready_count + unstarted == 0) return NOBODY;
  bool from_ready = ready_count > 0;
  if (__builtin_expect(launch->random, 0)) {
    unsigned pick = next_random() % (ready_count + unstarted);
    from_ready = pick < ready_count;
    if (from_ready) {
      unsigned short* chosen = &ready[(ready_head + pick) % MAX_THREADS];
      unsigned short swapped = ready[ready_head];
      ready[ready_head] = *chosen;
      *chosen = swapped;
    }
  }
  if (from_ready) {
    unsigned thread = ready[ready_head];
    ready_head = (ready_head + 1) % MAX_THREADS;
    --ready_count;
    return thread;
  }
  *is_new = true;
  return start_order[started++];
}

static void thread_main() {
  for (;;) {
    launch->kernel->call(launch->args);
    waits[current] = EXITED;
    ++exited;
    bool is_new;
    unsigned next = take_next(&is_new);
    if (next != NOBODY && is_new) {
      stack_of[next] = current_stack;
      waits[next] = RUNNING;
      become(next);
      continue;
    }
    unsigned mine = current_stack;
    free_stacks[free_count++] = mine;
    if (next == NOBODY) {
      fiber_switch(&stacks[mine].pointer, scheduler_pointer);
    } else {
      current_stack = stack_of[next];
      become(next);
      fiber_switch(&stacks[mine].pointer, stacks[current_stack].pointer);
    }
    __builtin_unreachable();
  }
}

static void enter_new(unsigned thread, StackPointer* from) {
  unsigned stack = free_stacks[--free_count];
  stack_of[thread] = current_stack = stack;
  waits[thread] = RUNNING;
  stacks[stack].pointer = fiber_prepare(stacks[stack].low, stacks[stack].size, thread_main);
  become(thread);
  fiber_switch(from, stacks[stack].pointer);
}

static void enter_ready(unsigned thread, StackPointer* from) {
  current_stack = stack_of[thread];
  become(thread);
  fiber_switch(from, stacks[current_stack].pointer);
}

static void switch_to(unsigned next, bool is_new) {
  unsigned mine = current_stack;
  if (next == NOBODY)
    fiber_switch(&stacks[mine].pointer, scheduler_pointer);
  else if (is_new)
    enter_new(next, &stacks[mine].pointer);
  else
    enter_ready(next, &stacks[mine].pointer);
}

void wait_here(Wait wait, int line) {
  waits[current] = wait;
  wait_lines[current] = line;
  bool is_new;
  unsigned next = take_next(&is_new);
  switch_to(next, is_new);
}

// Threads that never ran come first: two that wait would else take all turns between them.
void give_turn() {
  bool is_new = started < thread_count;
  unsigned next = is_new ? start_order[started++] : take_next(&is_new);
  if (next == NOBODY) return;
  make_ready(current);
  switch_to(next, is_new);
}

static void end_launch(Status why) {
  status = why;
  StackPointer abandoned = stacks[current_stack].pointer;
  fiber_switch(&abandoned, scheduler_pointer);
  __builtin_unreachable();
}

void fail_launch() {
  end_launch(LAUNCH_ERROR);
  __builtin_unreachable();
}

void stop_with_findings() {
  end_launch(FINDINGS);
  __builtin_unreachable();
}

const char* wait_name(Wait wait) {
  switch (wait) {
    case AT_BARRIER: return "__syncthreads";
    case AT_SYNCWARP: return "__syncwarp";
    case AT_SHUFFLE: return "a shuffle";
    case AT_VOTE: return "a vote";
    case AT_ACTIVEMASK: return "__activemask";
    case AT_COLLECTIVE: return "a warp operation";
    case EXITED: return "the end of the kernel";
    case RUNNING: break;
  }
  return "running";
}

void describe_place() {
  derive_dim b = current_block(), t = current_thread();
  message.format("kernel '%s', block (%u,%u,%u), thread (%u,%u,%u)", launch->kernel->name, b.x, b.y, b.z, t.x, t.y,
                 t.z);
}

// Nobody can run and not all have returned: says who waits where.
static void report_deadlock() {
  message.clear();
  bool listed[MAX_THREADS] = {};
  Text people;
  const char* comma = "";
  for (unsigned i = 0; i < thread_count; ++i) {
    if (listed[i] || waits[i] == EXITED) continue;
    unsigned count = 0;
    for (unsigned j = i; j < thread_count; ++j)
      if (waits[j] == waits[i] && wait_lines[j] == wait_lines[i]) listed[j] = true, ++count;
    message.format("%s%d", comma, wait_lines[i]);
    people.format("; %u of %u threads wait at %s in line %d (first: thread (%u,%u,%u))", count, thread_count,
                  wait_name(waits[i]), wait_lines[i], index_of[i].x, index_of[i].y, index_of[i].z);
    comma = ",";
  }
  derive_dim b = launch->module->state->block;
  message.format("\nkernel '%s', block (%u,%u,%u): the threads wait for each other", launch->kernel->name, b.x, b.y,
                 b.z);
  message.append(people.data, people.size);
  if (exited > 0) message.format("; %u threads have returned", exited);
  free(people.data);
}

static void poison_shared() {
  memset(launch->module->dynamic_shared, 0xff, launch->dynamic_shared);
  for (unsigned i = 0; i < launch->shared_count; ++i) memset(launch->shared[i].address, 0xff, launch->shared[i].size);
}

static void shuffle_start_order() {
  for (unsigned i = thread_count - 1; i > 0; --i) {
    unsigned j = next_random() % (i + 1);
    unsigned short kept = start_order[i];
    start_order[i] = start_order[j];
    start_order[j] = kept;
  }
}

static void run_block(derive_dim block, unsigned long long number) {
  launch->module->state->block = block;
  if (launch->random) shuffle_start_order();
  started = ready_head = ready_count = exited = free_count = 0;
  for (unsigned i = thread_count; i > 0; --i) free_stacks[free_count++] = i - 1;
  reset_rendezvous();
  poison_shared();
  if (checking) check_block_start(number);
  do {
    bool is_new;
    unsigned first = take_next(&is_new);
    if (is_new)
      enter_new(first, &scheduler_pointer);
    else
      enter_ready(first, &scheduler_pointer);
    if (status != OK) return;
  } while (exited < thread_count && (resolve_activemask() || (checking && release_stuck())));
  if (counting) count_block_end();
  if (exited == thread_count) return;
  report_deadlock();
  status = LAUNCH_ERROR;
}

// A permutation of [0, count) that needs no memory: multiply and add modulo the count.
struct BlockOrder {
  unsigned long long count, step = 1, start = 0;
  BlockOrder(unsigned long long blocks, bool random) : count(blocks) {
    if (!random || blocks < 2) return;
    start = next_random() % count;
    do step = next_random() % count | 1;
    while (gcd(step, count) != 1);
  }
  static unsigned long long gcd(unsigned long long a, unsigned long long b) { return b == 0 ? a : gcd(b, a % b); }
  unsigned long long operator()(unsigned long long i) const {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(i) * step + start) % count);
  }
};

Status run_launch(const Launch& requested) {
  launch = &requested;
  status = OK;
  random_state = launch->seed * 0x2545f4914f6cdd1dull + 1;
  derive_dim block = launch->block, grid = launch->grid;
  thread_count = block.x * block.y * block.z;
  map_stacks(thread_count);
  for (unsigned i = 0; i < thread_count; ++i) {
    index_of[i] = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    start_order[i] = i;
  }
  launch->module->state->block_dim = block;
  launch->module->state->grid_dim = grid;
  unsigned long long blocks = 1ull * grid.x * grid.y * grid.z;
  BlockOrder order(blocks, launch->random);
  for (unsigned long long i = 0; i < blocks && status == OK; ++i) {
    unsigned long long b = launch->random ? order(i) : i;
    run_block({static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
               static_cast<unsigned>(b / (1ull * grid.x * grid.y))},
              b);
  }
  if (checking) settle_doubt(), settle_reads();
  launch = nullptr;
  return status;
}

const Launch* current_launch() { return launch; }
derive_dim current_block() { return launch->module->state->block; }
derive_dim current_thread() { return index_of[current]; }

}  // namespace derive
