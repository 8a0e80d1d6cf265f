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

static bool same_description(Tid a, int fd_a, Tid b, int fd_b) {
  return ::syscall(SYS_kcmp, a.value, b.value, KCMP_FILE, fd_a, fd_b) == 0;
}

void SeenDescriptions::note(Tid process, int fd, uint32_t number) {
  last_.insert_or_assign(fd, Seen{process, fd, number});
}

std::optional<uint32_t> SeenDescriptions::inherited(Tid process, int fd) const {
  const auto last = last_.find(fd);
  if (last == last_.end() || !same_description(last->second.process, fd, process, fd))
    return std::nullopt;
  return last->second.number;
}

std::optional<uint32_t> SeenDescriptions::find(const Described& described, Tid process,
                                               int fd) const {
  const auto alike = seen_.find(key_of(described));
  if (alike == seen_.end()) return std::nullopt;
  const auto same = std::find_if(alike->second.begin(), alike->second.end(), [&](const Seen& s) {
    return same_description(s.process, s.fd, process, fd);
  });
  if (same == alike->second.end()) return std::nullopt;
  return same->number;
}

void SeenDescriptions::add(const Described& described, Tid process, int fd, uint32_t number) {
  seen_[key_of(described)].push_back({process, fd, number});
}

}  // namespace hob::migrate
