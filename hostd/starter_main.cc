// hob-starter: see hostd/starter.h. Started by hostd alone, with its connection as descriptor 3.
#include <csignal>
#include <cstdio>
#include <string_view>

#include "base/log.h"
#include "hostd/priority.h"
#include "hostd/recorder.h"
#include "hostd/starter.h"
#include "migrate/program.h"

int main(int count, char** arguments) {
  using namespace hob;
  std::signal(SIGPIPE, SIG_IGN);
  if (count == 3 && std::string_view(arguments[1]) == "record") {
    log::set_name("recorder");
    if (auto ordinary = hostd::ordinary_priority(); !ordinary.ok())
      return log::error("{}", ordinary.error().text), 1;
    return hostd::record(arguments[2]);
  }
  if (count != 6) {
    std::fprintf(stderr, "hob-starter: is started by hob-hostd, not by hand\n");
    return 2;
  }
  hostd::Starter::Options options{arguments[1], arguments[2], arguments[3], arguments[4],
                                  arguments[5]};
  log::set_name("starter " + options.host);
  // hostd's own priority is higher; guests must not inherit that.
  if (auto ordinary = hostd::ordinary_priority(); !ordinary.ok())
    return log::error("{}", ordinary.error().text), 1;
  if (!migrate::drop_capabilities())
    return log::error("{}", Error::sys("give up", "capabilities of what guests execute").text), 1;
  auto loop = EventLoop::create();
  if (!loop.ok()) return log::error("{}", loop.error().text), 1;
  auto starter = hostd::Starter::create(**loop, options, Fd(3));
  if (!starter.ok()) return log::error("{}", starter.error().text), 1;
  (*loop)->run();
  // Let the last words out: the channel is a local socket that hostd reads at once.
  (*loop)->run_once(milliseconds(0));
  return 0;
}
