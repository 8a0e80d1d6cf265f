#include "coordinator/host.h"

#include <algorithm>
#include <map>
#include <set>

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

std::string common_words(const std::vector<std::string_view>& texts) {
  std::map<std::string_view, size_t> count;  // in how many texts
  const std::set<std::string_view> different(texts.begin(), texts.end());
  for (std::string_view text : different) {
    std::set<std::string_view> words;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find(' ', at), text.size());
      if (end > at) words.insert(text.substr(at, end - at));
      at = end + 1;
    }
    for (std::string_view word : words) ++count[word];
  }
  std::string common;
  for (const auto& [word, n] : count)
    if (n == different.size()) common.append(common.empty() ? "" : " ").append(word);
  return common;
}

}  // namespace hob::coordinator
