#pragma once
#error "the emulator cannot run cooperative groups: use __syncthreads, __syncwarp and the *_sync shuffles"
