// Check mode's callbacks: the compiler calls one for every load and store of an instrumented kernel
// (-fsanitize=thread, linked to these functions instead of its own library).
#include <string.h>

#include "count.h"
#include "guess.h"
#include "shadow.h"
#include "spin.h"
#include "stacks.h"

namespace derive {

static const unsigned long GUARD = 64 * 1024;  // around each buffer; must equal the launcher's
static const unsigned long STRAYS = 1ul << 20;  // accesses out of bounds after which a launch has told enough
static unsigned long strays;

// A place in the code nearly always touches one region: remember it.
struct Cached {
  unsigned long pc;
  Tracked* region;
  unsigned short site;
};
static const unsigned CACHED = 2048;
static Tracked nowhere = {nullptr, 0, "", 0, false, true, true, {}, {}};
static Cached cache[CACHED];

// A write that would be a race unless it stores what is there already (all threads set one flag): decided when
// the same thread comes here again, after its store.
struct Doubt {
  bool open;
  const char* address;
  unsigned size;
  char before[16];
  unsigned site;
  const Tracked* region;
  unsigned long offset;
  Record other;
  Place place;
};
static Doubt doubt;

static Glances glances;

void settle_doubt() {
  if (!doubt.open) return;
  doubt.open = false;
  if (memcmp(doubt.before, doubt.address, doubt.size) != 0)
    report_race(doubt.site, doubt.region, doubt.offset, "writes", doubt.other, "has written", doubt.place);
}

static inline void settle() {
  if (__builtin_expect(doubt.open, 0)) settle_doubt();
}

void reset_access() {
  for (Cached& c : cache) c = {0, &nowhere, 0};
  doubt.open = false;
  glances = Glances();
  strays = 0;
  reset_flags();
}

static bool is_near(const Tracked* region, unsigned long distance) {
  return region != nullptr && distance <= (region->shared ? DERIVE_DYNAMIC_CAPACITY : GUARD);
}

// x[i - 1] with an unsigned i of 0 lies 2^32 elements after x[-1]. The region that this element is near to, or null.
static Tracked* wrapped_from(const char* address, unsigned long size) {
  for (unsigned long element = size; element <= 256; element *= 2) {
    unsigned long distance;
    Tracked* region = nearest_region(address - (element << 32), &distance);
    if (is_near(region, distance)) return region;
  }
  return nullptr;
}

// The address lies in no region. Reports it; ends the launch if the access itself would do harm.
static void out_of_bounds(const char* address, unsigned long size, bool is_write, unsigned site) {
  const char* verb = is_write ? "writes" : "reads";
  unsigned long distance;
  Tracked* nearest = nearest_region(address, &distance);
  bool known = is_near(nearest, distance);
  if (in_library(address)) {
    const Launch& launch = *current_launch();
    unsigned long beyond = static_cast<unsigned long>(address - launch.module->dynamic_shared);
    bool in_dynamic = beyond < launch.module->dynamic_capacity;
    if (!in_dynamic && (!known || distance >= DERIVE_REDZONE)) return;  // a literal, a table, our own variables
  }
  if (known)
    report_access("out-of-bounds", site, nearest, "%s %lu bytes at byte %ld, but it has %lu bytes", verb, size,
                  static_cast<long>(address - nearest->base), nearest->size);
  else if (Tracked* region = wrapped_from(address, size))
    report_access("out-of-bounds", site, region, "%s %lu bytes at byte %ld, but it has %lu bytes: an unsigned index went below 0",
                  verb, size, static_cast<long>(address - region->base), region->size);
  else
    report_access("out-of-bounds", site, nullptr, "%s %lu bytes at address %p, which belongs to no argument", verb, size,
                  static_cast<const void*>(address));
  bool harmless = in_library(address) || (in_arena(address) && (known || !is_write));
  if (!harmless || ++strays > STRAYS) stop_with_findings();  // a bound that was read there may be any number
}

void report_crash(const void* address, unsigned long pc) {
  if (in_library(reinterpret_cast<const char*>(pc)))
    report_access("out-of-bounds", site_of_pc(pc), nullptr, "uses address %p, which belongs to no argument", address);
}

static void check_misaligned(Tracked* region, unsigned long offset, unsigned size, bool is_write, unsigned site) {
  report_access("misaligned", site, region, "%s %u bytes at byte %lu, which is no multiple of %u",
                is_write ? "writes" : "reads", size, offset, size);
}

// Whether an atomic operation has nothing but atomic ones to be ordered with.
static bool all_atomic(const Record& write) {
  if (write.who & VOLATILE) return true;  // a flag, set as an atomic operation sets it
  if (!(write.who & ATOMIC)) return false;
  if (write.time < block_time) return !(write.who & BLOCK_WROTE);
  return !(write.who & WARP_WROTE) || (write.who & THREAD) / DERIVE_WARP == current / DERIVE_WARP;
}

static const char* said_of(const Tracked& region, const Record& write) {
  if (!(write.who & ATOMIC)) return "has written";
  return ordered(region, write) ? "and others have atomically changed" : "has atomically changed";
}

static void before_write(Tracked& region, unsigned long cell, unsigned long offset, unsigned size, unsigned site,
                         bool atomic, bool is_flag = false) {
  unsigned floor = region.shared ? block_time : 1;
  Record write = region.writes.get(cell);
  if (write.time >= floor && !surely_ordered(write) && !((atomic || is_flag) && all_atomic(write)) &&
      !ordered(region, write)) {
    bool same_block = write.time >= block_time;
    bool neighbours = atomic && write.who & ATOMIC;  // a plain write that came before it
    if (neighbours) write.who &= static_cast<unsigned short>(~ATOMIC), write.site = first_of(write.site);
    if (same_block && !atomic && size <= sizeof doubt.before && !(write.who & ATOMIC)) {
      if (!doubt.open) {
        doubt = {true, region.base + offset, size, {}, site, &region, offset, write, {current_block(), current_thread()}};
        memcpy(doubt.before, region.base + offset, size);
      }
    } else {
      report_race(site, &region, offset, atomic ? "atomically changes" : "writes", write,
                  neighbours ? "or a neighbour has written" : said_of(region, write),
                  {current_block(), current_thread()});
    }
  }
  if (region.reads.none()) return;
  Record read = region.reads.get(cell);
  if (read.time == 0) return;
  bool watched = (atomic || is_flag) && read.who & VOLATILE;  // by threads that wait for this
  if (read.time >= floor && !watched && (!ordered(region, read) || !readers_ordered(region, read)))
    report_race(site, &region, offset, atomic ? "atomically changes" : "writes", read,
                ordered(region, read) ? "or a neighbour has read" : "has read", {current_block(), current_thread()},
                atomic ? READ_BEFORE : ANY);
  bool own = (read.who & ~VOLATILE) == current;  // and of no other thread
  // The next atomic operation must come after it too.
  if (atomic && own && unreleased(read.time) && !is_guess(read.site)) return;
  region.reads.set(cell, {0, 0, 0});
}

// Since the threads last met, this one has read here, or others that stand for it have.
static inline bool known_reader(const Record& read, bool is_volatile = false) {
  if (read.time != now || (read.who & VOLATILE && !is_volatile)) return false;
  unsigned thread = read.who & THREAD;
  unsigned other = thread / DERIVE_WARP == current / DERIVE_WARP ? OTHER_LANE : OTHER_WARP;
  return thread == current || read.who & other;
}

// Whether the part of a read in this cell is padding of the struct that is read.
static bool reads_padding(const Tracked& region, unsigned long cell, unsigned long offset, unsigned long size) {
  unsigned long first = cell << region.shift, last = first + (1ul << region.shift) - 1;
  first = first > offset ? first - offset : 0;
  last = last < offset + size ? last - offset : size - 1;
  return is_padding(size, first, last);
}

static inline void before_read(Tracked& region, unsigned long cell, unsigned long offset, unsigned size, unsigned site,
                               bool is_volatile) {
  unsigned floor = region.shared ? block_time : 1;
  const Record write = region.writes.get(cell);
  if (write.time < floor) {
    if (!region.initialised && !reads_padding(region, cell, offset, size))
      report_access("uninitialized", site, &region, "reads %u bytes at byte %lu, which nothing has written", size,
                    offset);
  } else if (!surely_ordered(write) && !(ordered(region, write) && others_ordered(write))) {
    if (is_volatile && write.who & (ATOMIC | VOLATILE))
      await_fence(region, offset, site, write);
    else
      report_race(site, &region, offset, "reads", write, said_of(region, write), {current_block(), current_thread()},
                  write.who & ATOMIC && all_atomic(write) ? READ_AFTER : ANY);
  }
  if (region.reads.none()) return;
  Record read = region.reads.get(cell);
  bool own_guess = (read.who & ~VOLATILE) == current && is_guess(read.site);  // it stands for none but itself
  if (known_reader(read, is_volatile) && !own_guess) return;
  unsigned who = current | (is_volatile && (read.time < floor || read.who & VOLATILE) ? VOLATILE : 0);
  bool all_before = read.time >= block_time && ordered(region, read) && readers_ordered(region, read);
  if (all_before) {
    // Who comes after this thread comes after them all.
  } else if (read.time >= block_time) {
    who |= read.who & OTHER_BLOCK;
    if (read.time >= barrier_time) {
      who |= read.who & (OTHER_LANE | OTHER_WARP);
      unsigned thread = read.who & THREAD;
      if (thread != current) {
        who |= thread / DERIVE_WARP == current / DERIVE_WARP ? OTHER_LANE : OTHER_WARP;
        // One record for both: the earlier reader's, since a thread often reads just what it is about to write.
        if (!ordered(region, read) && !is_guess(read.site))
          who = (who & ~THREAD) | thread, site = site_pair(read.site, site);
      }
    }
  } else if (read.time >= floor) {
    who |= OTHER_BLOCK;
  }
  region.reads.set(cell, {now, static_cast<unsigned short>(site), static_cast<unsigned short>(who)});
}

static void touch(Tracked& region, unsigned long offset, unsigned long size, bool is_write, unsigned site,
                  bool is_volatile = false) {
  if (is_write && region.input) {
    report_access("write-to-input", site, &region, "writes %lu bytes at byte %lu, but the parameter points to const",
                  size, offset);
    return;
  }
  if (region.input) return;
  writes += is_write;
  if (is_write) note_write(region.shared);
  unsigned long step = 1ul << region.shift;
  if (size < step || (offset | size) & (step - 1)) {
    unsigned shift = __builtin_ctzl(offset | size | step);
    if (shift < region.shift) refine(region, shift);
  }
  unsigned short where = static_cast<unsigned short>(site);
  bool is_flag = is_volatile && is_write && take_fence();
  unsigned short who = static_cast<unsigned short>(current | (is_flag ? VOLATILE : 0));
  unsigned long last = (offset + size - 1) >> region.shift;
  for (unsigned long cell = offset >> region.shift; cell <= last; ++cell) {
    if (is_write) {
      before_write(region, cell, offset, static_cast<unsigned>(size), site, false, is_flag);
      region.writes.set(cell, {now, where, who});
    } else {
      before_read(region, cell, offset, static_cast<unsigned>(size), site, is_volatile);
    }
  }
  if (is_flag) publish(region.base + offset);
}

static inline void access(const void* address, unsigned long size, bool is_write, bool aligned, unsigned long pc,
                          bool is_volatile = false) {
  if (counting) return count_access(address, size, is_write, site_of_pc(pc));
  if (!checking) return;
  const char* place = static_cast<const char*>(address);
  Cached& cached = cache[(pc >> 1) % CACHED];
  Tracked* region = cached.pc == pc ? cached.region : &nowhere;
  unsigned long offset = static_cast<unsigned long>(place - region->base);
  if (offset >= region->size || size > region->size - offset) {
    if (in_stacks(address)) return;
    settle();
    if (cached.pc != pc) cached = {pc, &nowhere, site_of_pc(pc)};
    region = region_of(place, size);
    if (region == nullptr) return out_of_bounds(place, size, is_write, cached.site);
    cached.region = region;
    offset = static_cast<unsigned long>(place - region->base);
  }
  settle();
  if (aligned && reinterpret_cast<unsigned long>(place) & (size - 1))
    check_misaligned(region, offset, static_cast<unsigned>(size), is_write, cached.site);
  if (!is_write && !is_volatile) glances.add(address, pc);
  touch(*region, offset, size, is_write, cached.site, is_volatile);
}

// `volatile`: read in a loop, perhaps, until another thread writes.
static void volatile_read(const void* address, unsigned size, unsigned long pc) {
  if (checking && !counting && region_of(static_cast<const char*>(address), size) != nullptr)
    look(address, size, 0, site_at(site_of_pc(pc)).pc);
  access(address, size, false, true, pc, true);
}

// Most reads, made as short as can be: of one cell of a region that this place has read before, where nothing is new.
template <unsigned SIZE>
static inline __attribute__((always_inline)) bool nothing_new(const void* address, unsigned long pc) {
  if (!checking || counting || doubt.open) return false;
  const Cached& cached = cache[(pc >> 1) % CACHED];
  const Tracked& region = *cached.region;
  unsigned long offset = static_cast<unsigned long>(static_cast<const char*>(address) - region.base);
  if (cached.pc != pc || offset >= region.size || 1u << region.shift != SIZE) return false;
  if (offset % SIZE != 0 || reinterpret_cast<unsigned long>(address) % SIZE != 0) return false;
  if (region.input || region.reads.none()) return false;
  const Record write = region.writes.get(offset / SIZE);
  if (write.time < block_time || write.time >= barrier_time || write.who & OTHERS_BEFORE) return false;
  if (!known_reader(region.reads.get(offset / SIZE))) return false;
  glances.add_if_any(address, pc);
  return true;
}

static void range(const void* address, unsigned long size, bool is_write, unsigned site) {
  if (counting) return count_access(address, size, is_write, static_cast<unsigned short>(site));
  if (!checking || size == 0 || in_stacks(address)) return;
  settle();
  const char* place = static_cast<const char*>(address);
  Tracked* region = region_of(place, size);
  if (region == nullptr) return out_of_bounds(place, size, is_write, site);
  touch(*region, static_cast<unsigned long>(place - region->base), size, is_write, site);
}

}  // namespace derive

using namespace derive;

#define CALLER reinterpret_cast<unsigned long>(__builtin_return_address(0)) - 1
#define DERIVE_CALLBACKS(SIZE)                                                                             \
  extern "C" void __tsan_read##SIZE(void* p) {                                                             \
    if (!nothing_new<SIZE>(p, CALLER)) access(p, SIZE, false, true, CALLER);                               \
  }                                                                                                        \
  extern "C" void __tsan_write##SIZE(void* p) { access(p, SIZE, true, true, CALLER); }                     \
  extern "C" void __tsan_volatile_read##SIZE(void* p) { volatile_read(p, SIZE, CALLER); }            \
  extern "C" void __tsan_volatile_write##SIZE(void* p) { access(p, SIZE, true, true, CALLER, true); }      \
  extern "C" void __tsan_unaligned_read##SIZE(void* p) { access(p, SIZE, false, true, CALLER); }           \
  extern "C" void __tsan_unaligned_write##SIZE(void* p) { access(p, SIZE, true, true, CALLER); }           \
  extern "C" void __tsan_unaligned_volatile_read##SIZE(void* p) { volatile_read(p, SIZE, CALLER); }  \
  extern "C" void __tsan_unaligned_volatile_write##SIZE(void* p) { access(p, SIZE, true, true, CALLER, true); }
DERIVE_CALLBACKS(1)
DERIVE_CALLBACKS(2)
DERIVE_CALLBACKS(4)
DERIVE_CALLBACKS(8)
DERIVE_CALLBACKS(16)

extern "C" void __tsan_read_range(void* p, unsigned long size) { range(p, size, false, site_of_pc(CALLER)); }
extern "C" void __tsan_write_range(void* p, unsigned long size) { range(p, size, true, site_of_pc(CALLER)); }
extern "C" void* __tsan_memcpy(void* to, const void* from, unsigned long size) {
  unsigned site = site_of_pc(CALLER);
  range(from, size, false, site);
  range(to, size, true, site);
  return memcpy(to, from, size);
}
extern "C" void* __tsan_memmove(void* to, const void* from, unsigned long size) {
  unsigned site = site_of_pc(CALLER);
  range(from, size, false, site);
  range(to, size, true, site);
  return memmove(to, from, size);
}
extern "C" void* __tsan_memset(void* to, int value, unsigned long size) {
  range(to, size, true, site_of_pc(CALLER));
  return memset(to, value, size);
}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}

extern "C" void derive_rt_atomic(const volatile void* address, unsigned size, int kind, int line) {
  const void* plain = const_cast<const void*>(address);
  if (counting) return count_atomic(plain, size, kind & 1, line);
  if (!checking || in_stacks(plain)) return;
  settle();
  const char* place = static_cast<const char*>(plain);
  unsigned site = site_of_line(line);
  Tracked* region = region_of(place, size);
  if (region == nullptr) return out_of_bounds(place, size, true, site);
  unsigned long offset = static_cast<unsigned long>(place - region->base);
  look(place, size, line, 0);
  if (reinterpret_cast<unsigned long>(place) & (size - 1)) check_misaligned(region, offset, size, true, site);
  if (region->input) return touch(*region, offset, size, true, site);
  if (size < 1u << region->shift) refine(*region, static_cast<unsigned>(__builtin_ctz(size)));
  if (kind & 4) glances.compared(plain);
  atomic_order(plain);
  unsigned long last = (offset + size - 1) >> region->shift;
  for (unsigned long cell = offset >> region->shift; cell <= last; ++cell) {
    if (kind & 1 && !region->initialised && region->writes.get(cell).time < (region->shared ? block_time : 1))
      report_access("uninitialized", site, region, "atomically changes %u bytes at byte %lu, which nothing has written",
                    size, offset);
    before_write(*region, cell, offset, size, site, true);
    region->writes.set(cell, atomic_record(*region, region->writes.get(cell), static_cast<unsigned short>(site)));
  }
}

// The compiler's own check of each typed access (-fsanitize=alignment). Where it knows the address, as of a place in a
// static array, it takes a misaligned access apart, and the callbacks above see bytes without their type.
struct Mismatch {
  const char* file;
  unsigned line, column;
  const void* type;
  unsigned char align_log2, kind;
};
static const unsigned char LOAD = 0, STORE = 1;  // of `kind`; others touch no memory

extern "C" void __ubsan_handle_type_mismatch_v1(const Mismatch* found, const char* place) {
  if (!checking || counting || found->kind > STORE) return;
  if (found->file[0] == '/') return;  // in our own headers, whose functions tell of their accesses themselves
  Tracked* region = region_of(place, 1);
  if (region == nullptr && !in_stacks(place)) return;  // out of bounds, which its access reports
  unsigned long align = 1ul << found->align_log2;
  unsigned long offset = region == nullptr ? 0 : static_cast<unsigned long>(place - region->base);
  report_access("misaligned", site_of_pc(CALLER), region, "%s what must lie at a multiple of %lu at byte %lu",
                found->kind == LOAD ? "reads" : "writes", align, offset);
}

extern "C" void derive_rt_matrix(const void* place, unsigned long pitch, int line) {
  if (!checking) return;
  const char* first = static_cast<const char*>(place);
  Tracked* region = region_of(first, 1);
  unsigned long offset = region == nullptr ? 0 : static_cast<unsigned long>(first - region->base);
  if (reinterpret_cast<unsigned long>(first) % 32 != 0)
    report_access("misaligned", site_of_line(line), region, "takes a matrix at byte %lu, which is no multiple of 32",
                  offset);
  if (pitch % 16 != 0)
    report_access("misaligned", site_of_line(line), region,
                  "takes a matrix at byte %lu with rows %lu bytes apart, which is no multiple of 16", offset, pitch);
}

extern "C" void derive_rt_copy(const void* from, void* to, unsigned long size, int line) {
  if (!checking && !counting) return;
  unsigned site = site_of_line(line);
  if (from != nullptr) range(from, size, false, site);
  range(to, size, true, site);
}
