// Findings of check mode: one for each kind, place in the source and variable, with the first thread that did it.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shadow.h"

namespace derive {

static const unsigned MAX_SITES = 1 << 16, MAX_FINDINGS = 200;

static Site* sites = nullptr;
static unsigned site_count;
static unsigned short* site_table = nullptr;  // open addressing, twice as many places as sites
static unsigned long text_start;

struct Finding {
  const char* kind;
  Site site, other;
  const char* variable;
  derive_dim block, thread;
  unsigned long count;
  unsigned short guess;  // of a race with an atomic operation: the site that read
  char text[320];
};
static Finding* findings = nullptr;
static unsigned finding_count;
static bool* guesses = nullptr;  // of each site

void reset_reports(unsigned long text_base) {
  if (sites == nullptr) {
    sites = static_cast<Site*>(malloc(MAX_SITES * sizeof(Site)));
    site_table = static_cast<unsigned short*>(malloc(2 * MAX_SITES * sizeof *site_table));
    findings = static_cast<Finding*>(malloc(MAX_FINDINGS * sizeof(Finding)));
    guesses = static_cast<bool*>(malloc(MAX_SITES * sizeof *guesses));
  }
  text_start = text_base;
  site_count = 1;  // 0 is "unknown"
  sites[0] = {0, 0};
  finding_count = 0;
  memset(guesses, 0, MAX_SITES * sizeof *guesses);
  memset(site_table, 0, 2 * MAX_SITES * sizeof *site_table);
}

static unsigned short intern(Site wanted) {
  unsigned long hash = (wanted.pc * 2 + wanted.line) * 0x9e3779b97f4a7c15ul >> 40;
  for (unsigned long i = hash % (2 * MAX_SITES);; i = (i + 1) % (2 * MAX_SITES)) {
    unsigned short found = site_table[i];
    if (found == 0) {
      if (site_count == MAX_SITES) return 0;
      sites[site_count] = wanted;
      return site_table[i] = static_cast<unsigned short>(site_count++);
    }
    if (sites[found].pc == wanted.pc && sites[found].line == wanted.line) return found;
  }
}

// Nothing is checked while an object is loaded, but its start-up code may call.
unsigned short site_of_pc(unsigned long pc) { return sites == nullptr ? 0 : intern({pc - text_start, 0}); }
unsigned short site_of_line(int line) { return intern({0, line}); }
Site site_at(unsigned short number) { return sites[number]; }

static const unsigned long PAIR = 1ul << 63;  // in place of an address: two numbers of sites

unsigned short first_of(unsigned short pair) {
  return sites[pair].pc & PAIR ? static_cast<unsigned short>(sites[pair].pc >> 16) : pair;
}

unsigned short site_pair(unsigned short first, unsigned short other) {
  first = first_of(first);
  return first == other ? first : intern({PAIR | static_cast<unsigned long>(first) << 16 | other, 0});
}

// Of a pair: the first reader's site, unless that is the thread which writes now; of writes the atomic one.
static unsigned short earlier_site(const Record& before) {
  bool own = before.time >= block_time && (before.who & THREAD) == current;
  bool last = own || before.who & ATOMIC;
  bool second = last && sites[before.site].pc & PAIR;
  return second ? static_cast<unsigned short>(sites[before.site].pc) : first_of(before.site);
}

void mark_guess(unsigned short site) { guesses[site] = true; }
bool is_guess(unsigned short site) { return guesses[site]; }

static bool is_dismissed(const Finding& finding) { return finding.guess != 0 && guesses[finding.guess]; }

static unsigned kept_count() {
  unsigned count = 0;
  for (unsigned i = 0; i < finding_count; ++i) count += !is_dismissed(findings[i]);
  return count;
}

bool has_findings() { return kept_count() > 0; }

static bool same_text(const char* a, const char* b) { return a == b || (a && b && strcmp(a, b) == 0); }

// The finding to fill in, or null if it is known already or the list is full.
static Finding* add_finding(const char* kind, Site site, Site other, const char* variable) {
  for (unsigned i = 0; i < finding_count; ++i) {
    Finding& f = findings[i];
    if (strcmp(f.kind, kind) == 0 && f.site.pc == site.pc && f.site.line == site.line && f.other.pc == other.pc &&
        f.other.line == other.line && same_text(f.variable, variable)) {
      ++f.count;
      return nullptr;
    }
  }
  if (finding_count == MAX_FINDINGS) return nullptr;
  Finding& f = findings[finding_count++];
  f = {kind, site, other, variable, current_block(), current_thread(), 1, 0, {}};
  return &f;
}

void report_access(const char* kind, unsigned site, const Tracked* region, const char* format, ...) {
  Finding* finding = add_finding(kind, sites[site], {0, 0}, region ? region->name : nullptr);
  if (finding == nullptr) return;
  va_list values;
  va_start(values, format);
  vsnprintf(finding->text, sizeof finding->text, format, values);
  va_end(values);
}

void report_line(const char* kind, int line, int other_line, const char* format, ...) {
  Finding* finding = add_finding(kind, {0, line}, {0, other_line}, nullptr);
  if (finding == nullptr) return;
  va_list values;
  va_start(values, format);
  vsnprintf(finding->text, sizeof finding->text, format, values);
  va_end(values);
}

Place place_of(const Record& record) {
  const Launch& launch = *current_launch();
  unsigned long long b = block_at(record.time);
  unsigned t = record.who & THREAD;
  derive_dim grid = launch.grid, block = launch.block;
  return {{static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
           static_cast<unsigned>(b / (1ull * grid.x * grid.y))},
          {t % block.x, t / block.x % block.y, t / (block.x * block.y)}};
}

void report_race(unsigned site, const Tracked* region, unsigned long offset, const char* action, const Record& before,
                 const char* then, const Place& place, Meets meets) {
  unsigned short earlier = earlier_site(before);
  Finding* finding = add_finding("race", sites[site], sites[earlier], region->name);
  if (finding == nullptr) return;
  finding->guess = meets == READ_AFTER ? static_cast<unsigned short>(site) : meets == READ_BEFORE ? earlier : 0;
  finding->block = place.block;
  finding->thread = place.thread;
  Place other = place_of(before);
  snprintf(finding->text, sizeof finding->text,
           "%s byte %lu, which thread (%u,%u,%u) of block (%u,%u,%u) %s, and nothing orders the two", action, offset,
           other.thread.x, other.thread.y, other.thread.z, other.block.x, other.block.y, other.block.z, then);
}

// One finding a line: kind, line, pc, other line, other pc, variable, block, thread, count, text.
unsigned write_reports() {
  message.clear();
  for (unsigned i = 0; i < finding_count; ++i) {
    const Finding& f = findings[i];
    if (is_dismissed(f)) continue;
    message.format("%s\t%d\t%lu\t%d\t%lu\t%s\t%u,%u,%u\t%u,%u,%u\t%lu\t%s\n", f.kind, f.site.line, f.site.pc,
                   f.other.line, f.other.pc, f.variable ? f.variable : "", f.block.x, f.block.y, f.block.z, f.thread.x,
                   f.thread.y, f.thread.z, f.count, f.text);
  }
  return kept_count();
}

}  // namespace derive
