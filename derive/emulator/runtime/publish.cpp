// Publications: who has made what known through which address, and who has heard of it, directly or from others.
#include "publish.h"

#include <stdlib.h>
#include <string.h>

namespace derive {

struct SyncObject {
  const void* address;
  Publication* by_block;
  unsigned long capacity;
  unsigned long heard_by;  // the block, counted from 1, that last did an atomic here
};
static SyncObject* objects = nullptr;
static unsigned object_count, object_capacity;

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
  for (unsigned i = 0; i < object_count; ++i) free(objects[i].by_block);
  object_count = told_count = 0;
  heard_count = reach_block = 0;
}

static SyncObject* find_object(const void* address) {
  for (unsigned i = 0; i < object_count; ++i)
    if (objects[i].address == address) return &objects[i];
  return nullptr;
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
  if (object == nullptr) {
    if (object_count == object_capacity) {
      object_capacity = object_capacity * 2 + 8;
      objects = static_cast<SyncObject*>(realloc(objects, object_capacity * sizeof *objects));
    }
    object = &objects[object_count++];
    *object = {address, nullptr, 0, 0};
  }
  if (block_count > object->capacity) {
    unsigned long wanted = block_count * 2 + 64;
    object->by_block = static_cast<Publication*>(realloc(object->by_block, wanted * sizeof(Publication)));
    memset(object->by_block + object->capacity, 0, (wanted - object->capacity) * sizeof(Publication));
    object->capacity = wanted;
  }
  Publication& p = object->by_block[block_count - 1];
  const Publication mine = publication();
  told[told_count++ % TOLD] = mine;
  unsigned before = p.fence == 0 ? mine.thread : p.thread, warp = p.warp;
  p = mine;
  if (before != mine.thread) p.thread = THREAD + 1;
  if (warp > p.warp) p.warp = warp;
  hear(address);
}

static bool covers(const Publication& p, const Record& before) {
  if (p.fence == 0) return false;
  unsigned thread = before.who & THREAD;
  if (before.who & ATOMIC && before.time <= p.atomic) return true;
  if (before.time < p.barrier) return true;
  bool several = p.thread > THREAD;
  if ((several || p.thread == thread) && before.time < p.fence) return true;
  return (several || p.thread / DERIVE_WARP == thread / DERIVE_WARP) && before.time < p.warp;
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
    unsigned long earlier = block - 1 < object.capacity ? block - 1 : object.capacity;
    for (unsigned long b = 0; b < earlier; ++b)
      if (object.by_block[b].fence != 0) reached[b] = reach_mark;
  }
}

// Blocks run one after another, so that one pass from the last to the first finds them all.
static void reach_all() {
  if (reach_block == block_count && reach_heard == heard_count) return;
  reach_block = block_count, reach_heard = heard_count;
  if (reached_capacity < block_count) {
    unsigned long wanted = block_count * 2 + 64;
    reached = static_cast<unsigned long*>(realloc(reached, wanted * sizeof *reached));
    memset(reached + reached_capacity, 0, (wanted - reached_capacity) * sizeof *reached);
    reached_capacity = wanted;
  }
  ++reach_mark;
  reach(block_count);
  for (unsigned long b = block_count - 1; b-- > 0;)
    if (reached[b] == reach_mark) reach(b + 1);
}

bool published(const Record& before) {
  unsigned long block = block_index(before.time);
  for (unsigned long i = heard_count; i-- > 0 && heard[i].block == block_count;) {
    const SyncObject& object = objects[heard[i].object];
    if (block < object.capacity && covers(object.by_block[block], before)) return true;
  }
  if (!heard_any()) return false;
  reach_all();
  if (reached[block] != reach_mark) return false;
  for (unsigned i = 0; i < object_count; ++i)
    if (block < objects[i].capacity && covers(objects[i].by_block[block], before)) return true;
  return false;
}

bool told_by(const Record& before, unsigned time) {
  for (unsigned i = 0; i < told_count && i < TOLD; ++i)
    if (told[i].atomic >= block_time && told[i].atomic <= time && covers(told[i], before)) return true;
  return false;
}

}  // namespace derive
