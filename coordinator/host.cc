#include "coordinator/host.h"

#include <algorithm>

namespace hob::coordinator {

bool CpuFeatures::within(const CpuFeatures& there) const {
  for (size_t i = 0; i < bits.size(); ++i) {
    if ((bits[i] & ~there.bits[i]) != 0) return false;
  }
  return true;
}

Policy Policy::only(std::vector<HostId> hosts) {
  std::sort(hosts.begin(), hosts.end());
  hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
  return Policy{Kind::listed, std::move(hosts)};
}

bool Policy::admits(HostId host) const {
  switch (kind) {
    case Kind::none:
      return false;
    case Kind::all:
      return true;
    case Kind::listed:
      return std::binary_search(hosts.begin(), hosts.end(), host);
  }
  return false;
}

bool eligible(const HostFacts& host, const HostFacts& home) {
  return host.id != home.id && host.features.within(home.features) &&
         host.import_from.admits(home.id) && home.export_to.admits(host.id);
}

}  // namespace hob::coordinator
