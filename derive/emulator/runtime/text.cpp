#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch.h"

namespace derive {

Text printed, message;

static void reserve(Text& text, unsigned long extra) {
  if (text.size + extra + 1 <= text.capacity) return;
  text.capacity = (text.size + extra + 1) * 2;
  text.data = static_cast<char*>(realloc(text.data, text.capacity));
}

void Text::append(const char* bytes, unsigned long count) {
  reserve(*this, count);
  memcpy(data + size, bytes, count);
  size += count;
}

static void append_formatted(Text& text, const char* pattern, va_list values) {
  va_list again;
  va_copy(again, values);
  int length = vsnprintf(nullptr, 0, pattern, values);
  if (length > 0) {
    reserve(text, length);
    vsnprintf(text.data + text.size, length + 1, pattern, again);
    text.size += length;
  }
  va_end(again);
}

void Text::format(const char* pattern, ...) {
  va_list values;
  va_start(values, pattern);
  append_formatted(*this, pattern, values);
  va_end(values);
}

}  // namespace derive

// As on a device, what does not fit the buffer is dropped: a million threads that print must not eat the memory.
extern "C" int derive_rt_printf(const char* pattern, ...) {
  if (derive::printed.size > (1u << 20)) return -1;
  va_list values;
  va_start(values, pattern);
  unsigned long before = derive::printed.size;
  derive::append_formatted(derive::printed, pattern, values);
  va_end(values);
  return static_cast<int>(derive::printed.size - before);
}
