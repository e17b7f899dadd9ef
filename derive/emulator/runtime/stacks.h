// The stacks of fibers: mapped on first use, kept for the life of the process, each behind a guard page.
#pragma once

#include "fiber.h"

namespace derive {

inline constexpr int MAX_THREADS = 1024;

struct Stack {
  char* low;
  unsigned long size;
  StackPointer pointer;
};

extern Stack stacks[MAX_THREADS];

// All of them; both null before the first launch.
extern char* stack_area;
extern char* stack_area_end;
inline bool in_stacks(const void* address) { return address >= stack_area && address < stack_area_end; }

// Makes sure that stacks[0..count) are mapped.
void map_stacks(int count);

}  // namespace derive
