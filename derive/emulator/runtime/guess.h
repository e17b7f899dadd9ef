// Where a compare-and-swap loop takes its first guess from: a plain read, which no other thread's atomic operation
// harms, since the compare-and-swap finds out whether the guess was right.
#pragma once

#include "shadow.h"
#include "stacks.h"

namespace derive {

struct Glance {
  const void* address;
  unsigned long pc;
  unsigned thread;
};

// What was read last, by any thread. A guess is compared soon.
class Glances {
 public:
  void add(const void* address, unsigned long pc) { last_[count_++ % LENGTH] = {address, pc, current}; }
  // As `add`, for reads that are many: only where a kernel compares at all.
  void add_if_any(const void* address, unsigned long pc) {
    if (__builtin_expect(any_, 0)) add(address, pc);
  }
  // The running thread compares and swaps what is there.
  void compared(const void* address) {
    any_ = true;
    for (const Glance& glance : last_)
      if (glance.address == address && glance.thread == current) mark_guess(site_of_pc(glance.pc));
  }

 private:
  static const unsigned LENGTH = 8;
  Glance last_[LENGTH] = {};
  unsigned count_ = 0;
  bool any_ = false;
};

}  // namespace derive
