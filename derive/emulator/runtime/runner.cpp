// The runner: a process that loads kernels and runs launches for its parent, so that a kernel that crashes
// takes down this process and never the caller's.
//
//   runner ARENA_FD ARENA_BYTES REQUEST_FD REPLY_FD
//
// A request is a length (u32) and that many bytes; so is a reply. Numbers are in the machine's byte order.
//   load:   u32 1, path                       -> status, printed, one line a kernel, one line a variable
//   launch: u32 2, library, kernel, ...       -> status, printed, message
//   share:  u32 3, library, variable, place   -> status: the variable's bytes, copied into the arena
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"
#include "count.h"
#include "library.h"

using namespace derive;

static char* arena = nullptr;
static unsigned long arena_bytes = 0;
static int request_fd, reply_fd;
static Library** libraries = nullptr;
static unsigned library_count = 0;

static bool read_exactly(void* into, unsigned long count) {
  char* place = static_cast<char*>(into);
  while (count > 0) {
    long got = read(request_fd, place, count);
    if (got <= 0) return false;
    place += got;
    count -= got;
  }
  return true;
}

static void write_exactly(const void* from, unsigned long count) {
  const char* place = static_cast<const char*>(from);
  while (count > 0) {
    long put = write(reply_fd, place, count);
    if (put <= 0) _exit(1);
    place += put;
    count -= put;
  }
}

static void reply(unsigned status) {
  unsigned head[3] = {static_cast<unsigned>(8 + printed.size + message.size), status,
                      static_cast<unsigned>(printed.size)};
  write_exactly(head, sizeof head);
  write_exactly(printed.data, printed.size);
  write_exactly(message.data, message.size);
}

// A cursor over the bytes of a request.
struct Reader {
  const char* at;
  const char* end;
  template <class T>
  T take() {
    T value{};
    if (at + sizeof(T) <= end) memcpy(&value, at, sizeof(T));
    at += sizeof(T);
    return value;
  }
};

static void handle_load(Reader reader) {
  char* path = static_cast<char*>(malloc(reader.end - reader.at + 1));
  memcpy(path, reader.at, reader.end - reader.at);
  path[reader.end - reader.at] = 0;
  Library* library = load_library(path);
  free(path);
  if (library == nullptr) return reply(LAUNCH_ERROR);
  libraries = static_cast<Library**>(realloc(libraries, sizeof(Library*) * (library_count + 1)));
  libraries[library_count] = library;
  message.clear();
  message.format("%u\t%u\n", library_count++, library->module->kernel_count);
  for (unsigned k = 0; k < library->module->kernel_count; ++k) {
    const derive_kernel& kernel = library->module->kernels[k];
    Region shared[256];
    unsigned count = shared_arrays(*library, k, shared, 256);
    unsigned long bytes = 0;
    for (unsigned i = 0; i < count; ++i) bytes += shared[i].size;
    message.format("%s\t%lu\t%u\t%s", kernel.name, bytes, kernel.max_threads, kernel.parameters);
    for (unsigned p = 0; p < kernel.param_count; ++p) {
      const derive_param& param = kernel.params[p];
      message.format("\t%u,%u,%u,%u,%u,%u", param.is_pointer, param.is_const, param.element_class, param.size,
                     param.element_size, param.scalar_size);
    }
    message.format("\n");
  }
  for (unsigned i = 0; i < library->global_count; ++i)
    message.format("%s\t%lu\n", library->globals[i].symbol, library->globals[i].region.size);
  reply(OK);
}

// A variable that the caller sees too, at a place of its own in the arena: its value is brought in before a launch,
// and out after it.
struct Shared {
  const Region* variable;
  char* outside;
};
static Shared* shared_variables = nullptr;
static unsigned shared_count = 0;

static const Region* variable_of(const Library& library, unsigned number) {
  return number < library.global_count ? &library.globals[number].region : nullptr;
}

static void bring_in(const Library& library, Reader& reader) {
  unsigned count = reader.take<unsigned>();
  shared_variables = static_cast<Shared*>(realloc(shared_variables, sizeof(Shared) * (count + 1)));
  shared_count = 0;
  for (unsigned i = 0; i < count; ++i) {
    const Region* variable = variable_of(library, reader.take<unsigned>());
    char* outside = arena + reader.take<unsigned long long>();
    if (variable == nullptr) continue;
    shared_variables[shared_count++] = {variable, outside};
    memcpy(variable->address, outside, variable->size);
  }
}

static void bring_out() {
  for (unsigned i = 0; i < shared_count; ++i)
    memcpy(shared_variables[i].outside, shared_variables[i].variable->address, shared_variables[i].variable->size);
  shared_count = 0;
}

static void handle_share(Reader reader) {
  message.clear();
  unsigned library_id = reader.take<unsigned>();
  const Region* variable =
      library_id < library_count ? variable_of(*libraries[library_id], reader.take<unsigned>()) : nullptr;
  if (variable == nullptr) {
    message.format("\nno such variable is loaded");
    return reply(PROTOCOL_ERROR);
  }
  memcpy(arena + reader.take<unsigned long long>(), variable->address, variable->size);
  reply(OK);
}

enum ArgumentTag : unsigned char { VALUE = 0, BUFFER = 1, NULL_POINTER = 2, VARIABLE = 3 };

enum Mode : unsigned { PLAIN = 0, CHECK = 1, COUNT = 2 };

static unsigned buffer_count;

static Buffer* read_buffers(Reader& reader) {
  buffer_count = reader.take<unsigned>();
  Buffer* buffers = static_cast<Buffer*>(calloc(buffer_count + 1, sizeof(Buffer)));
  for (unsigned i = 0; i < buffer_count; ++i) {
    Buffer& buffer = buffers[i];
    buffer.address = arena + reader.take<unsigned long long>();
    buffer.size = reader.take<unsigned long long>();
    buffer.element = reader.take<unsigned>();
    buffer.input = reader.take<unsigned char>() != 0;
    buffer.initialised = reader.take<unsigned char>() != 0;
    unsigned length = reader.take<unsigned>();
    char* name = static_cast<char*>(malloc(length + 1));
    memcpy(name, reader.at, length);
    name[length] = 0;
    reader.at += length;
    buffer.name = name;
  }
  return buffers;
}

static void read_paddings(Reader& reader) {
  for (unsigned count = reader.take<unsigned>(); count > 0; --count) {
    unsigned size = reader.take<unsigned>();
    add_padding(size, reader.at);
    reader.at += size;
  }
}

static void handle_launch(Reader reader) {
  printed.clear();
  message.clear();
  unsigned library_id = reader.take<unsigned>(), kernel_id = reader.take<unsigned>();
  if (library_id >= library_count || kernel_id >= libraries[library_id]->module->kernel_count) {
    message.format("\nno such kernel is loaded");
    return reply(PROTOCOL_ERROR);
  }
  const Library& library = *libraries[library_id];
  Launch launch{};
  launch.module = library.module;
  launch.kernel = &library.module->kernels[kernel_id];
  launch.grid = reader.take<derive_dim>();
  launch.block = reader.take<derive_dim>();
  launch.dynamic_shared = reader.take<unsigned>();
  launch.random = reader.take<unsigned>() != 0;
  launch.seed = reader.take<unsigned long long>();
  Region shared[256];
  launch.shared = shared;
  launch.shared_count = shared_arrays(library, kernel_id, shared, 256);

  const unsigned MAX_ARGS = 256;
  static unsigned long long pointers[MAX_ARGS];
  static void* args[MAX_ARGS];
  unsigned count = reader.take<unsigned>();
  for (unsigned i = 0; i < count && i < MAX_ARGS; ++i) {
    unsigned char tag = reader.take<unsigned char>();
    if (tag == VALUE) {
      unsigned size = reader.take<unsigned>();
      void* copy = aligned_alloc(64, (size + 63) & ~63u);
      memcpy(copy, reader.at, size);
      reader.at += size;
      args[i] = copy;
    } else if (tag == VARIABLE) {  // a place in a variable of this library
      const Region* variable = variable_of(library, reader.take<unsigned>());
      unsigned long long offset = reader.take<unsigned long long>();
      pointers[i] = variable == nullptr ? 0 : reinterpret_cast<unsigned long long>(variable->address + offset);
      args[i] = &pointers[i];
    } else {
      unsigned long long offset = tag == BUFFER ? reader.take<unsigned long long>() : 0;
      pointers[i] = tag == BUFFER ? reinterpret_cast<unsigned long long>(arena + offset) : 0;
      args[i] = &pointers[i];
    }
  }
  launch.args = args;
  bring_in(library, reader);
  unsigned mode = reader.take<unsigned>();
  bool check = mode == CHECK, count_it = mode == COUNT;
  Buffer* buffers = mode != PLAIN ? read_buffers(reader) : nullptr;
  if (check) {
    start_check(launch, library, buffers, buffer_count, arena, arena_bytes);
    read_paddings(reader);
  }
  if (count_it) start_count(launch, library, buffers, buffer_count);
  Status status = run_launch(launch);
  if (check) {
    if (status == LAUNCH_ERROR && !has_findings()) {
      drop_check();
    } else {
      status = finish_check() > 0 ? FINDINGS : OK;
    }
  }
  if (count_it) finish_count(status == OK);
  bring_out();
  for (unsigned i = 0; buffers != nullptr && i < buffer_count; ++i) free(const_cast<char*>(buffers[i].name));
  free(buffers);
  for (unsigned i = 0; i < count && i < MAX_ARGS; ++i)
    if (args[i] != &pointers[i]) free(args[i]);
  reply(status);
}

// Where a signal met the code; 0 on a processor of which that is not known.
static unsigned long place_in_code(void* context) {
  const ucontext_t* at = static_cast<ucontext_t*>(context);
#if defined(__x86_64__)
  return static_cast<unsigned long>(at->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return at->uc_mcontext.pc;
#else
  return at == nullptr;
#endif
}

// The launch died of a signal, or its time is over: say which one and where, then end. The parent starts another runner.
static void on_signal(int number, siginfo_t* info, void* context) {
  const Launch* launch = current_launch();
  if (checking && !has_findings() && number == SIGSEGV && !in_stack_guard(info->si_addr))
    report_crash(info->si_addr, place_in_code(context));
  if (checking && has_findings()) {  // they tell why
    finish_check();
    bring_out();
    reply(LAST_FINDINGS);
    _exit(3);
  }
  message.clear();
  message.format("%s\n", strsignal(number));
  if (launch != nullptr) {
    derive_dim b = current_block(), t = current_thread();
    message.format("block (%u,%u,%u), thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
    if (number == SIGSEGV && in_stack_guard(info->si_addr))
      message.format(": the thread's stack is full (endless recursion, or local arrays over 200 KiB)");
    else if (number == SIGSEGV || number == SIGBUS)
      message.format(": bad address %p", info->si_addr);
  }
  reply(CRASH);
  _exit(3);
}

static void catch_signals() {
  stack_t stack{};
  stack.ss_size = 64 * 1024;
  stack.ss_sp = malloc(stack.ss_size);
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND;
  static const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGTERM};
  for (int number : caught) sigaction(number, &action, nullptr);
  signal(SIGINT, SIG_IGN);  // the parent decides what Ctrl-C means
  signal(SIGPIPE, SIG_IGN);
}

// A kernel may never end; the runner must still end with its parent, whose closing of the pipe shows here.
static void* end_with_parent(void*) {
  pollfd watched{reply_fd, 0, 0};
  for (;;)
    if (poll(&watched, 1, -1) > 0) _exit(0);
}

int main(int count, char** words) {
  if (count < 5) return 2;
  arena_bytes = strtoul(words[2], nullptr, 10);
  request_fd = atoi(words[3]);
  reply_fd = atoi(words[4]);
  void* mapped = mmap(nullptr, arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, atoi(words[1]), 0);
  if (mapped == MAP_FAILED) {
    perror("derive emulator: cannot map the arrays");
    return 1;
  }
  arena = static_cast<char*>(mapped);
  catch_signals();
  pthread_t watcher;
  pthread_create(&watcher, nullptr, end_with_parent, nullptr);
  char* buffer = nullptr;
  for (unsigned size; read_exactly(&size, sizeof size);) {
    buffer = static_cast<char*>(realloc(buffer, size + 1));
    if (!read_exactly(buffer, size)) break;
    Reader reader{buffer, buffer + size};
    unsigned command = reader.take<unsigned>();
    if (command == 1)
      handle_load(reader);
    else if (command == 3)
      handle_share(reader);
    else
      handle_launch(reader);
  }
  return 0;
}
