// Publications: who has made what known through which address, and who has heard of it, directly or from others.
#include "publish.h"

#include <stdlib.h>
#include <string.h>

namespace derive {

// What one block has made known through one address; blocks are counted from 1.
struct OfBlock {
  unsigned long block;
  Publication known;
};

struct SyncObject {
  const void* address;
  OfBlock* parts;  // in the order of execution
  unsigned long count, capacity;
  unsigned long heard_by;  // the block that last did an atomic here
};
static SyncObject* objects = nullptr;
static unsigned object_count, object_capacity;
static unsigned* table = nullptr;  // open addressing: 1 + the number of an object; at most half of it is full
static unsigned long table_size;

// Which objects each block has heard of: its part of one list.
struct Heard {
  unsigned long block;
  unsigned object;
};
static Heard* heard = nullptr;
static unsigned long heard_count, heard_capacity;

// The blocks that the running one has heard of, from them or from others: a mark of when that was found out.
static unsigned long* reached = nullptr;
static unsigned long reached_capacity, reach_mark, reach_block, reach_heard;

static const unsigned TOLD = 64;
static Publication told[TOLD];  // the last ones of the running block
static unsigned told_count;

void reset_publications() {
  for (unsigned i = 0; i < object_count; ++i) free(objects[i].parts);
  object_count = told_count = 0;
  heard_count = reach_block = 0;
  if (table != nullptr) memset(table, 0, table_size * sizeof *table);
}

static unsigned& slot_of(const void* address) {
  unsigned long at = reinterpret_cast<unsigned long>(address) * 0x9e3779b97f4a7c15ul >> 32;
  for (;; ++at) {
    unsigned& slot = table[at % table_size];
    if (slot == 0 || objects[slot - 1].address == address) return slot;
  }
}

static SyncObject* find_object(const void* address) {
  if (object_count == 0) return nullptr;
  unsigned slot = slot_of(address);
  return slot == 0 ? nullptr : &objects[slot - 1];
}

static SyncObject* add_object(const void* address) {
  if (object_count == object_capacity) {
    object_capacity = object_capacity * 2 + 8;
    objects = static_cast<SyncObject*>(realloc(objects, object_capacity * sizeof *objects));
    free(table);
    table_size = 2ul * object_capacity;
    table = static_cast<unsigned*>(calloc(table_size, sizeof *table));
    for (unsigned i = 0; i < object_count; ++i) slot_of(objects[i].address) = i + 1;
  }
  objects[object_count] = {address, nullptr, 0, 0, 0};
  slot_of(address) = object_count + 1;
  return &objects[object_count++];
}

bool hear(const void* address) {
  SyncObject* object = find_object(address);
  if (object == nullptr) return false;
  if (object->heard_by == block_count) return true;
  object->heard_by = block_count;
  if (heard_count == heard_capacity) {
    heard_capacity = heard_capacity * 2 + 64;
    heard = static_cast<Heard*>(realloc(heard, heard_capacity * sizeof *heard));
  }
  heard[heard_count++] = {block_count, static_cast<unsigned>(object - objects)};
  return true;
}

bool heard_any() { return heard_count > 0 && heard[heard_count - 1].block == block_count; }

void publish(const void* address) {
  SyncObject* object = find_object(address);
  if (object == nullptr) object = add_object(address);
  const Publication mine = publication();
  told[told_count++ % TOLD] = mine;
  if (object->count > 0 && object->parts[object->count - 1].block == block_count) {
    Publication& p = object->parts[object->count - 1].known;
    unsigned thread = p.thread == mine.thread ? p.thread : THREAD + 1, warp = p.warp > mine.warp ? p.warp : mine.warp;
    p = mine;
    p.thread = thread, p.warp = warp;
  } else {
    if (object->count == object->capacity) {
      object->capacity = object->capacity * 2 + 1;
      object->parts = static_cast<OfBlock*>(realloc(object->parts, object->capacity * sizeof(OfBlock)));
    }
    object->parts[object->count++] = {block_count, mine};
  }
  hear(address);
}

static bool covers(const Publication& p, const Record& before) {
  unsigned thread = before.who & THREAD;
  if (before.who & ATOMIC && before.time <= p.atomic) return true;
  if (before.time < p.barrier) return true;
  bool several = p.thread > THREAD;
  if ((several || p.thread == thread) && before.time < p.fence) return true;
  return (several || p.thread / DERIVE_WARP == thread / DERIVE_WARP) && before.time < p.warp;
}

static bool covers(const SyncObject& object, unsigned long block, const Record& before) {
  unsigned long low = 0, high = object.count;
  while (low < high) {
    unsigned long middle = (low + high) / 2;
    if (object.parts[middle].block < block)
      low = middle + 1;
    else
      high = middle;
  }
  return low < object.count && object.parts[low].block == block && covers(object.parts[low].known, before);
}

// Where the objects stand that a block has heard of.
static unsigned long first_heard(unsigned long block) {
  unsigned long low = 0, high = heard_count;
  while (low < high) {
    unsigned long middle = (low + high) / 2;
    if (heard[middle].block < block)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static void reach(unsigned long block) {
  for (unsigned long i = first_heard(block); i < heard_count && heard[i].block == block; ++i) {
    const SyncObject& object = objects[heard[i].object];
    for (unsigned long k = 0; k < object.count && object.parts[k].block < block; ++k)
      reached[object.parts[k].block] = reach_mark;
  }
}

// Blocks run one after another, so that one pass from the last to the first finds them all.
static void reach_all() {
  if (reach_block == block_count && reach_heard == heard_count) return;
  reach_block = block_count, reach_heard = heard_count;
  if (reached_capacity <= block_count) {
    unsigned long wanted = block_count * 2 + 64;
    reached = static_cast<unsigned long*>(realloc(reached, wanted * sizeof *reached));
    memset(reached + reached_capacity, 0, (wanted - reached_capacity) * sizeof *reached);
    reached_capacity = wanted;
  }
  ++reach_mark;
  reach(block_count);
  for (unsigned long b = block_count - 1; b > 0; --b)
    if (reached[b] == reach_mark) reach(b);
}

bool published(const Record& before) {
  unsigned long block = block_index(before.time) + 1;
  for (unsigned long i = heard_count; i-- > 0 && heard[i].block == block_count;)
    if (covers(objects[heard[i].object], block, before)) return true;
  if (!heard_any()) return false;
  reach_all();
  if (reached[block] != reach_mark) return false;
  for (unsigned i = 0; i < object_count; ++i)
    if (covers(objects[i], block, before)) return true;
  return false;
}

bool told_by(const Record& before, unsigned time) {
  for (unsigned i = 0; i < told_count && i < TOLD; ++i)
    if (told[i].atomic >= block_time && told[i].atomic <= time && covers(told[i], before)) return true;
  return false;
}

}  // namespace derive
