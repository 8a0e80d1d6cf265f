#include "migrate/here.h"

#include "base/fd.h"
#include "migrate/proc.h"

namespace hob::migrate {

Result<std::string> this_machine() {
  std::string id = TRY(read_file("/proc/sys/kernel/random/boot_id"));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

Result<std::string> network_of(Tid process) {
  return TRY(this_machine()) + " " + TRY(read_link(proc::path(process, "ns/net")));
}

}  // namespace hob::migrate
