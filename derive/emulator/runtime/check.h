// Check mode: what the scheduler and the rendezvous tell it. In fast mode `checking` is false and none of it runs.
#pragma once

#include "library.h"
#include "scheduler.h"

namespace derive {

extern bool checking;

// One buffer that the caller passed, as check mode sees it.
struct Buffer {
  char* address;
  unsigned long size;
  unsigned element;  // bytes of its scalar: what one thread may touch without touching its neighbour's
  bool input, initialised;
  const char* name;
};

// Between these two, `checking` is true. `finish_check` writes the findings into `message`.
void start_check(const Launch& launch, const Library& library, const Buffer* buffers, unsigned count, char* arena,
                 unsigned long arena_bytes);
// A struct of the kernels has this size; `unused` has a byte for each of its, 1 where no member lies. It must outlive
// the launch.
void add_padding(unsigned size, const char* unused);
unsigned finish_check();
bool has_findings();
void drop_check();  // ends it and leaves `message` alone

void check_block_start(unsigned long long block);
void check_barrier();
void check_syncwarp(unsigned warp, unsigned mask);
void check_fence();
void settle_doubt();  // the launch ends: what waits for one more look is decided now
void settle_reads();  // the block ends: no fence will come any more after its volatile reads

// An access through a pointer gone astray that no check foresaw, if it is the kernel's own.
void report_crash(const void* address, unsigned long pc);

// A finding at a source line, with the text after the place; `other_line` is 0 if there is none.
void report_line(const char* kind, int line, int other_line, const char* format, ...)
    __attribute__((format(printf, 4, 5)));

}  // namespace derive
