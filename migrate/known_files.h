#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "migrate/files.h"

namespace hob::migrate {

/// Descriptors that were described while the guest ran, so that of a stopped one only what may have
/// changed is looked at: 2 us for each instead of 18. Files with a path only, which are what there
/// can be many of.
///
/// A copy of ours is kept open meanwhile. It tells whether the descriptor still leads to the same
/// description (kcmp(2)), and that to the same name; the text of /proc/PID/fdinfo/N, whether
/// anything else about it has changed.
class KnownFiles {
 public:
  /// Takes note of a descriptor of a running process, as long as there is room.
  void learn(Tid process, int fd, const Described& described);
  /// The same with its present position, if nothing but that has changed.
  std::optional<Described> still(Tid process, int fd) const;
  /// Lets go of the descriptions.
  void clear() { known_.clear(); }

 private:
  struct Known {
    Described described;  // without its file
    Fd copy, information;
    uint32_t flags = 0;  // of the descriptor, as the kernel's text has them
    bool remote = false;
  };
  std::string name_of(const Fd& copy) const;
  Fd links_;  // /proc/self/fd
  std::map<std::pair<Tid, int>, Known> known_;
};

}  // namespace hob::migrate
