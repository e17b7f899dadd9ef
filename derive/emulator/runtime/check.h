// Check mode's view of a launch. In fast mode `checking` is false and none of this runs.
#pragma once

#include "scheduler.h"

namespace derive {

extern bool checking;

void check_block_start();
void check_deadlock();
void check_barrier();
void check_barrier_lines(int line, int other_line);
void check_syncwarp(unsigned warp, unsigned mask);
void check_fence();
void check_lane_outside(unsigned source_lane, int line);

}  // namespace derive
