#pragma once

#include <unistd.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/fd.h"
#include "migrate/crew.h"
#include "migrate/files.h"
#include "migrate/proc.h"

namespace hob::migrate {

/// Descriptors that were described while the guest ran, so that of a stopped one only what may have
/// changed is looked at: 2 us for each instead of 18. Files with a path, which are what there can
/// be many of, and the ends of the job's own streams, which nearly every program has. (Of a pipe
/// inside the job a copy would count as an end of it.)
///
/// A copy of ours is kept open meanwhile. The text of /proc/PID/fdinfo/N says what may have changed
/// about the descriptor, and that it still leads to the same file: one opened anew meanwhile would
/// be carried alike, and who shares a description is asked of all that look alike
/// (SeenDescriptions). Where the number of an inode does not stand for a file, kcmp(2) tells, in
/// 1.7 us. To ask for a name takes 4 us: a file whose inode has not changed has not been renamed,
/// and of the directories above it any file in it tells.
///
/// Of many files a thread of its own takes care, on another processor than that on which the guest
/// is held.
class KnownFiles {
 public:
  KnownFiles() = default;
  KnownFiles(KnownFiles&&) = default;  // before prepare()
  KnownFiles& operator=(KnownFiles&&) = default;
  ~KnownFiles() { finish(); }

  /// Takes note of a descriptor of a running process, as long as there is room.
  void learn(Tid process, int fd, const Described& described);
  /// While the guest runs: makes a thread for begin(), if there are enough files for it, on another
  /// processor than the one on which the guest will be held.
  void prepare(int held_on);
  /// The guest stands still from now on: the thread looks at all of them, beside the caller.
  void begin();
  /// The same with its present position, if nothing but that has changed.
  std::optional<Described> still(Tid process, int fd);
  /// Lets go of the descriptions.
  void clear();

 private:
  struct Known {
    Described described;  // without its file
    Fd copy, information;
    uint32_t flags = 0;  // of the descriptor, as the kernel's text has them
    uint64_t mount = 0;  // its number, where inode_tells
    bool inode_tells = false;
    bool remote = false;
    bool quiet = false;  // its inode had not changed for a while
    timespec changed = {};
  };
  using Key = std::pair<Tid, int>;
  void finish();
  std::optional<Described> look_at(const Key& key, const Known& known);
  static std::optional<proc::FdInfo> information_of(const Known& known);
  std::string name_of(const Fd& copy) const;
  bool has_its_name(const Known& known);
  std::set<std::string, std::less<>> standing_;  // directories that still have their names
  pid_t self_ = ::getpid();
  Fd links_;  // /proc/self/fd
  std::map<Key, Known> known_;
  std::unique_ptr<Crew> crew_;
  std::map<Key, std::optional<Described>> found_;  // by it
};

}  // namespace hob::migrate
