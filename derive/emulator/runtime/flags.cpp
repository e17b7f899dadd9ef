// Flags: a volatile place that one thread writes after a fence and another reads before one orders the two, as in PTX.
#include "shadow.h"

namespace derive {

// A volatile read that nothing orders after the write: a race, unless it waits for a flag and a fence follows.
struct Unfenced {
  bool open;
  const char* address;
  unsigned site;
  const Tracked* region;
  unsigned long offset;
  Record other;
  Place place;
};
static Unfenced unfenced[MAX_THREADS];
static bool any_unfenced;

static void settle_read(Unfenced& read) {
  if (read.open)
    report_race(read.site, read.region, read.offset, "reads", read.other,
                read.other.who & ATOMIC ? "has atomically changed" : "has written", read.place);
  read.open = false;
}

void settle_reads() {
  if (!any_unfenced) return;
  for (Unfenced& read : unfenced) settle_read(read);
  any_unfenced = false;
}

void await_fence(const Tracked& region, unsigned long offset, unsigned site, const Record& write) {
  Unfenced& read = unfenced[current];
  if (read.address != region.base + offset) settle_read(read);
  read = {true, region.base + offset, site, &region, offset, write, {current_block(), current_thread()}};
  any_unfenced = true;
}

bool confirm_read() {
  bool open = unfenced[current].open;
  if (open) acquire(unfenced[current].address);
  unfenced[current].open = false;
  return open;
}

void reset_flags() {
  for (Unfenced& read : unfenced) read.open = false;
  any_unfenced = false;
}

}  // namespace derive
