// The threads of one block: who runs, who waits, and for what.
#pragma once

#include "launch.h"
#include "stacks.h"

namespace derive {

enum Wait : unsigned char { RUNNING, AT_BARRIER, AT_SYNCWARP, AT_SHUFFLE, AT_VOTE, AT_ACTIVEMASK, AT_COLLECTIVE, EXITED };

// The calling fiber gives way until it is made ready again.
void wait_here(Wait wait, int line);
// The calling fiber goes on after the others have had a turn.
void give_turn();

// Ends the launch with `message` as it stands; does not return.
[[noreturn]] void fail_launch();
// Ends the launch because going on would do harm; check mode has the reason.
[[noreturn]] void stop_with_findings();
// Writes "kernel 'k', block (0,0,0), thread (3,0,0)" into `message`.
void describe_place();
const char* wait_name(Wait wait);

// Used at every meeting of threads, so no calls between files.
extern unsigned current, thread_count, ready_head, ready_count;
extern unsigned short ready[MAX_THREADS];  // a ring
extern Wait waits[MAX_THREADS];
extern int wait_lines[MAX_THREADS];
inline unsigned current_thread_linear() { return current; }
inline unsigned block_threads() { return thread_count; }
inline void make_ready(unsigned thread) {
  waits[thread] = RUNNING;
  ready[(ready_head + ready_count++) % MAX_THREADS] = static_cast<unsigned short>(thread);
}

// Rendezvous (rendezvous.cpp): forgotten before each block; true if waiting activemask groups were let go.
void reset_rendezvous();
bool resolve_activemask();
// Check mode: reports threads that wait for others that will not come, and lets them go.
bool release_stuck();

}  // namespace derive
