// Count mode: what each warp asks of memory. Outside of it `counting` is false and none of it runs.
#pragma once

#include "check.h"

namespace derive {

extern bool counting;

// Between these two, `counting` is true. `finish_count` writes the counters into `message`, or only ends it.
void start_count(const Launch& launch, const Library& library, const Buffer* buffers, unsigned count);
void finish_count(bool report);

void count_barrier();    // all threads of the block have come
void count_block_end();  // all have returned

// One access of the current thread.
void count_access(const void* address, unsigned long size, bool is_write, unsigned short site);
void count_atomic(const void* address, unsigned size, bool reads, int line);

}  // namespace derive
