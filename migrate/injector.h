#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "migrate/ptrace.h"
#include "migrate/types.h"

/// Runs system calls inside stopped threads, as if those had made them.
///
/// The only foreign code is a loop of 48 bytes that walks a table of system calls: a batch of a
/// hundred costs 12 us, stepping through them one by one 400 (ENGINE.md section 2). It needs no
/// stack and no memory but its table, so it also runs while the address space is taken down and
/// built anew.
namespace hob::migrate {

/// One row of the table; the loop's code knows this layout.
struct Operation {
  uint64_t number;
  uint64_t arguments[6];
  int64_t result;
};
static_assert(sizeof(Operation) == 64);

/// Memory seen by the engine at `local` and by a tracee at `remote`: code, tables and data of
/// batches. For a captured process it is a copy that is written and read in one go, for a restored
/// one the two share the pages. Space is handed out upwards and never given back.
class Workspace {
 public:
  /// Lays down the loop's code; `size` must be at least two pages.
  Workspace(std::byte* local, size_t size, RemoteAddress remote);

  /// `size` zeroed bytes, 16-aligned. Running out of space is a broken invariant: size it first.
  RemoteAddress reserve(size_t size);
  template <class T>
  RemoteAddress put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  RemoteAddress put_bytes(std::span<const std::byte> bytes);
  std::byte* local(RemoteAddress address) { return local_ + (address - remote_); }
  template <class T>
  T get(RemoteAddress address) {
    T value;
    std::memcpy(&value, local(address), sizeof value);
    return value;
  }

  RemoteAddress remote() const { return remote_; }
  size_t used() const { return used_; }
  size_t size() const { return size_; }
  std::span<std::byte> bytes() { return {local_, used_}; }
  RemoteAddress loop() const { return remote_; }
  /// Code that makes the kernel give the calling thread AMX tile state; rbx must point to
  /// tile_config().
  RemoteAddress touch_tiles() const { return remote_ + 64; }
  RemoteAddress tile_config() const { return remote_ + 128; }

 private:
  std::byte* local_;
  size_t size_;
  RemoteAddress remote_;
  size_t used_;
};

/// System calls that one thread is to make, in order, with what to do about their results.
class Batch {
 public:
  using Then = std::function<Result<void>(int64_t result)>;
  using Arguments = std::initializer_list<uint64_t>;

  /// A call that must not fail; `what` names it in the Error ("map 7f00-7f10").
  void must(const char* what, long number, Arguments arguments);
  /// A call whose result is given to `then`; a negative one is -errno.
  void then(long number, Arguments arguments, Then then);
  /// A call whose failure is of no consequence.
  void may(long number, Arguments arguments);

  bool empty() const { return operations_.empty(); }
  size_t size() const { return operations_.size(); }
  static size_t space(size_t operations) { return operations * sizeof(Operation) + 64; }

  /// Writes the table into the workspace; call once, before start().
  void place(Workspace& workspace);
  /// Sets the thread going; `base` are registers to start from (fs_base, segments).
  Result<void> start(Tracee& thread, const Workspace& workspace, user_regs_struct base);
  /// Waits for its end. `on_event` sees stops that are no end (a clone, say).
  Result<void> wait(Tracee& thread, const std::function<Result<void>(Stop)>& on_event = {});
  /// Looks at the results: the first failed must() or the first Error of a then().
  Result<void> finish(Workspace& workspace);

 private:
  struct Expectation {
    const char* what = nullptr;  // nullptr: see then
    int32_t then = -1;           // index into thens_; -1: may fail
  };
  void add(long number, Arguments arguments, Expectation expectation);
  std::vector<Operation> operations_;
  std::vector<Expectation> expectations_;
  std::vector<Then> thens_;
  RemoteAddress table_;
};

/// Waits until an injected `int3` or single step has trapped; signals that come first are
/// delivered.
Result<void> wait_trap(Tracee& thread, const std::function<Result<void>(Stop)>& on_event = {});

/// Makes one system call by stepping over a `syscall` instruction that is there already (the vdso
/// has one); returns its result, negative for -errno. Leaves the registers changed.
Result<int64_t> call_once(Tracee& thread, RemoteAddress syscall_instruction, user_regs_struct base,
                          long number, Batch::Arguments arguments);

/// Signals that stay deliverable while code is injected: none but the trap. A blocked trap would
/// make the kernel reset the program's own disposition of it.
inline constexpr uint64_t kInjectionMask = ~(uint64_t{1} << (SIGTRAP - 1));

/// The first `syscall` instruction in some code, as an offset; npos if there is none.
size_t find_syscall(std::span<const std::byte> code);

}  // namespace hob::migrate
