#include "migrate/notices.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "migrate/kernel.h"
#include "migrate/parts.h"

namespace hob::migrate {
namespace {

/// PIDFD_THREAD of Linux 6.9.
constexpr uint32_t kOfThread = O_EXCL;

/// As a process of the guest counts, from as this host counts.
Result<pid_t> inside(Tid pid, const std::string& subject, const char* what) {
  auto status = proc::status(pid);
  if (!status || status->inside.empty())
    return obstacle(subject, std::string(what) + " of something outside the job");
  return status->inside.back();
}

}  // namespace

Result<void> describe_pidfd(const proc::FdInfo& info, Description& d, const std::string& subject) {
  d.kind = DescriptionKind::pidfd;
  if (d.flags & kOfThread) return obstacle(subject, "a pidfd of a thread");
  const auto pid = static_cast<pid_t>(std::atol(std::string(info.field("Pid")).c_str()));
  if (pid == 0) return obstacle(subject, "a pidfd of a process outside the job");
  d.of = pid < 0 ? 0 : TRY(inside(Tid{pid}, subject, "a pidfd"));  // -1: has ended
  return {};
}

Result<void> describe_owner(const Fd& file, Description& d, const std::string& subject) {
  if (d.flags & O_PATH) return {};
  f_owner_ex owner = {};
  const int signal = ::fcntl(file.get(), F_GETSIG);
  if (signal < 0 || ::fcntl(file.get(), F_GETOWN_EX, &owner) < 0)
    return Error::sys("look for the owner of", subject);
  d.owner_signal = static_cast<uint32_t>(signal);
  if (owner.pid == 0) return {};
  d.owner_type = static_cast<uint8_t>(owner.type + 1);
  // A group has the number of its leader, who may have ended; any member tells.
  if (owner.type != F_OWNER_PGRP) {
    d.owner_number = TRY(inside(Tid{owner.pid}, subject, "signals on input (F_SETOWN)"));
    if (owner.type == F_OWNER_TID && !proc::threads(Tid{owner.pid}).ok())
      return obstacle(subject, "signals on input (F_SETOWN) of something outside the job");
    return {};
  }
  auto leader = proc::status(Tid{owner.pid});
  if (!leader || leader->inside.empty())
    return obstacle(subject, "signals on input (F_SETOWN) for a group whose leader has ended");
  d.owner_number = leader->inside.back();
  return {};
}

Result<Fd> open_pidfd(const Description& d) {
  if (d.of != 0) {
    const long fd = ::syscall(SYS_pidfd_open, d.of, d.flags & O_NONBLOCK);
    if (fd < 0) return Error::sys("open a pidfd of process", std::to_string(d.of));
    return Fd(static_cast<int>(fd));
  }
  // One that has ended: like every other.
  int fd = -1;
  kernel::CloneArguments clone = {};
  constexpr uint64_t kPidfd = 0x1000;  // CLONE_PIDFD
  clone.flags = kPidfd;
  clone.pidfd = reinterpret_cast<uint64_t>(&fd);
  clone.exit_signal = SIGCHLD;
  // Ignored, so that no signal of its end is left for the guest, and nobody need reap it.
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  const long pid = ::syscall(SYS_clone3, &clone, sizeof clone);
  if (pid == 0) ::_exit(0);
  const int failed = pid < 0 ? errno : 0;
  Fd pidfd(fd);
  siginfo_t info;
  while (pid > 0 && ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) < 0 && errno != ECHILD)
    if (errno != EINTR) return Error::sys("wait for", "a process that ends");
  ::signal(SIGCHLD, before);
  if (failed) return Error::sys("make", "a process that ends", failed);
  if ((d.flags & O_NONBLOCK) && ::fcntl(pidfd.get(), F_SETFL, O_NONBLOCK) < 0)
    return Error::sys("set the flags of", "a pidfd");
  return pidfd;
}

Result<void> set_owner(int number, const Description& d) {
  if (d.owner_signal != 0 && ::fcntl(number, F_SETSIG, d.owner_signal) < 0)
    return Error::sys("choose the signal of", "a descriptor");
  if (d.owner_type != 0) {
    const f_owner_ex owner = {static_cast<decltype(f_owner_ex::type)>(d.owner_type - 1),
                              d.owner_number};
    if (::fcntl(number, F_SETOWN_EX, &owner) < 0)
      return Error::sys("set the owner of", "a descriptor");
  }
  if (d.flags & O_ASYNC) {
    const int flags = ::fcntl(number, F_GETFL);
    if (flags < 0 || ::fcntl(number, F_SETFL, flags | O_ASYNC) < 0)
      return Error::sys("switch on the signals of", "a descriptor");
  }
  return {};
}

}  // namespace hob::migrate
