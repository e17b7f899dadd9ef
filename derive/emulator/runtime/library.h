// A kernel's shared object, loaded: its kernels, and where its shared arrays and device globals lie.
#pragma once

#include "launch.h"

namespace derive {

struct Variable {
  Region region;
  const char* symbol;    // mangled
  const char* function;  // mangled name of the function that declares a shared array; empty at file scope
};

struct Library {
  char* path;
  const derive_module* module;
  Variable* shared;
  unsigned shared_count;
  Variable* globals;
  unsigned global_count;
  const char** kernel_symbols;  // mangled, one a kernel
  char *low, *high;              // where it is mapped
  unsigned long text_base;      // subtract it from a return address to get an address of the file
};

// Null, with the reason in `message`, if it cannot be loaded.
Library* load_library(const char* path);

// The static shared arrays that a launch of this kernel has: its own and those of device functions.
unsigned shared_arrays(const Library& library, unsigned kernel, Region* out, unsigned capacity);

}  // namespace derive
