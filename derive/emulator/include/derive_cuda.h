// The CUDA execution model in C++20, for text that NVRTC would compile. Stays clear of the C and C++ libraries:
// a kernel then compiles in a fraction of a second, and no name of theirs meets a name of the kernel's.
#pragma once

#include "derive/abi.h"
#include "derive/qualifiers.h"
#include "derive/vectors.h"
#include "derive/math.h"
#include "derive/math_special.h"
#include "derive/math_fast.h"
#include "derive/bits.h"
#include "derive/rounding.h"
#include "derive/simd.h"
#include "derive/warp.h"
#include "derive/atomics.h"
#include "derive/memory.h"
