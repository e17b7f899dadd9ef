// One launch: what is to run, and how it ended.
#pragma once

#include "../include/derive/abi.h"

namespace derive {

// A piece of memory that belongs to a launch: a shared array, a device global, an argument's buffer.
struct Region {
  char* address;
  unsigned long size;
  const char* name;
};

struct Launch {
  const derive_kernel* kernel;
  const derive_module* module;
  derive_dim grid, block;
  unsigned dynamic_shared;
  bool random;
  unsigned long long seed;
  void** args;
  const Region* shared;  // static shared arrays of this kernel
  unsigned shared_count;
};

// LAST_FINDINGS: findings that explain a crash; the runner ends with them.
enum Status { OK = 0, LAUNCH_ERROR = 1, CRASH = 2, FINDINGS = 3, PROTOCOL_ERROR = 4, LAST_FINDINGS = 5 };

// Text that grows, for messages and for what kernels print. Never shrinks its memory.
struct Text {
  char* data = nullptr;
  unsigned long size = 0, capacity = 0;
  void clear() { size = 0; }
  void append(const char* bytes, unsigned long count);
  void format(const char* pattern, ...) __attribute__((format(printf, 2, 3)));
};

extern Text printed;  // what the kernel printed during this launch
extern Text message;  // why the launch failed: its first line lists source lines, the rest is for people

Status run_launch(const Launch& launch);

// The launch that is running, for crash reports; null between launches.
const Launch* current_launch();
derive_dim current_block();
derive_dim current_thread();
bool in_stack_guard(const void* address);

}  // namespace derive
