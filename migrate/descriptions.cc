#include "migrate/descriptions.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace hob::migrate {

SeenDescriptions::Key SeenDescriptions::key_of(const Described& described) {
  const Description& d = described.description;
  return {described.device, described.inode, static_cast<uint8_t>(d.kind), d.flags};
}

std::optional<uint32_t> SeenDescriptions::find(const Described& described, Tid process,
                                               int fd) const {
  const auto alike = seen_.find(key_of(described));
  if (alike == seen_.end()) return std::nullopt;
  const auto same = std::find_if(alike->second.begin(), alike->second.end(), [&](const Seen& s) {
    return ::syscall(SYS_kcmp, s.process.value, process.value, KCMP_FILE, s.fd, fd) == 0;
  });
  if (same == alike->second.end()) return std::nullopt;
  return same->number;
}

void SeenDescriptions::add(const Described& described, Tid process, int fd, uint32_t number) {
  seen_[key_of(described)].push_back({process, fd, number});
}

}  // namespace hob::migrate
