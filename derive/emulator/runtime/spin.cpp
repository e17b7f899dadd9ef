// Threads that wait in a loop for another's value. They take turns, as on a device; and where nobody writes anything
// any more, the launch ends and says where, instead of never.
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "spin.h"

namespace derive {

unsigned long writes;

static const unsigned PATIENCE = 64;             // looks at one unchanged value before the others get a turn
static const unsigned long HOPELESS = 1ul << 18;  // turns in which nobody wrote

static const void* watched;
static unsigned watcher, looks;
static unsigned long long watched_value;
static unsigned long turns, writes_before;

static unsigned long long value_at(const void* address, unsigned size) {
  unsigned long long value = 0;
  memcpy(&value, address, size < sizeof value ? size : sizeof value);
  return value;
}

void reset_spin() {
  watched = nullptr;
  turns = looks = 0;
}

static void give_turn_at(int line, unsigned long pc) {
  if (writes != writes_before) writes_before = writes, turns = 0;
  if (++turns > HOPELESS) {
    char place[32];
    snprintf(place, sizeof place, line != 0 ? "%lu" : "@%lu", line != 0 ? static_cast<unsigned long>(line) : pc);
    message.clear();
    message.format("%s\n", place);
    describe_place();
    message.format(": waits in line %s for a value that no thread of its block writes. Blocks run one after another "
                   "here: none can wait for a later one, as a barrier of the whole grid does", place);
    fail_launch();
  }
  settle_doubt();
  give_turn();
}

void look(const void* address, unsigned size, int line, unsigned long pc) {
  unsigned long long value = value_at(address, size);
  if (address != watched || watcher != current || value != watched_value) {
    if (address == watched && value != watched_value) ++writes;
    watched = address, watcher = current, watched_value = value, looks = 0;
  } else if (++looks == PATIENCE) {
    looks = 0;
    give_turn_at(line, pc);
  }
}

}  // namespace derive

extern "C" void derive_rt_pause(int line) {
  if (derive::checking)
    derive::give_turn_at(line, 0);
  else
    derive::give_turn();
}
