#include "stacks.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "launch.h"

namespace derive {

Stack stacks[MAX_THREADS];

// Reserved, not used: a page of a stack costs memory when it is first touched. Steps are not a power of
// two, and each stack starts at another offset, so that equal depths do not meet in one set of the cache.
static const unsigned long STACK_SPAN = 256 * 1024 + 4096;
static const unsigned long GUARD = 16 * 1024;
char* stack_area = nullptr;
char* stack_area_end = nullptr;
static int mapped = 0;

void map_stacks(int count) {
  if (stack_area == nullptr) {
    void* reserved = mmap(nullptr, STACK_SPAN * MAX_THREADS, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
      perror("derive emulator: no address space for the stacks of CUDA threads");
      exit(1);
    }
    stack_area = static_cast<char*>(reserved);
    stack_area_end = stack_area + STACK_SPAN * MAX_THREADS;
  }
  for (; mapped < count; ++mapped) {
    char* low = stack_area + STACK_SPAN * mapped + GUARD;
    unsigned long size = STACK_SPAN - GUARD;
    if (mprotect(low, size, PROT_READ | PROT_WRITE) != 0) {
      perror("derive emulator: no memory for the stack of a CUDA thread");
      exit(1);
    }
    unsigned long stagger = (mapped * 5 % 64) * 64;
    stacks[mapped] = {low, size - stagger, nullptr};
  }
}

bool in_stack_guard(const void* address) {
  if (!in_stacks(address)) return false;
  return static_cast<unsigned long>(static_cast<const char*>(address) - stack_area) % STACK_SPAN < GUARD;
}

}  // namespace derive
