#include "migrate/vdso.h"

#include <elf.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "migrate/image_check.h"
#include "migrate/proc.h"

namespace hob::migrate {
namespace {

constexpr size_t kMostFunctions = 256;

template <class T>
std::optional<T> at(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::optional<Elf64_Phdr> segment(std::span<const std::byte> vdso, uint32_t type) {
  const auto header = at<Elf64_Ehdr>(vdso, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64)
    return std::nullopt;
  for (uint64_t i = 0; i < header->e_phnum; i++) {
    const auto program = at<Elf64_Phdr>(vdso, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!program) return std::nullopt;
    if (program->p_type == type) return program;
  }
  return std::nullopt;
}

std::string text_at(std::span<const std::byte> bytes, uint64_t offset) {
  std::string text;
  for (; offset < bytes.size() && bytes[offset] != std::byte{0} && text.size() < 64; offset++)
    text += static_cast<char>(bytes[offset]);
  return text;
}

std::string plain_name(const std::string& symbol) {
  constexpr std::string_view kPrefix = "__vdso_";
  return symbol.starts_with(kPrefix) ? symbol.substr(kPrefix.size()) : symbol;
}

/// The system call that does the same, with the same arguments in the same registers.
std::optional<uint32_t> system_call(const std::string& function) {
  constexpr uint32_t kGetrandom = 318;
  static const std::pair<const char*, uint32_t> table[] = {{"clock_gettime", SYS_clock_gettime},
                                                           {"gettimeofday", SYS_gettimeofday},
                                                           {"time", SYS_time},
                                                           {"getcpu", SYS_getcpu},
                                                           {"clock_getres", SYS_clock_getres},
                                                           {"getrandom", kGetrandom}};
  for (const auto& [name, number] : table)
    if (function == name) return number;
  return std::nullopt;
}

// movabs rax, TARGET; jmp rax
constexpr size_t kJump = 12;
void write_jump(std::byte* to, uint64_t target) {
  const uint8_t code[kJump] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
  std::memcpy(to, code, sizeof code);
  std::memcpy(to + 2, &target, sizeof target);
}
// mov eax, NUMBER; syscall; ret
void write_call(std::byte* to, uint32_t number) {
  const uint8_t code[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
  std::memcpy(to, code, sizeof code);
  std::memcpy(to + 1, &number, sizeof number);
}
// mov rax, -ENOSYS; ret
void write_refusal(std::byte* to) {
  const uint8_t code[] = {0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0xc3};
  const int32_t result = -ENOSYS;
  std::memcpy(to, code, sizeof code);
  std::memcpy(to + 3, &result, sizeof result);
}

}  // namespace

Result<std::vector<VdsoFunction>> vdso_functions(std::span<const std::byte> vdso) {
  const auto dynamic = segment(vdso, PT_DYNAMIC);
  if (!dynamic) return invalid("its vdso is malformed");
  uint64_t symbols = 0, strings = 0;
  for (uint64_t i = 0;; i++) {
    const auto entry = at<Elf64_Dyn>(vdso, dynamic->p_offset + i * sizeof(Elf64_Dyn));
    if (!entry) return invalid("its vdso is malformed");
    if (entry->d_tag == DT_NULL) break;
    if (entry->d_tag == DT_SYMTAB) symbols = entry->d_un.d_ptr;
    if (entry->d_tag == DT_STRTAB) strings = entry->d_un.d_ptr;
  }
  // Nothing but hash tables says how many symbols there are; linkers put the names behind them.
  if (symbols == 0 || strings <= symbols || strings > vdso.size())
    return invalid("its vdso is malformed");
  std::vector<VdsoFunction> functions;
  for (uint64_t i = symbols; i + sizeof(Elf64_Sym) <= strings; i += sizeof(Elf64_Sym)) {
    const auto symbol = at<Elf64_Sym>(vdso, i);
    if (!symbol || symbol->st_shndx == SHN_UNDEF) continue;
    if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC) continue;
    if (symbol->st_value >= vdso.size() || symbol->st_size > vdso.size() - symbol->st_value ||
        functions.size() == kMostFunctions)
      return invalid("a function of its vdso is misplaced");
    functions.push_back(
        {plain_name(text_at(vdso, strings + symbol->st_name)), symbol->st_value, symbol->st_size});
  }
  return functions;
}

uint64_t vdso_size(std::span<const std::byte> vdso) {
  const auto load = segment(vdso, PT_LOAD);
  constexpr uint64_t kMost = 1 << 20;
  if (!load || load->p_offset != 0 || load->p_memsz > kMost) return 0;
  return (load->p_memsz + kPage - 1) & ~(kPage - 1);
}

Result<Bytes> redirect_vdso(std::span<const std::byte> theirs, std::span<const std::byte> ours,
                            RemoteAddress where) {
  const auto own = TRY(vdso_functions(ours));
  Bytes copy(theirs.begin(), theirs.end());
  for (const VdsoFunction& f : TRY(vdso_functions(theirs))) {
    // Functions are aligned: what follows a short one is padding.
    constexpr uint64_t kAlignment = 16;
    const uint64_t room = f.offset % kAlignment == 0 ? std::max(f.size, kAlignment) : f.size;
    if (room < kJump || f.offset + room > copy.size())
      return invalid("a function of its vdso is too short to be redirected");
    std::byte* code = copy.data() + f.offset;
    const auto same = std::find_if(own.begin(), own.end(),
                                   [&](const VdsoFunction& o) { return o.name == f.name; });
    if (same != own.end())
      write_jump(code, where.value + same->offset);
    else if (auto number = system_call(f.name))
      write_call(code, *number);
    else
      write_refusal(code);
  }
  return copy;
}

Result<Bytes> read_vdso(Tid process, RemoteAddress address) {
  Bytes bytes(kPage);
  TRY(proc::read_memory(process, address, bytes.data(), bytes.size()));
  const uint64_t size = vdso_size(bytes);
  if (size == 0)
    return Error{"read the vdso of process " + std::to_string(process.value) +
                     ": something else is at its place",
                 ENOEXEC};
  bytes.resize(size);
  TRY(proc::read_memory(process, address, bytes.data(), bytes.size()));
  return bytes;
}

std::optional<RemoteAddress> vdso_address(std::span<const std::byte> auxv) {
  for (uint64_t i = 0;; i += sizeof(Elf64_auxv_t)) {
    const auto entry = at<Elf64_auxv_t>(auxv, i);
    if (!entry || entry->a_type == AT_NULL) return std::nullopt;
    if (entry->a_type == AT_SYSINFO_EHDR) return RemoteAddress{entry->a_un.a_val};
  }
}

}  // namespace hob::migrate
