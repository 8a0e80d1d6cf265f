#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "migrate/files.h"

namespace hob::migrate {

/// Which descriptors, of all processes, lead to one open file description. kcmp(2) tells of two;
/// only those that look alike are asked about.
class SeenDescriptions {
 public:
  /// The number under which it has been added, if it has.
  std::optional<uint32_t> find(const Described& described, Tid process, int fd) const;
  void add(const Described& described, Tid process, int fd, uint32_t number);
  /// The number, if the process that had descriptor `fd` last leads to the same by it, as a child
  /// mostly does: told without a look at what it is.
  std::optional<uint32_t> inherited(Tid process, int fd) const;
  /// Descriptor `fd` of this process, too, leads to what has that number.
  void note(Tid process, int fd, uint32_t number);

 private:
  struct Seen {
    Tid process;
    int fd;
    uint32_t number;
  };
  using Key = std::tuple<dev_t, ino_t, uint8_t, uint32_t>;
  static Key key_of(const Described& described);
  std::map<Key, std::vector<Seen>> seen_;
  std::map<int, Seen> last_;
};

}  // namespace hob::migrate
