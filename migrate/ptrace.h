#pragma once

#include <sys/user.h>

#include <csignal>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "migrate/kernel.h"
#include "migrate/types.h"

/// The one door to ptrace(2) and to the waits that belong to it.
///
/// All of it works on the thread that seized. "The process is gone" is an Error with code ESRCH.
namespace hob::migrate {

/// While it lives, waits of this thread (Tracee::wait, wait_child) end at the deadline with
/// ETIMEDOUT. A timer signal interrupts the wait, so waiting costs what a plain wait costs. Scopes
/// may be nested; the innermost counts.
class Patience {
 public:
  explicit Patience(Duration limit);
  ~Patience();
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;
  bool over() const { return Clock::now() >= end_; }
  static const Patience* current();

 private:
  Time end_;
  timer_t timer_{};
  bool armed_ = false;
  const Patience* outer_;
};

/// What a wait told.
struct Stop {
  int signal = 0;  ///< the stop's signal; SIGTRAP for events and injected breakpoints
  int event = 0;   ///< PTRACE_EVENT_*, 0 for a signal-delivery-stop
};

/// A thread that this thread traces. Move-only; dropping it detaches, which lets the thread run.
class Tracee {
 public:
  enum Options : unsigned {
    kills_on_exit = 1u << 20,     // PTRACE_O_EXITKILL
    follows_clones = 1u << 3,     // PTRACE_O_TRACECLONE
    suspends_seccomp = 1u << 21,  // PTRACE_O_SUSPEND_SECCOMP
  };
  static Result<Tracee> seize(Tid tid, unsigned options);
  /// A thread that the kernel attached because its creator was traced with follows_clones.
  static Tracee adopt(Tid tid) { return Tracee(tid); }

  Tracee(Tracee&& other) noexcept
      : tid_(std::exchange(other.tid_, Tid{})), exit_is_anothers_(other.exit_is_anothers_) {}
  Tracee& operator=(Tracee&& other) noexcept;
  ~Tracee() { detach(); }

  Tid tid() const { return tid_; }

  /// In place of those it was seized with; while it is stopped.
  Result<void> set_options(unsigned options);
  Result<void> interrupt();
  /// Who is a child of this process as well, and waited for elsewhere: its exit is left there. Of
  /// all others wait() and poll() reap it.
  void leave_exit() { exit_is_anothers_ = true; }
  /// The next stop. ESRCH: it has died. Bounded by the innermost Patience.
  Result<Stop> wait();
  /// Its next stop, if it has already happened.
  Result<bool> poll(Stop& stop);
  Result<void> resume(int signal = 0);
  Result<void> step();
  /// Lets it run to its next entry into (or return from) a system call: a stop like that of a
  /// SIGTRAP.
  Result<void> run_to_call(int signal = 0);
  void detach();
  /// Forgets the thread without detaching: it is dead or about to be.
  void abandon() { tid_ = Tid{}; }

  Result<user_regs_struct> registers() const;
  Result<void> set_registers(const user_regs_struct& registers);
  /// The extended processor state as XSAVE lays it out, also where the processor has only FXSAVE;
  /// `buffer` is scratch of at least 64 KiB.
  Result<std::vector<std::byte>> extended_state(std::span<std::byte> buffer) const;
  Result<void> set_extended_state(std::span<const std::byte> state);
  Result<uint64_t> signal_mask() const;
  Result<void> set_signal_mask(uint64_t mask);
  /// Signals waiting for this thread alone, or (`shared`) for its process.
  Result<std::vector<siginfo_t>> pending_signals(bool shared) const;
  Result<kernel::RseqConfiguration> rseq() const;
  Result<unsigned long> event_message() const;
  struct SeccompFilter {
    std::vector<std::byte> code;
    bool log = false;
  };
  /// The oldest is 0; ENOENT: it has no such. EACCES: this process is under a filter itself, or
  /// lacks CAP_SYS_ADMIN.
  Result<SeccompFilter> seccomp_filter(uint64_t index) const;

 private:
  Result<std::vector<std::byte>> legacy_state() const;
  Result<bool> next_stop(Stop& stop, int flags);
  explicit Tracee(Tid tid) : tid_(tid) {}
  Result<void> request(int what, uint64_t address, uint64_t data, const char* name) const;
  Tid tid_;
  bool exit_is_anothers_ = false;
};

/// Reaps one child or tracee whatever its state; bounded by the innermost Patience.
Result<int> wait_child(pid_t pid);

}  // namespace hob::migrate
