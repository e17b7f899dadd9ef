// Count mode: bytes, 32-byte sectors and bank conflicts, from the callbacks that check mode has.
//
// The lanes of a warp run one after another here. What a device issues as one request is put together again: the
// accesses of a warp's lanes from one place in the code that are, since the last barrier, the k-th of each lane.
#include "count.h"

#include <stdlib.h>
#include <string.h>

#include "shadow.h"
#include "stacks.h"

namespace derive {

bool counting = false;

static const unsigned SECTOR = 32, BANKS = 32, BANK_BYTES = 4, MAX_ACCESS = 16, WARPS = MAX_THREADS / DERIVE_WARP;
static const unsigned MAX_OPEN = 1 << 20;  // requests kept until the next barrier; then they are counted early

// A buffer of the caller's, a device global, or shared memory; of what is no shared memory, which sectors were touched.
struct Area {
  char* base;
  unsigned long size;
  const char* name;
  bool shared;
  unsigned long loaded, stored;  // bytes asked for
  unsigned char *read, *written;  // a bit a sector
  unsigned long sectors() const { return (size + SECTOR - 1) / SECTOR; }
};

// What the lanes of one warp ask for together.
struct Request {
  unsigned mask;
  unsigned short size;
  unsigned long address[DERIVE_WARP];
};

struct Requests {
  Request* list;
  unsigned count, capacity;
};

// One place in the code, one kind of memory, reading or writing.
struct Stream {
  unsigned short site;
  bool shared, write;
  unsigned long requests, bytes, wanted, sectors, extra;
  unsigned done[MAX_THREADS];  // by each thread since the last barrier
  Requests warps[WARPS];
};

static Area* areas = nullptr;
static unsigned area_count, last_area;
static Stream** streams = nullptr;  // by site, memory and direction
static Stream** used = nullptr;
static unsigned used_count, used_capacity, open_requests;
static unsigned long barriers;
static const unsigned long STREAMS = 4ul << 16;

static void add_area(char* base, unsigned long size, const char* name, bool shared) {
  Area& area = areas[area_count++];
  area = {base, size, name, shared, 0, 0, nullptr, nullptr};
  if (shared) return;
  area.read = static_cast<unsigned char*>(calloc(area.sectors() / 8 + 1, 1));
  area.written = static_cast<unsigned char*>(calloc(area.sectors() / 8 + 1, 1));
}

void start_count(const Launch& launch, const Library& from, const Buffer* buffers, unsigned count) {
  areas = static_cast<Area*>(malloc(sizeof(Area) * (count + launch.shared_count + from.global_count + 1)));
  area_count = last_area = used_count = open_requests = 0;
  barriers = 0;
  for (unsigned i = 0; i < count; ++i) add_area(buffers[i].address, buffers[i].size, buffers[i].name, false);
  add_area(launch.module->dynamic_shared, launch.dynamic_shared, "dynamic shared memory", true);
  for (unsigned i = 0; i < launch.shared_count; ++i)
    add_area(launch.shared[i].address, launch.shared[i].size, launch.shared[i].name, true);
  for (unsigned i = 0; i < from.global_count; ++i) {
    const Region& global = from.globals[i].region;
    add_area(global.address, global.size, global.name, false);
  }
  if (streams == nullptr) streams = static_cast<Stream**>(calloc(STREAMS, sizeof(Stream*)));
  reset_reports(from.text_base);
  counting = true;
}

static Area* area_of(const char* address, unsigned long size) {
  for (unsigned i = 0; i < area_count; ++i) {
    unsigned at = last_area + i < area_count ? last_area + i : last_area + i - area_count;
    unsigned long offset = static_cast<unsigned long>(address - areas[at].base);
    if (offset < areas[at].size && size <= areas[at].size - offset) {
      last_area = at;
      return &areas[at];
    }
  }
  return nullptr;
}

static Stream& stream_of(unsigned short site, bool shared, bool write) {
  Stream*& stream = streams[site * 4ul + shared * 2u + write];
  if (stream == nullptr) {
    stream = static_cast<Stream*>(calloc(1, sizeof(Stream)));
    stream->site = site;
    stream->shared = shared;
    stream->write = write;
    if (used_count == used_capacity) {
      used_capacity = used_capacity * 2 + 64;
      used = static_cast<Stream**>(realloc(used, used_capacity * sizeof(Stream*)));
    }
    used[used_count++] = stream;
  }
  return *stream;
}

// Adds a request's distinct sectors, and the distinct bytes of them that its lanes want.
static void add_sectors(Stream& stream, const Request& request) {
  unsigned long found[2 * DERIVE_WARP];
  unsigned wanted[2 * DERIVE_WARP];  // a bit a byte
  unsigned count = 0;
  for (unsigned lane = 0; lane < DERIVE_WARP; ++lane) {
    if (!(request.mask >> lane & 1)) continue;
    unsigned long from = request.address[lane], end = from + request.size;
    for (unsigned long sector = from / SECTOR; sector * SECTOR < end; ++sector) {
      unsigned i = count;
      while (i > 0 && found[i - 1] != sector) --i;
      if (i == 0) found[count] = sector, wanted[count] = 0, i = ++count;
      unsigned long low = from > sector * SECTOR ? from - sector * SECTOR : 0;
      unsigned long high = end < (sector + 1) * SECTOR ? end - sector * SECTOR : SECTOR;
      wanted[i - 1] |= static_cast<unsigned>(((1ul << (high - low)) - 1) << low);
    }
  }
  stream.sectors += count;
  for (unsigned i = 0; i < count; ++i) stream.wanted += __builtin_popcount(wanted[i]);
}

// Cycles beyond the first of lanes [from, to): a bank gives one of its words a cycle, to all who ask for that word.
static unsigned extra_of(const Request& request, unsigned from, unsigned to) {
  unsigned long words[DERIVE_WARP * MAX_ACCESS / BANK_BYTES];
  unsigned count = 0, depth[BANKS] = {}, most = 0;
  for (unsigned lane = from; lane < to; ++lane) {
    if (!(request.mask >> lane & 1)) continue;
    unsigned long last = (request.address[lane] + request.size - 1) / BANK_BYTES;
    for (unsigned long word = request.address[lane] / BANK_BYTES; word <= last; ++word) {
      unsigned i = count;
      while (i > 0 && words[i - 1] != word) --i;
      if (i > 0) continue;
      words[count++] = word;
      unsigned in_bank = ++depth[word % BANKS];
      if (in_bank > most) most = in_bank;
    }
  }
  return most > 0 ? most - 1 : 0;
}

static void close(Stream& stream, const Request& request) {
  ++stream.requests;
  stream.bytes += static_cast<unsigned long>(request.size) * __builtin_popcount(request.mask);
  if (!stream.shared) {
    add_sectors(stream, request);
    return;
  }
  // A warp's accesses of 8 bytes are served a half at a time, those of 16 bytes a quarter.
  unsigned lanes = request.size > 8 ? DERIVE_WARP / 4 : request.size > BANK_BYTES ? DERIVE_WARP / 2 : DERIVE_WARP;
  for (unsigned from = 0; from < DERIVE_WARP; from += lanes) stream.extra += extra_of(request, from, from + lanes);
}

static void close_all() {
  for (unsigned i = 0; i < used_count; ++i) {
    Stream& stream = *used[i];
    for (Requests& warp : stream.warps) {
      for (unsigned k = 0; k < warp.count; ++k)
        if (warp.list[k].mask != 0) close(stream, warp.list[k]);
      warp.count = 0;
    }
    memset(stream.done, 0, sizeof stream.done);
  }
  open_requests = 0;
}

void count_barrier() {
  ++barriers;
  close_all();
}

void count_block_end() { close_all(); }

static void add_lane(Stream& stream, unsigned long address, unsigned size) {
  unsigned thread = current_thread_linear(), lane = thread % DERIVE_WARP;
  Requests& warp = stream.warps[thread / DERIVE_WARP];
  for (;;) {
    unsigned k = stream.done[thread]++;
    if (k >= warp.capacity) {
      unsigned capacity = k * 2 + 16;
      warp.list = static_cast<Request*>(realloc(warp.list, capacity * sizeof(Request)));
      warp.capacity = capacity;
    }
    while (warp.count <= k) {
      Request& fresh = warp.list[warp.count++];
      fresh.mask = 0;
      fresh.size = static_cast<unsigned short>(size);
      ++open_requests;
    }
    Request& request = warp.list[k];
    if (request.size != size && request.mask != 0) continue;  // a copy whose last piece is shorter than another lane's
    request.size = static_cast<unsigned short>(size);
    request.mask |= 1u << lane;
    request.address[lane] = address;
    return;
  }
}

static void mark(unsigned char* bits, unsigned long offset, unsigned long size) {
  for (unsigned long sector = offset / SECTOR; sector <= (offset + size - 1) / SECTOR; ++sector)
    bits[sector / 8] |= static_cast<unsigned char>(1u << sector % 8);
}

static void count_one(const char* place, unsigned long size, bool is_write, unsigned short site) {
  Area* area = area_of(place, size);
  if (area == nullptr) return;  // a table, a literal, threadIdx: registers and constants of a device
  (is_write ? area->stored : area->loaded) += size;
  if (!area->shared) mark(is_write ? area->written : area->read, static_cast<unsigned long>(place - area->base), size);
  Stream& stream = stream_of(site, area->shared, is_write);
  for (unsigned long at = 0; at < size; at += MAX_ACCESS)
    add_lane(stream, reinterpret_cast<unsigned long>(place) + at,
             static_cast<unsigned>(size - at < MAX_ACCESS ? size - at : MAX_ACCESS));
  if (open_requests > MAX_OPEN) close_all();
}

void count_access(const void* address, unsigned long size, bool is_write, unsigned short site) {
  if (size != 0 && !in_stacks(address)) count_one(static_cast<const char*>(address), size, is_write, site);
}

void count_atomic(const void* address, unsigned size, bool reads, int line) {
  if (in_stacks(address)) return;
  unsigned short site = site_of_line(line);
  if (reads) count_one(static_cast<const char*>(address), size, false, site);
  count_one(static_cast<const char*>(address), size, true, site);
}

static unsigned long bits_in(const unsigned char* bits, unsigned long count) {
  unsigned long total = 0;
  for (unsigned long i = 0; i <= count / 8; ++i) total += __builtin_popcount(bits[i]);
  return total;
}

// A line a thing: barriers; each buffer with its bytes and its distinct sectors; each place in the code.
void finish_count(bool report) {
  counting = false;
  if (report) message.clear();
  if (report) message.format("barriers\t%lu\n", barriers);
  for (unsigned i = 0; i < area_count; ++i) {
    Area& area = areas[i];
    unsigned long read = area.shared ? 0 : bits_in(area.read, area.sectors());
    unsigned long written = area.shared ? 0 : bits_in(area.written, area.sectors());
    if (report && area.loaded + area.stored > 0)
      message.format("area\t%s\t%d\t%lu\t%lu\t%lu\t%lu\t%lu\n", area.name, area.shared, area.size, area.loaded,
                     area.stored, read, written);
    free(area.read);
    free(area.written);
  }
  free(areas);
  areas = nullptr;
  for (unsigned i = 0; i < used_count; ++i) {
    Stream* stream = used[i];
    Site site = site_at(stream->site);
    if (report)
      message.format("site\t%d\t%lu\t%d\t%d\t%lu\t%lu\t%lu\t%lu\t%lu\n", site.line, site.pc, stream->shared,
                     stream->write, stream->requests, stream->bytes, stream->wanted, stream->sectors, stream->extra);
    for (Requests& warp : stream->warps) free(warp.list);
    streams[stream->site * 4ul + stream->shared * 2u + stream->write] = nullptr;
    free(stream);
  }
  used_count = 0;
}

}  // namespace derive
