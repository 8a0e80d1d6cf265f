#include "migrate/injector.h"

#include <algorithm>

namespace hob::migrate {
namespace {

// rbx: the next row, r12: how many are left.
constexpr uint8_t kLoop[] = {
    0x4d, 0x85, 0xe4,        //  0: test r12, r12
    0x74, 0x2a,              //  3: jz   done
    0x48, 0x8b, 0x03,        //  5: mov  rax, [rbx]
    0x48, 0x8b, 0x7b, 0x08,  //  8: mov  rdi, [rbx+8]
    0x48, 0x8b, 0x73, 0x10,  //  c: mov  rsi, [rbx+16]
    0x48, 0x8b, 0x53, 0x18,  // 10: mov  rdx, [rbx+24]
    0x4c, 0x8b, 0x53, 0x20,  // 14: mov  r10, [rbx+32]
    0x4c, 0x8b, 0x43, 0x28,  // 18: mov  r8,  [rbx+40]
    0x4c, 0x8b, 0x4b, 0x30,  // 1c: mov  r9,  [rbx+48]
    0x0f, 0x05,              // 20: syscall
    0x48, 0x89, 0x43, 0x38,  // 22: mov  [rbx+56], rax
    0x48, 0x83, 0xc3, 0x40,  // 26: add  rbx, 64
    0x49, 0xff, 0xcc,        // 2a: dec  r12
    0xeb, 0xd1,              // 2d: jmp  0
    0xcc,                    // 2f: done: int3
};
static_assert(sizeof kLoop == 48);

constexpr uint8_t kTouchTiles[] = {
    0xc4, 0xe2, 0x78, 0x49, 0x03,  // ldtilecfg [rbx]
    0xc4, 0xe2, 0x7b, 0x49, 0xc0,  // tilezero tmm0
    0xc4, 0xe2, 0x78, 0x49, 0xc0,  // tilerelease
    0xcc,
};

constexpr size_t kCode = 256;  // the loop, touch_tiles and tile_config

}  // namespace

Workspace::Workspace(std::byte* local, size_t size, RemoteAddress remote)
    : local_(local), size_(size), remote_(remote), used_(kCode) {
  CHECK(size >= 2 * kPage);
  std::memset(local_, 0, kCode);
  std::memcpy(local_, kLoop, sizeof kLoop);
  std::memcpy(local_ + 64, kTouchTiles, sizeof kTouchTiles);
  // Palette 1, eight tiles of 16 rows of 64 bytes (Intel SDM, LDTILECFG).
  uint8_t configuration[64] = {1};
  for (int i = 0; i < 8; i++) {
    configuration[16 + 2 * i] = 64;
    configuration[48 + i] = 16;
  }
  std::memcpy(local_ + 128, configuration, sizeof configuration);
}

RemoteAddress Workspace::reserve(size_t size) {
  const size_t start = used_;
  used_ = (start + size + 15) & ~size_t{15};
  CHECK(used_ <= size_);
  std::memset(local_ + start, 0, used_ - start);
  return remote_ + start;
}

RemoteAddress Workspace::put_bytes(std::span<const std::byte> bytes) {
  RemoteAddress address = reserve(bytes.size());
  if (!bytes.empty()) std::memcpy(local(address), bytes.data(), bytes.size());
  return address;
}

void Batch::add(long number, Arguments arguments, Expectation expectation) {
  Operation operation = {};
  operation.number = static_cast<uint64_t>(number);
  CHECK(arguments.size() <= 6);
  std::copy(arguments.begin(), arguments.end(), operation.arguments);
  operation.result = INT64_MIN;  // "never made"
  operations_.push_back(operation);
  expectations_.push_back(expectation);
}

void Batch::must(const char* what, long number, Arguments arguments) {
  add(number, arguments, {what, -1});
}

void Batch::then(long number, Arguments arguments, Then then) {
  add(number, arguments, {nullptr, static_cast<int32_t>(thens_.size())});
  thens_.push_back(std::move(then));
}

void Batch::may(long number, Arguments arguments) {
  add(number, arguments, {});
}

void Batch::place(Workspace& workspace) {
  table_ = workspace.put_bytes(std::as_bytes(std::span(operations_)));
}

Result<void> Batch::start(Tracee& thread, const Workspace& workspace, user_regs_struct base) {
  base.rip = workspace.loop().value;
  base.rbx = table_.value;
  base.r12 = operations_.size();
  base.orig_rax = ~0ull;  // else the kernel would restart an interrupted call at our rip
  TRY(thread.set_registers(base));
  return thread.resume();
}

Result<void> Batch::wait(Tracee& thread, const std::function<Result<void>(Stop)>& on_event) {
  return wait_trap(thread, on_event);
}

Result<void> Batch::finish(Workspace& workspace) {
  for (size_t i = 0; i < operations_.size(); i++) {
    const auto done = workspace.get<Operation>(table_ + i * sizeof(Operation));
    const Expectation& expected = expectations_[i];
    if (done.result == INT64_MIN)
      return Error{"run a system call in the process: the batch ended early", EPROTO};
    if (expected.then >= 0) {
      TRY(thens_[static_cast<size_t>(expected.then)](done.result));
    } else if (expected.what && done.result < 0 && done.result >= -4095) {
      char arguments[64];
      std::snprintf(arguments, sizeof arguments, "(%lx, %lx, %lx)", done.arguments[0],
                    done.arguments[1], done.arguments[2]);
      return Error::sys(expected.what, arguments, static_cast<int>(-done.result));
    }
  }
  return {};
}

Result<void> wait_trap(Tracee& thread, const std::function<Result<void>(Stop)>& on_event) {
  for (;;) {
    Stop stop = TRY(thread.wait());
    if (stop.event == 0 && stop.signal == SIGTRAP) return {};
    if (stop.event == 0 &&
        (stop.signal == SIGSEGV || stop.signal == SIGILL || stop.signal == SIGBUS))
      return Error{"injected code in thread " + std::to_string(thread.tid().value) +
                       " died of signal " + std::to_string(stop.signal),
                   EFAULT};
    if (stop.event != 0 && on_event) TRY(on_event(stop));
    // A job-control stop that was on its way is taken and left at once: the engine keeps the thread
    // stopped anyway, and the kernel remembers the group's stop for the time after the detach.
    TRY(thread.resume(stop.event ? 0 : stop.signal));
  }
}

Result<int64_t> call_once(Tracee& thread, RemoteAddress syscall_instruction, user_regs_struct base,
                          long number, Batch::Arguments arguments) {
  uint64_t six[6] = {};
  CHECK(arguments.size() <= 6);
  std::copy(arguments.begin(), arguments.end(), six);
  base.rip = syscall_instruction.value;
  base.rax = static_cast<uint64_t>(number);
  base.orig_rax = ~0ull;
  base.rdi = six[0];
  base.rsi = six[1];
  base.rdx = six[2];
  base.r10 = six[3];
  base.r8 = six[4];
  base.r9 = six[5];
  TRY(thread.set_registers(base));
  for (;;) {
    TRY(thread.step());
    Stop stop = TRY(thread.wait());
    user_regs_struct now = TRY(thread.registers());
    if (stop.event == 0 && stop.signal == SIGTRAP && now.rip != syscall_instruction.value)
      return static_cast<int64_t>(now.rax);
    if (stop.event == 0 && stop.signal == SIGSEGV)
      return Error{"step over a system call in thread " + std::to_string(thread.tid().value) +
                       ": its code is not there",
                   EFAULT};
  }
}

size_t find_syscall(std::span<const std::byte> code) {
  for (size_t i = 0; i + 1 < code.size(); i++)
    if (code[i] == std::byte{0x0f} && code[i + 1] == std::byte{0x05}) return i;
  return std::string::npos;
}

}  // namespace hob::migrate
