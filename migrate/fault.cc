#include "migrate/fault.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace hob::migrate::fault {
namespace {

Act chosen = Act::die;

Fault from_environment() {
  const char* text = ::getenv("HOB_FAULT");
  int number = 0, end = 0;
  if (!text || std::sscanf(text, "%d:%n", &number, &end) != 1 || end == 0) return Fault::none;
  const std::string_view act(text + end);
  if (number <= 0 || number > static_cast<int>(Fault::last)) return Fault::none;
  chosen = act == "die"     ? Act::die
           : act == "stall" ? Act::stall
           : act == "pause" ? Act::pause
                            : Act::error;
  return static_cast<Fault>(number);
}

}  // namespace

Fault armed = from_environment();

void arm(Fault where, Act act) {
  armed = where;
  chosen = act;
}

Result<void> reached(Fault where) {
  armed = Fault::none;
  switch (chosen) {
    case Act::die:
      ::kill(::getpid(), SIGKILL);
      break;
    case Act::stall:
      for (;;) ::pause();
    case Act::pause:
      ::usleep(300'000);
      return {};
    case Act::error:
      break;
  }
  return Error{"fault point " + std::to_string(static_cast<int>(where)) + ": made to fail", EIO};
}

}  // namespace hob::migrate::fault
