// Check mode: threads that wait in a loop.
#pragma once

#include "scheduler.h"

namespace derive {

extern unsigned long writes;  // stores that check mode has seen

void reset_spin();
// The running thread reads a place by an atomic operation or as volatile: over and over, it waits for a change.
void look(const void* address, unsigned size, int line, unsigned long pc);

}  // namespace derive
