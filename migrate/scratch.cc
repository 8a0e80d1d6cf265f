#include "migrate/scratch.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "migrate/parts.h"
#include "migrate/proc.h"
#include "migrate/vdso.h"

namespace hob::migrate {

Result<RemoteAddress> syscall_instruction(Tid process, const std::string& name,
                                          RemoteAddress address, std::span<const std::byte> vdso) {
  const size_t usual = find_syscall(vdso);
  constexpr uint16_t kSyscall = 0x050f;
  if (usual != std::string::npos) {
    auto there = proc::read_memory<uint16_t>(process, address + usual);
    if (there && *there == kSyscall) return address + usual;
  }
  const size_t offset = find_syscall(TRY(read_vdso(process, address)));
  if (offset == std::string::npos) return obstacle(name, "its vdso makes no system call");
  return address + offset;
}

Result<Scratch> Scratch::borrow(Foothold foothold, size_t size) {
  const int64_t at = TRY(call_once(
      foothold.thread, foothold.instruction, foothold.registers, SYS_mmap,
      {0, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}));
  if (at == -EACCES)
    return obstacle(foothold.name, "it has forbidden itself memory with code (PR_SET_MDWE)");
  if (at == -EAGAIN)
    return obstacle(foothold.name, "it has locked all the memory that it may (RLIMIT_MEMLOCK)");
  if (at < 0) return Error::sys("borrow memory in", foothold.name, static_cast<int>(-at));
  return Scratch(std::move(foothold), {static_cast<uint64_t>(at)}, size);
}

Scratch::Scratch(Scratch&& other) noexcept
    : foothold_(other.foothold_),
      local_(std::move(other.local_)),
      workspace_(other.workspace_),
      given_away_(std::exchange(other.given_away_, true)) {}

Scratch::~Scratch() {
  if (given_away_) return;
  auto given = call_once(foothold_.thread, foothold_.instruction, foothold_.registers, SYS_munmap,
                         {workspace_.remote().value, workspace_.size()});
  if (!given && given.error().code != ESRCH) log::error("{}", given.error().text);
}

Result<void> Scratch::write() {
  return transfer(SYS_process_vm_writev, "write");
}
Result<void> Scratch::read() {
  return transfer(SYS_process_vm_readv, "read");
}

Result<void> Scratch::transfer(long number, const char* what) {
  iovec local{local_.get(), workspace_.used()};
  iovec remote{reinterpret_cast<void*>(workspace_.remote().value), workspace_.used()};
  const long n = ::syscall(number, foothold_.thread.tid().value, &local, 1, &remote, 1, 0);
  if (n == static_cast<long>(workspace_.used())) return {};
  return Error::sys(std::string(what) + " the scratch memory of", foothold_.name,
                    n < 0 ? errno : EFAULT);
}

}  // namespace hob::migrate
