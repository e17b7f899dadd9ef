// Shadow records of one region: one for each cell, or, where cells are bytes, in groups of four.
#include <sys/mman.h>

#include "shadow.h"

namespace derive {

template <class T>
static T* zeros(unsigned long count) {
  if (count == 0) return nullptr;
  void* memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<T*>(memory);
}

template <class T>
static void unmap(T*& memory, unsigned long count) {
  if (memory != nullptr) munmap(memory, count * sizeof(T));
  memory = nullptr;
}

void Records::allocate(unsigned long count, bool bytes) {
  *this = Records();
  count_ = count;
  unsigned long groups = (count + 3) / 4;
  if (bytes) groups_ = zeros<Group>(groups), apart_ = zeros<Record>(4 * groups);
  if (groups_ == nullptr || apart_ == nullptr) unmap(groups_, groups), unmap(apart_, 4 * groups), each_ = zeros<Record>(count);
}

void Records::release() {
  unsigned long groups = (count_ + 3) / 4;
  unmap(each_, count_);
  unmap(groups_, groups);
  unmap(apart_, 4 * groups);
}

Record Records::in_group(unsigned long cell) const {
  const Group& group = groups_[cell / 4];
  if (group.touched & APART) return apart_[4ul * group.time + cell % 4];
  if (group.touched >> cell % 4 & 1) return {group.time, group.site, group.who[cell % 4]};
  return {0, 0, 0};
}

void Records::set_in_group(unsigned long cell, Record record) {
  Group& group = groups_[cell / 4];
  unsigned char bit = static_cast<unsigned char>(1 << cell % 4);
  if (!(group.touched & APART)) {
    if (record.time == 0) {
      group.touched = static_cast<unsigned char>(group.touched & ~bit);
      return;
    }
    if ((group.touched & ~bit) == 0) group.time = record.time, group.site = record.site;
    if (group.time == record.time && group.site == record.site) {
      group.who[cell % 4] = record.who;
      group.touched |= bit;
      return;
    }
    take_apart(group);
  }
  apart_[4ul * group.time + cell % 4] = record;
  put_together(group);
}

void Records::take_apart(Group& group) {
  Record four[4];
  unsigned long first = static_cast<unsigned long>(&group - groups_) * 4;
  for (unsigned i = 0; i < 4; ++i) four[i] = in_group(first + i);
  unsigned at = used_;
  if (given_back_ != 0) {
    at = given_back_ - 1;
    given_back_ = apart_[4ul * at].time;
  } else {
    ++used_;
  }
  group.time = at;
  group.touched = APART;
  for (unsigned i = 0; i < 4; ++i) apart_[4ul * at + i] = four[i];
}

// If all cells that were touched at all were touched at one time by one line.
void Records::put_together(Group& group) {
  unsigned at = group.time;
  const Record* four = apart_ + 4ul * at;
  Group joint = {0, 0, {}, 0};
  for (unsigned i = 0; i < 4; ++i) {
    if (four[i].time == 0) continue;
    if (joint.touched == 0) joint.time = four[i].time, joint.site = four[i].site;
    if (four[i].time != joint.time || four[i].site != joint.site) return;
    joint.who[i] = four[i].who;
    joint.touched = static_cast<unsigned char>(joint.touched | 1 << i);
  }
  group = joint;
  apart_[4ul * at].time = given_back_;
  given_back_ = at + 1;
}

}  // namespace derive
