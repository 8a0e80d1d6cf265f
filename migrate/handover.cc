#include "migrate/handover.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "migrate/control.h"
#include "migrate/here.h"
#include "migrate/names.h"

namespace hob::migrate {

// ---- the source

Result<void> Yielding::lend(uint32_t process,
                            const std::function<Result<void>(const Foothold&)>& call) {
  CaptiveProcess& captive = captives_.processes[process];
  CaptiveThread& leader = captive.leader();
  return call(
      {leader.tracee, leader.registers,
       TRY(syscall_instruction(captive.pid, captive.name(), TRY(vdso_of(captive)), platform_.vdso)),
       captive.name()});
}

LockHands Yielding::hands() {
  return {[this](uint32_t process) { return captives_.processes[process].pid; },
          [this](uint32_t process, const auto& call) { return lend(process, call); }};
}

void Yielding::weaken() {
  // What is left has descriptors that cannot have such a lock.
  auto left = set_locks(locks_of(image_, true), LockMode::read, hands());
  if (!left) log::error("{}", left.error().text);
}

void Yielding::forget_connections() {
  for (const InetImage& s : image_.inet_sockets) {
    if (s.type != SOCK_STREAM || s.state != InetState::connected) continue;
    auto socket = proc::borrow_descriptor(captives_.processes[s.process].pid, s.descriptor);
    auto forgotten = socket ? forget_when_closed(*socket) : Result<void>(socket.error());
    if (!forgotten) log::error("{}", forgotten.error().text);
  }
}

void Yielding::let_go() {
  forget_connections();
  for (uint32_t i = 0; i < captives_.processes.size(); i++) {
    auto closed = lend(i, [](const Foothold& at) -> Result<void> {
      const int64_t result =
          TRY(call_once(at.thread, at.instruction, at.registers, SYS_close_range, {0, ~0u, 0}));
      if (result < 0) return Error::sys("close the files of", at.name, static_cast<int>(-result));
      return {};
    });
    if (!closed) log::error("{}", closed.error().text);
  }
}

// ---- the target

LockHands Takeover::hands() {
  return {[this](uint32_t process) { return restoration_.pid(process); },
          [this](uint32_t process, const auto& call) { return restoration_.lend(process, call); }};
}

namespace {

/// Tries until all are there. Returns what is still missing at the end.
Result<std::vector<const LockImage*>> insist(std::vector<const LockImage*> locks, LockMode mode,
                                             const LockHands& hands, Duration limit) {
  const Time end = Clock::now() + limit;
  for (Duration pause = microseconds(20);; pause = std::min<Duration>(2 * pause, milliseconds(5))) {
    if (locks.empty()) return locks;
    locks = TRY(set_locks(locks, mode, hands));
    if (locks.empty() || Clock::now() > end) return locks;
    const timespec wait{0, pause.count()};
    ::nanosleep(&wait, nullptr);
  }
}

}  // namespace

Result<void> Takeover::prepare(bool beside_source) {
  TRY(check_names(image_, hands()));
  if (!inet_.empty()) {
    const bool same_network = image_.network == TRY(network_of(restoration_.pid(0)));
    TRY(inet_.prepare([this](uint32_t process) { return restoration_.pid(process); },
                      beside_source && same_network));
  }
  if (image_.locks.empty()) return {};
  // The source has the same: nobody can have one for writing. File servers may need a moment.
  constexpr Duration kMoment = milliseconds(200);
  const auto missing = TRY(insist(locks_of(image_, false), LockMode::read, hands(), kMoment));
  if (!missing.empty())
    return Error{"take " + name_of(image_, *missing.front()) +
                     ": another program has it here; is the file's lock service the same on both "
                     "hosts?",
                 EAGAIN};
  wanted_ = TRY(set_locks(locks_of(image_, true), LockMode::write, hands()));
  return {};
}

Result<void> Takeover::complete(Connection* control) {
  // Ends of a named pipe that the source still has open would keep the guest from its end.
  const bool same_pipes = !image_.machine.empty() && image_.machine == TRY(this_machine());
  const bool names = std::any_of(image_.sockets.begin(), image_.sockets.end(),
                                 [](const SocketImage& s) { return !s.name.empty(); });
  if (wanted_.empty() && !same_pipes && !names && inet_.empty()) return {};
  auto ask = [&](control::Word question, control::Word answer) -> Result<void> {
    if (!control) return {};
    TRY(control::say(*control, question));
    return control::expect(*control, answer);
  };
  Result<void> asked;
  if (!wanted_.empty()) asked = ask(control::Word::weaken, control::Word::weakened);
  // Whatever cannot be had yet can be had when the source has let go.
  TRY(set_locks(wanted_, LockMode::read, hands()));
  if (asked) asked = ask(control::Word::let_go, control::Word::gone);
  if (!asked) log::warning("take over from the source: {}", asked.error().text);
  if (names) bind_names(image_, hands());
  inet_.complete();
  const auto missing = TRY(insist(wanted_, LockMode::write, hands(), kLockPatience));
  if (missing.empty()) return {};
  return Error{"take " + name_of(image_, *missing.front()) +
                   ": another program took it while the guest moved and keeps it",
               EAGAIN};
}

}  // namespace hob::migrate
