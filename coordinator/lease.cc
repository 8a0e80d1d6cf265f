#include "coordinator/lease.h"

#include <fmt/format.h>

namespace hob::coordinator {

std::string to_string(const Availability& hosts) {
  std::string text;
  const auto add = [&text](uint32_t count, std::string_view what) {
    if (count == 0) return;
    if (!text.empty()) text += ", ";
    text += fmt::format("{} {}", count, what);
  };
  add(hosts.free, "free but not for this request");
  add(hosts.in_use, "in use");
  add(hosts.owner_present, "with their owner present");
  add(hosts.refuses, "not taking guests");
  add(hosts.down, "down");
  add(hosts.unsuitable, "with another processor");
  return text.empty() ? "no other host has joined the cell" : text;
}

std::string_view to_string(Refusal why) {
  switch (why) {
    case Refusal::bad_request:
      return "the request is malformed; update hob on this host";
    case Refusal::home_lost:
      return "this host has not reported to the coordinator; is hostd running?";
    case Refusal::not_exported:
      return "this host's owner does not let jobs out; see `export` in its hostd configuration";
    case Refusal::no_such_host:
      return "no such host in the cell; see `remote hosts`";
    case Refusal::host_unsuitable:
      return "that host takes no guests from here, or its processor differs; see `remote hosts "
             "--why`";
    case Refusal::nothing_free:
      return "no host is free; ask again without --no-wait to wait for one";
    case Refusal::queue_full:
      return "too many requests of this host are waiting; ask again when some are served";
  }
  return "unknown";
}

std::string_view to_string(Revocation why) {
  switch (why) {
    case Revocation::owner_back:
      return "the owner is back";
    case Revocation::host_down:
      return "the host is down";
    case Revocation::fewer_slots:
      return "the host takes fewer guests now";
    case Revocation::not_allowed:
      return "the host no longer suits this home";
    case Revocation::home_removed:
      return "the home has left the cell";
    case Revocation::unknown:
      return "the grant had ended";
  }
  return "unknown";
}

}  // namespace hob::coordinator
