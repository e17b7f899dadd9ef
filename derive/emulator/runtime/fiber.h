// Fibers: one stack a CUDA thread, switched by a dozen instructions.
#pragma once

namespace derive {

using StackPointer = void*;

// Saves the caller's registers on its stack, stores its stack pointer in `*from` and goes on at `to`.
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(DERIVE_UCONTEXT)
extern "C" void derive_fiber_switch(StackPointer* from, StackPointer to) __attribute__((visibility("hidden")));
inline void fiber_switch(StackPointer* from, StackPointer to) { derive_fiber_switch(from, to); }
#else
void fiber_switch(StackPointer* from, StackPointer to);
#endif

// A stack that enters `entry()` at the first switch to it. `entry` must never return.
StackPointer fiber_prepare(char* stack_low, unsigned long stack_size, void (*entry)());

}  // namespace derive
