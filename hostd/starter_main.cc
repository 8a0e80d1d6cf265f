// hob-starter: see hostd/starter.h. Started by hostd alone, with its connection as descriptor 3.
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "base/log.h"
#include "hostd/starter.h"
#include "migrate/cgroup.h"

namespace {

/// Out of hostd's own group, into one beside its guests': a service manager that stops or restarts hostd
/// with all of its group must not take starters along, and their work is not the owner's load.
hob::Result<void> join_starters(const std::string& guest_cgroup) {
  const std::string root = TRY(hob::migrate::Cgroup::root());
  const std::string hob = guest_cgroup.substr(0, guest_cgroup.rfind("/guests/"));
  return hob::write_control(root + hob + "/starters/cgroup.procs", "0");
}

}  // namespace

int main(int count, char** arguments) {
  using namespace hob;
  if (count != 5) {
    std::fprintf(stderr, "hob-starter: is started by hob-hostd, not by hand\n");
    return 2;
  }
  hostd::Starter::Options options{arguments[1], arguments[2], arguments[3], arguments[4]};
  log::set_name("starter " + options.host);
  std::signal(SIGPIPE, SIG_IGN);
  // hostd's own priority is higher; guests must not inherit that.
  if (::setpriority(PRIO_PROCESS, 0, 0) < 0)
    return log::error("{}", Error::sys("set the priority of", "a starter").text), 1;
  if (auto joined = join_starters(options.cgroup); !joined.ok())
    return log::error("{}", joined.error().text), 1;
  auto loop = EventLoop::create();
  if (!loop.ok()) return log::error("{}", loop.error().text), 1;
  auto starter = hostd::Starter::create(**loop, options, Fd(3));
  if (!starter.ok()) return log::error("{}", starter.error().text), 1;
  (*loop)->run();
  // Let the last words out: the channel is a local socket that hostd reads at once.
  (*loop)->run_once(milliseconds(0));
  return 0;
}
