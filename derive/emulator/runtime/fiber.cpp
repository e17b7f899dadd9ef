#include "fiber.h"

#if defined(__x86_64__) && !defined(DERIVE_UCONTEXT)

asm(R"(
.text
.globl derive_fiber_switch
.hidden derive_fiber_switch
.type derive_fiber_switch,@function
derive_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size derive_fiber_switch,.-derive_fiber_switch
)");

namespace derive {

StackPointer fiber_prepare(char* low, unsigned long size, void (*entry)()) {
  // At a function's first instruction the stack pointer is 8 below a multiple of 16.
  void** top = reinterpret_cast<void**>((reinterpret_cast<unsigned long>(low) + size) & ~15ul);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  return top;
}

}  // namespace derive

#elif defined(__aarch64__) && !defined(DERIVE_UCONTEXT)

asm(R"(
.text
.globl derive_fiber_switch
.hidden derive_fiber_switch
.type derive_fiber_switch,%function
derive_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size derive_fiber_switch,.-derive_fiber_switch
)");

namespace derive {

StackPointer fiber_prepare(char* low, unsigned long size, void (*entry)()) {
  unsigned long top = (reinterpret_cast<unsigned long>(low) + size) & ~15ul;
  void** frame = reinterpret_cast<void**>(top - 160);
  for (int i = 0; i < 20; ++i) frame[i] = nullptr;
  frame[11] = reinterpret_cast<void*>(entry);  // x30, the address that `ret` goes to
  return frame;
}

}  // namespace derive

#else

#include <stdlib.h>
#include <ucontext.h>

namespace derive {

// A StackPointer is a ucontext_t here. It lives at the low end of its own stack, the scheduler's in the heap.
void fiber_switch(StackPointer* from, StackPointer to) {
  if (*from == nullptr) *from = calloc(1, sizeof(ucontext_t));
  swapcontext(static_cast<ucontext_t*>(*from), static_cast<ucontext_t*>(to));
}

StackPointer fiber_prepare(char* low, unsigned long size, void (*entry)()) {
  ucontext_t* context = reinterpret_cast<ucontext_t*>((reinterpret_cast<unsigned long>(low) + 63) & ~63ul);
  getcontext(context);
  context->uc_stack.ss_sp = reinterpret_cast<char*>(context + 1) + 64;
  context->uc_stack.ss_size = low + size - static_cast<char*>(context->uc_stack.ss_sp);
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}

}  // namespace derive

#endif
