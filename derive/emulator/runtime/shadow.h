// Check mode's memory of who touched what: shadow records, kept beside each region of memory.
#pragma once

#include "check.h"

namespace derive {

// The last access of one kind to a cell. `time` counts synchronisations; 0 means never. A block runs to its end
// before the next one starts, so a time also tells the block.
struct Record {
  unsigned time;
  unsigned short site;
  unsigned short who;  // thread, and the flags below
};
inline constexpr unsigned THREAD = (1 << 10) - 1;
inline constexpr unsigned ATOMIC = 1 << 10;
// Of reads: since the last barrier, another lane of the same warp, another warp, or another block read it too.
inline constexpr unsigned OTHER_LANE = 1 << 11, OTHER_WARP = 1 << 12, OTHER_BLOCK = 1 << 13;
// Of an atomic write: a plain one of its block, or since the last barrier of its warp, came before. It was ordered before
// this one, but need not be before what others do.
inline constexpr unsigned BLOCK_WROTE = 1 << 11, WARP_WROTE = 1 << 12;
// Of an atomic write too: atomic operations of other threads of its block, or of other blocks, came before, unordered.
inline constexpr unsigned OTHERS_HERE = 1 << 13, OTHERS_BEFORE = 1 << 15;
// Of a write: `volatile` and the thread's first after a fence, as a flag is set. Of reads: all of them volatile.
inline constexpr unsigned VOLATILE = 1 << 14;

// One record a cell, with time 0 before the first. Those of single bytes are kept by four: nearly always one line touched
// them at one time, and they take half the memory; where that is not so, the four are kept apart.
class Records {
 public:
  void allocate(unsigned long count, bool bytes);
  void release();
  bool none() const { return each_ == nullptr && groups_ == nullptr; }
  Record get(unsigned long cell) const { return groups_ == nullptr ? each_[cell] : in_group(cell); }
  void set(unsigned long cell, Record record) {
    if (groups_ == nullptr)
      each_[cell] = record;
    else
      set_in_group(cell, record);
  }

 private:
  struct Group {
    unsigned time;  // or which four of `apart_`
    unsigned short site, who[4];
    unsigned char touched;  // a bit for each cell, or APART
  };
  static constexpr unsigned char APART = 1 << 4;
  Record in_group(unsigned long cell) const;
  void set_in_group(unsigned long cell, Record record);
  void take_apart(Group& group);
  void put_together(Group& group);

  unsigned long count_ = 0;
  Record* each_ = nullptr;
  Group* groups_ = nullptr;
  Record* apart_ = nullptr;         // room for all groups; what is not used takes no memory
  unsigned used_ = 0, given_back_ = 0;  // fours of it: how many were ever taken, and 1 + the first that is free again
};

struct Tracked {
  char* base;
  unsigned long size;
  const char* name;
  unsigned shift;  // a cell is 1 << shift bytes
  bool shared, input, initialised;
  Records writes, reads;
};

struct Site {
  unsigned long pc;  // of the instrumented access, or 0
  int line;          // of a call that knows its line, or 0
};

// Sites (report.cpp)
unsigned short site_of_pc(unsigned long pc);
unsigned short site_of_line(int line);
// Where the first of several threads read, and where the last of the others did; or of a plain write and an atomic one.
unsigned short site_pair(unsigned short first, unsigned short other);
Site site_at(unsigned short number);
unsigned short first_of(unsigned short pair);  // or the site itself
void report_access(const char* kind, unsigned site, const Tracked* region, const char* format, ...)
    __attribute__((format(printf, 4, 5)));
void reset_reports(unsigned long text_base);
unsigned write_reports();
// "block (1,0,0), thread (5,0,0)" of a record, for messages.
struct Place {
  derive_dim block, thread;
};
// Which of a race's two accesses is a plain read, if the other is atomic.
enum Meets { ANY, READ_AFTER, READ_BEFORE };
// The access at `place` does `action`, after the thread of `before` did `then`.
void report_race(unsigned site, const Tracked* region, unsigned long offset, const char* action, const Record& before,
                 const char* then, const Place& place, Meets meets = ANY);
// A thread has compared and swapped what it had read at this site: that is where a loop takes its first guess from, and
// no other thread's atomic operation does it harm.
void mark_guess(unsigned short site);
bool is_guess(unsigned short site);
Place place_of(const Record& record);

// Accesses (access.cpp)
void reset_access();

// Order (order.cpp)
extern unsigned now, block_time, barrier_time;
void reset_order();
bool ordered(const Tracked& region, const Record& before);
// The common cases of it: the running thread's own, or before the block's last barrier.
inline bool surely_ordered(const Record& before) {
  if (before.time < block_time || before.who & OTHERS_BEFORE) return false;
  return before.time < barrier_time || ((before.who & THREAD) == current && !(before.who & OTHERS_HERE));
}
// Whether all atomic operations that the flags of `before` stand for came before what this thread reads.
bool others_ordered(const Record& before);
// Whether all readers that the flags of `before` stand for came before this thread.
bool readers_ordered(const Tracked& region, const Record& before);
void atomic_order(const void* address);
void note_write(bool shared);  // of the running thread
// Whether no other thread can know what the running one did since this time: no barrier, no fence, no __syncwarp.
bool unreleased(unsigned time);
// The record of the running thread's atomic operation, after this one; it may have to stand for both.
Record atomic_record(const Tracked& region, const Record& before, unsigned short site);
// Whether the running thread has fenced for the others since it was last asked; a flag set then makes known what it did.
bool take_fence();
void publish(const void* address);
void acquire(const void* address);  // the flag at this address was seen, and a fence came after
unsigned long long block_at(unsigned time);

// Flags (flags.cpp)
void reset_flags();
// The running thread has a volatile read of what an atomic operation, or a volatile write after a fence, has put there.
void await_fence(const Tracked& region, unsigned long offset, unsigned site, const Record& write);
// The running thread fences: if such a read came before, it is ordered after the write. True if there was one.
bool confirm_read();

// Regions (regions.cpp)
Tracked* region_of(const char* address, unsigned long size);
Tracked* nearest_region(const char* address, unsigned long* distance);
bool in_library(const char* address);
bool in_arena(const char* address);
void refine(Tracked& region, unsigned shift);
// Whether bytes `first` to `last` of a value of this size are between the members of a struct, which is copied whole.
bool is_padding(unsigned long size, unsigned long first, unsigned long last);

}  // namespace derive
