#include "library.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace derive {

// `__shared__` gives each array this ABI tag: sections cannot mark statics of templates, mangled names can.
static const char SHARED_TAG[] = "B13derive_shared";

static char* copy_text(const char* begin, unsigned long count) {
  char* copy = static_cast<char*>(malloc(count + 1));
  memcpy(copy, begin, count);
  copy[count] = 0;
  return copy;
}

// The identifier that ends just before `end`: "_ZZ1kE4tile" -> "tile", read by its length prefix.
static char* last_identifier(const char* begin, const char* end) {
  for (const char* p = end - 1; p > begin; --p) {
    if (p[-1] < '0' || p[-1] > '9') continue;
    const char* digits = p - 1;
    while (digits > begin && digits[-1] >= '0' && digits[-1] <= '9') --digits;
    for (; digits < p; ++digits)
      if (atol(digits) == end - p) return copy_text(p, end - p);
  }
  return copy_text(begin, end - begin);
}

// "_ZZ1kE4tileB13derive_shared" -> "1k"; "_ZL4tileB13derive_shared" -> "".
static char* declaring_function(const char* name, const char* tag) {
  if (strncmp(name, "_ZZ", 3) != 0) return copy_text("", 0);
  const char* end = tag;
  for (const char* p = tag; p > name + 3; --p)
    if (p[-1] == 'E') {
      end = p - 1;
      break;
    }
  return copy_text(name + 3, end - (name + 3));
}

static void add_variable(Library& library, const char* symbol, char* address, unsigned long size) {
  const char* tag = strstr(symbol, SHARED_TAG);
  const char* name = copy_text(symbol, strlen(symbol));
  if (tag != nullptr) {
    library.shared = static_cast<Variable*>(
        realloc(library.shared, sizeof(Variable) * (library.shared_count + 1)));
    library.shared[library.shared_count++] = {{address, size, last_identifier(symbol, tag)}, name,
                                              declaring_function(symbol, tag)};
    return;
  }
  char* plain = strncmp(name, "_Z", 2) == 0 ? last_identifier(name, name + strlen(name)) : copy_text(name, strlen(name));
  library.globals = static_cast<Variable*>(realloc(library.globals, sizeof(Variable) * (library.global_count + 1)));
  library.globals[library.global_count++] = {{address, size, plain}, name, ""};
}

static void read_symbol(Library& library, const Elf64_Shdr* sections, const Elf64_Sym& symbol, const char* name,
                        char* base) {
  if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= SHN_LORESERVE || symbol.st_size == 0) return;
  char* address = base + symbol.st_value;
  int type = ELF64_ST_TYPE(symbol.st_info);
  if (type == STT_FUNC) {
    for (unsigned k = 0; k < library.module->kernel_count; ++k)
      if (reinterpret_cast<char*>(library.module->kernels[k].address) == address)
        library.kernel_symbols[k] = copy_text(name, strlen(name));
  }
  bool writable = sections[symbol.st_shndx].sh_flags & SHF_WRITE;
  bool internal = strncmp(name, "_ZGV", 4) == 0 || strncmp(name, "_ZT", 3) == 0 || strncmp(name, "derive_", 7) == 0 ||
                  strstr(name, "derive_internal") != nullptr || strncmp(name, "__", 2) == 0 ||
                  strcmp(name, "_DYNAMIC") == 0 || strncmp(name, "completed", 9) == 0;
  if (type == STT_OBJECT && (writable || strstr(name, SHARED_TAG)) && !internal)
    add_variable(library, name, address, symbol.st_size);
}

static bool read_symbols(Library& library, char* base) {
  int file = open(library.path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (file < 0 || fstat(file, &info) != 0) return false;
  void* mapped = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return false;
  const char* bytes = static_cast<const char*>(mapped);
  const Elf64_Ehdr* header = reinterpret_cast<const Elf64_Ehdr*>(bytes);
  const Elf64_Shdr* sections = reinterpret_cast<const Elf64_Shdr*>(bytes + header->e_shoff);
  for (unsigned s = 0; s < header->e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const Elf64_Sym* symbols = reinterpret_cast<const Elf64_Sym*>(bytes + sections[s].sh_offset);
    const char* names = bytes + sections[sections[s].sh_link].sh_offset;
    for (unsigned long i = 0; i < sections[s].sh_size / sizeof(Elf64_Sym); ++i)
      read_symbol(library, sections, symbols[i], names + symbols[i].st_name, base);
  }
  munmap(mapped, info.st_size);
  return true;
}

// The loaded object's headers are its first page: they say how far it reaches.
static void find_extent(Library& library, char* base) {
  const Elf64_Ehdr* header = reinterpret_cast<const Elf64_Ehdr*>(base);
  const Elf64_Phdr* segments = reinterpret_cast<const Elf64_Phdr*>(base + header->e_phoff);
  library.low = library.high = base;
  for (unsigned i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == PT_LOAD && base + segments[i].p_vaddr + segments[i].p_memsz > library.high)
      library.high = base + segments[i].p_vaddr + segments[i].p_memsz;
}

Library* load_library(const char* path) {
  message.clear();
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    message.format("\n%s", dlerror());
    return nullptr;
  }
  const derive_module* module = static_cast<const derive_module*>(dlsym(handle, "derive_module_table"));
  link_map* map = nullptr;
  if (module == nullptr || module->abi != DERIVE_ABI || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
    message.format("\n%s was not built for this version of the emulator", path);
    return nullptr;
  }
  Library* library = static_cast<Library*>(calloc(1, sizeof(Library)));
  library->path = copy_text(path, strlen(path));
  library->module = module;
  library->text_base = map->l_addr;
  library->kernel_symbols = static_cast<const char**>(calloc(module->kernel_count + 1, sizeof(char*)));
  find_extent(*library, reinterpret_cast<char*>(map->l_addr));
  read_symbols(*library, reinterpret_cast<char*>(map->l_addr));
  return library;
}

// "_Z5scaleIfEvPf" and "gemm" as they stand inside "_ZZ5scaleIfEvPfE1s" and "_ZZ4gemmE1s".
static bool declared_in(const char* function, const char* kernel) {
  if (kernel == nullptr) return false;
  if (strncmp(kernel, "_Z", 2) == 0) return strcmp(function, kernel + 2) == 0;
  while (*function >= '0' && *function <= '9') ++function;
  return strcmp(function, kernel) == 0;
}

unsigned shared_arrays(const Library& library, unsigned kernel, Region* out, unsigned capacity) {
  unsigned count = 0;
  for (unsigned i = 0; i < library.shared_count && count < capacity; ++i) {
    const Variable& variable = library.shared[i];
    bool foreign = false;
    for (unsigned k = 0; k < library.module->kernel_count; ++k)
      if (k != kernel && declared_in(variable.function, library.kernel_symbols[k])) foreign = true;
    if (!foreign || declared_in(variable.function, library.kernel_symbols[kernel])) out[count++] = variable.region;
  }
  return count;
}

}  // namespace derive
