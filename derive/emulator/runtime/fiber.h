// Fibers: one stack a CUDA thread, switched by a dozen instructions.
#pragma once

namespace derive {

using StackPointer = void*;

// Saves the caller's registers on its stack, stores its stack pointer in `*from` and goes on at `to`.
void fiber_switch(StackPointer* from, StackPointer to);

// A stack that enters `entry()` at the first switch to it. `entry` must never return.
StackPointer fiber_prepare(char* stack_low, unsigned long stack_size, void (*entry)());

}  // namespace derive
