#include "migrate/ptrace.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

namespace hob::migrate {
namespace {

thread_local const Patience* innermost = nullptr;

constexpr size_t kLegacyState = 512;  // bytes of FXSAVE

int wake_signal() {
  return SIGRTMIN + 5;
}
void woken(int) {}

long raw_ptrace(int request, pid_t pid, uint64_t address, uint64_t data) {
  return ::syscall(SYS_ptrace, request, pid, address, data);
}

std::string thread_name(Tid tid) {
  return "thread " + std::to_string(tid.value);
}

// `wait` until it is not interrupted, or a Patience is over. ESRCH: there is nobody to wait for.
template <class Wait>
Result<pid_t> bounded(pid_t pid, Wait&& wait) {
  for (;;) {
    const pid_t got = wait();
    if (got >= 0) return got;
    if (errno == ECHILD) return Error{"wait for " + thread_name({pid}) + ": it has ended", ESRCH};
    if (errno != EINTR) return Error::sys("wait for", thread_name({pid}));
    const Patience* patience = Patience::current();
    if (patience && patience->over())
      return Error{"wait for " + thread_name({pid}) + ": it did not stop in time", ETIMEDOUT};
  }
}

}  // namespace

Patience::Patience(Duration limit) : end_(Clock::now() + limit), outer_(innermost) {
  struct sigaction action = {};
  action.sa_handler = woken;  // without SA_RESTART: its only use is to end waitpid with EINTR
  ::sigaction(wake_signal(), &action, nullptr);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, wake_signal());
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);

  sigevent event = {};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = wake_signal();
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  armed_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  CHECK(armed_);
  // Repeats, because the first signal may come just before the wait that it is meant to end.
  auto nanos = limit.count() > 0 ? limit.count() : 1;
  itimerspec spec = {};
  spec.it_value = {nanos / 1'000'000'000, nanos % 1'000'000'000};
  spec.it_interval = {0, 20'000'000};
  ::timer_settime(timer_, 0, &spec, nullptr);
  innermost = this;
}

Patience::~Patience() {
  ::timer_delete(timer_);
  innermost = outer_;
}

const Patience* Patience::current() {
  return innermost;
}

Result<Tracee> Tracee::seize(Tid tid, unsigned options) {
  if (raw_ptrace(PTRACE_SEIZE, tid.value, 0, options) < 0)
    return Error::sys("seize", thread_name(tid));
  return Tracee(tid);
}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
  if (this != &other) {
    detach();
    tid_ = std::exchange(other.tid_, Tid{});
    exit_is_anothers_ = other.exit_is_anothers_;
  }
  return *this;
}

Result<void> Tracee::request(int what, uint64_t address, uint64_t data, const char* name) const {
  if (raw_ptrace(what, tid_.value, address, data) < 0) return Error::sys(name, thread_name(tid_));
  return {};
}

Result<void> Tracee::set_options(unsigned options) {
  return request(PTRACE_SETOPTIONS, 0, options, "set the options of");
}
Result<void> Tracee::interrupt() {
  return request(PTRACE_INTERRUPT, 0, 0, "interrupt");
}
Result<void> Tracee::resume(int signal) {
  return request(PTRACE_CONT, 0, static_cast<uint64_t>(signal), "continue");
}
Result<void> Tracee::step() {
  return request(PTRACE_SINGLESTEP, 0, 0, "single-step");
}

Result<void> Tracee::run_to_call(int signal) {
  return request(PTRACE_SYSCALL, 0, static_cast<uint64_t>(signal), "run to a system call in");
}

void Tracee::detach() {
  if (tid_.value) raw_ptrace(PTRACE_DETACH, tid_.value, 0, 0);
  tid_ = {};
}

// Stops only: of one that has ended nothing is left but its exit, and waitid(2) says ECHILD.
Result<bool> Tracee::next_stop(Stop& stop, int flags) {
  siginfo_t told = {};
  auto waited = bounded(tid_.value, [&] {
    return ::waitid(P_PID, static_cast<id_t>(tid_.value), &told, WSTOPPED | __WALL | flags);
  });
  if (!waited && waited.error().code == ESRCH && !exit_is_anothers_)
    ::waitpid(tid_.value, nullptr, __WALL | WNOHANG);
  TRY(std::move(waited));
  if (told.si_pid == 0) return false;
  // The kernel's exit_code: the signal, and the event above it.
  stop = {told.si_status & 0xff, told.si_status >> 8};
  return true;
}

Result<Stop> Tracee::wait() {
  Stop stop{};
  TRY(next_stop(stop, 0));
  return stop;
}

Result<bool> Tracee::poll(Stop& stop) {
  return next_stop(stop, WNOHANG);
}

Result<user_regs_struct> Tracee::registers() const {
  user_regs_struct registers;
  iovec io{&registers, sizeof registers};
  TRY(request(PTRACE_GETREGSET, NT_PRSTATUS, reinterpret_cast<uint64_t>(&io), "read registers of"));
  return registers;
}

Result<void> Tracee::set_registers(const user_regs_struct& registers) {
  iovec io{const_cast<user_regs_struct*>(&registers), sizeof registers};
  return request(PTRACE_SETREGSET, NT_PRSTATUS, reinterpret_cast<uint64_t>(&io),
                 "set registers of");
}

Result<std::vector<std::byte>> Tracee::extended_state(std::span<std::byte> buffer) const {
  iovec io{buffer.data(), buffer.size()};
  const auto read = request(PTRACE_GETREGSET, kernel::kNtX86Xstate, reinterpret_cast<uint64_t>(&io),
                            "read the extended state of");
  if (!read && read.error().code == ENODEV) return legacy_state();
  TRY(read);
  return std::vector<std::byte>(buffer.begin(),
                                buffer.begin() + static_cast<std::ptrdiff_t>(io.iov_len));
}

// A processor without XSAVE: what FXSAVE keeps, in the form of an xsave area.
Result<std::vector<std::byte>> Tracee::legacy_state() const {
  constexpr size_t kHeader = 64;
  constexpr std::byte kX87AndSse{3};
  std::vector<std::byte> state(kLegacyState + kHeader);
  iovec io{state.data(), kLegacyState};
  TRY(request(PTRACE_GETREGSET, NT_PRFPREG, reinterpret_cast<uint64_t>(&io),
              "read the floating-point state of"));
  state[kLegacyState] = kX87AndSse;
  return state;
}

Result<void> Tracee::set_extended_state(std::span<const std::byte> state) {
  iovec io{const_cast<std::byte*>(state.data()), state.size()};
  auto set = request(PTRACE_SETREGSET, kernel::kNtX86Xstate, reinterpret_cast<uint64_t>(&io),
                     "set the extended state of");
  if (set || set.error().code != ENODEV) return set;
  io.iov_len = kLegacyState;
  return request(PTRACE_SETREGSET, NT_PRFPREG, reinterpret_cast<uint64_t>(&io),
                 "set the floating-point state of");
}

Result<uint64_t> Tracee::signal_mask() const {
  uint64_t mask = 0;
  TRY(request(PTRACE_GETSIGMASK, sizeof mask, reinterpret_cast<uint64_t>(&mask),
              "read the signal mask of"));
  return mask;
}

Result<void> Tracee::set_signal_mask(uint64_t mask) {
  return request(PTRACE_SETSIGMASK, sizeof mask, reinterpret_cast<uint64_t>(&mask),
                 "set the signal mask of");
}

Result<std::vector<siginfo_t>> Tracee::pending_signals(bool shared) const {
  std::vector<siginfo_t> all;
  siginfo_t some[32];
  for (;;) {
    struct {
      uint64_t offset;
      uint32_t flags;
      int32_t count;
    } what = {all.size(), shared ? 1u : 0u, 32};
    long n = raw_ptrace(PTRACE_PEEKSIGINFO, tid_.value, reinterpret_cast<uint64_t>(&what),
                        reinterpret_cast<uint64_t>(some));
    if (n < 0) return Error::sys("read pending signals of", thread_name(tid_));
    all.insert(all.end(), some, some + n);
    if (n < 32) return all;
  }
}

Result<kernel::RseqConfiguration> Tracee::rseq() const {
  constexpr int kGetRseqConfiguration = 0x420f;
  kernel::RseqConfiguration configuration = {};
  TRY(request(kGetRseqConfiguration, sizeof configuration,
              reinterpret_cast<uint64_t>(&configuration), "read rseq of"));
  return configuration;
}

Result<Tracee::SeccompFilter> Tracee::seccomp_filter(uint64_t index) const {
  constexpr int kGetFilter = 0x420c, kGetMetadata = 0x420d;
  constexpr size_t kInstruction = 8;
  constexpr uint64_t kLog = 2;  // SECCOMP_FILTER_FLAG_LOG
  const long count = raw_ptrace(kGetFilter, tid_.value, index, 0);
  if (count < 0) return Error::sys("read a filter of", thread_name(tid_));
  SeccompFilter filter;
  filter.code.resize(static_cast<size_t>(count) * kInstruction);
  if (raw_ptrace(kGetFilter, tid_.value, index, reinterpret_cast<uint64_t>(filter.code.data())) !=
      count)
    return Error::sys("read a filter of", thread_name(tid_));
  struct {
    uint64_t index, flags;
  } about = {index, 0};
  if (raw_ptrace(kGetMetadata, tid_.value, sizeof about, reinterpret_cast<uint64_t>(&about)) < 0)
    return Error::sys("read the flags of a filter of", thread_name(tid_));
  filter.log = (about.flags & kLog) != 0;
  return filter;
}

Result<unsigned long> Tracee::event_message() const {
  unsigned long message = 0;
  TRY(request(PTRACE_GETEVENTMSG, 0, reinterpret_cast<uint64_t>(&message), "read an event of"));
  return message;
}

Result<int> wait_child(pid_t pid) {
  int status = 0;
  TRY(bounded(pid, [&] { return ::waitpid(pid, &status, __WALL); }));
  return status;
}

}  // namespace hob::migrate
