// The memory that a launch may touch, and the shadow of it.
#include <stdlib.h>

#include "shadow.h"

namespace derive {

bool checking = false;

static Tracked* regions = nullptr;
static unsigned region_count;
static const Library* library;
static char* arena_start;
static unsigned long arena_size;

struct Padding {
  unsigned size;
  const char* unused;
};
static Padding paddings[64];
static unsigned padding_count;

static unsigned long cell_count(const Tracked& region) {
  return (region.size + (1ul << region.shift) - 1) >> region.shift;
}

static void free_records(Tracked& region) {
  region.writes.release();
  region.reads.release();
}

static void new_shadow(Tracked& region) {
  region.writes.allocate(cell_count(region), region.shift == 0);
  region.reads.allocate(cell_count(region), region.shift == 0);
}

static void add_region(char* base, unsigned long size, const char* name, unsigned element, bool shared, bool input,
                       bool initialised) {
  Tracked& region = regions[region_count++];
  unsigned shift = element >= 8 ? 3 : element >= 4 ? 2 : element >= 2 ? 1 : 0;
  region = {base, size, name, shift, shared, input, initialised, {}, {}};
  if (!input) new_shadow(region);  // what is only read needs no memory of its readers
}

// An access smaller than a cell: from now on neighbours in a cell are told apart.
void refine(Tracked& region, unsigned shift) {
  Tracked before = region;
  region.shift = shift;
  new_shadow(region);
  unsigned factor = before.shift - shift;
  unsigned long count = cell_count(region);
  for (unsigned long i = 0; i < count; ++i) {
    Record write = before.writes.get(i >> factor), read = before.reads.get(i >> factor);
    if (write.time != 0) region.writes.set(i, write);
    if (read.time != 0) region.reads.set(i, read);
  }
  free_records(before);
}

void start_check(const Launch& launch, const Library& from, const Buffer* buffers, unsigned count, char* arena,
                 unsigned long arena_bytes) {
  library = &from;
  arena_start = arena;
  arena_size = arena_bytes;
  regions = static_cast<Tracked*>(malloc(sizeof(Tracked) * (count + launch.shared_count + from.global_count + 2)));
  region_count = padding_count = 0;
  for (unsigned i = 0; i < count; ++i)
    add_region(buffers[i].address, buffers[i].size, buffers[i].name, buffers[i].element, false, buffers[i].input,
               buffers[i].initialised);
  add_region(launch.module->dynamic_shared, launch.dynamic_shared, "dynamic shared memory", 4, true, false, false);
  for (unsigned i = 0; i < launch.shared_count; ++i)
    add_region(launch.shared[i].address, launch.shared[i].size, launch.shared[i].name,
               launch.shared[i].size % 4 == 0 ? 4 : launch.shared[i].size % 2 == 0 ? 2 : 1, true, false, false);
  for (unsigned i = 0; i < from.global_count; ++i) {
    const Region& global = from.globals[i].region;  // zeros, where the text gives it no value
    add_region(global.address, global.size, global.name, global.size % 4 == 0 ? 4 : 1, false, false, true);
  }
  add_region(reinterpret_cast<char*>(launch.module->state), sizeof(derive_state), "threadIdx", 4, false, true, true);
  reset_order();
  reset_reports(from.text_base);
  reset_access();
  checking = true;
}

void drop_check() {
  checking = false;
  for (unsigned i = 0; i < region_count; ++i) free_records(regions[i]);
  free(regions);
  regions = nullptr;
}

unsigned finish_check() {
  unsigned findings = write_reports();
  drop_check();
  return findings;
}

Tracked* region_of(const char* address, unsigned long size) {
  for (unsigned i = 0; i < region_count; ++i) {
    unsigned long offset = static_cast<unsigned long>(address - regions[i].base);
    if (offset < regions[i].size && size <= regions[i].size - offset) return &regions[i];
  }
  return nullptr;
}

Tracked* nearest_region(const char* address, unsigned long* distance) {
  Tracked* nearest = nullptr;
  *distance = ~0ul;
  for (unsigned i = 0; i < region_count; ++i) {
    Tracked& region = regions[i];
    if (region.base == reinterpret_cast<char*>(library->module->state)) continue;  // no array of the kernel's
    const char* end = region.base + region.size;
    unsigned long away = address < region.base ? region.base - address : address >= end ? address - end : 0;
    if (away < *distance) *distance = away, nearest = &region;
  }
  return nearest;
}

void add_padding(unsigned size, const char* unused) {
  if (padding_count < sizeof paddings / sizeof *paddings) paddings[padding_count++] = {size, unused};
}

bool is_padding(unsigned long size, unsigned long first, unsigned long last) {
  for (unsigned i = 0; i < padding_count; ++i) {
    if (paddings[i].size != size) continue;
    unsigned long byte = first;
    while (byte <= last && paddings[i].unused[byte]) ++byte;
    if (byte > last) return true;
  }
  return false;
}

bool in_library(const char* address) {
  return static_cast<unsigned long>(address - library->low) < static_cast<unsigned long>(library->high - library->low);
}

bool in_arena(const char* address) { return static_cast<unsigned long>(address - arena_start) < arena_size; }

}  // namespace derive
