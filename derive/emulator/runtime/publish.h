// What threads make known to others through atomic operations and flags.
#pragma once

#include "shadow.h"

namespace derive {

// What is known to whoever sees one address, of the block that wrote it: what its thread did before its fence, its warp
// before they last met, and all threads before a barrier.
struct Publication {
  unsigned fence, barrier, warp, atomic;  // times
  unsigned thread;                        // THREAD + 1 if several did
};

extern unsigned long block_count;  // that have started
unsigned long block_index(unsigned time);

Publication publication();  // of the running thread, now (order.cpp)

void reset_publications();
bool hear(const void* address);  // false if nothing was ever made known through it
bool heard_any();                // by the running block
// Whether an access of an earlier block came before what the running one has heard.
bool published(const Record& before);
// Whether an access of the running block was made known to others of its threads, at this time or before.
bool told_by(const Record& before, unsigned time);

}  // namespace derive
