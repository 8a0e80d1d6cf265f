#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/captive.h"
#include "migrate/image.h"
#include "migrate/migrate.h"

/// Ptys that the tree has made itself (pty(7)): script, tmux, expect. A sandbox has a devpts of its
/// own, so that a pty keeps its number, and with it its name.
///
/// The master speaks for both sides: settings, size and foreground group are read and set through
/// it. What is in flight cannot be looked at: it is taken out at the source, and put back if the
/// guest stays. The end of a file (^D) that is typed ahead comes as a NUL. A terminal that has been
/// stopped (^S) goes on.
namespace hob::migrate {

/// The N of /dev/pts/N from a device number as stat(5) of proc gives it; -1: it is no pty's.
int pts_number(int device);
/// The number of the pty that the starter holds for the guest; -1: none.
int starter_terminal(const Guest& guest);

struct FoundPty {
  uint32_t number;
  bool master;
};
/// What the character device behind a descriptor is; nothing: none of the guest's own ptys.
/// kObstacle: its other side is gone, or outside the sandbox.
Result<std::optional<FoundPty>> find_pty(const Guest& guest, Tid process, int fd,
                                         const struct stat& st, const std::string& subject);

/// Bytes that were taken out of a pty of the guest's. They go back when this goes.
class TakenBytes {
 public:
  TakenBytes(Fd master, bool packets) : master_(std::move(master)), packets_(packets) {}
  TakenBytes(TakenBytes&&) = default;
  TakenBytes& operator=(TakenBytes&&) = delete;
  ~TakenBytes();
  /// The guest lives elsewhere, with the bytes.
  void keep() { master_.reset(); }
  std::string typed, printed;

 private:
  Fd master_;
  bool packets_;
};

/// The source's side: collects ptys while the descriptors of the tree are looked at.
class PtyCollector {
 public:
  PtyCollector(Image& image, std::vector<TakenBytes>& taken) : image_(image), taken_(taken) {}
  /// `found.pty` is the number. Returns what it must be when finish() has been called.
  Result<uint32_t> add(const Description& found, Tid process, int fd, const std::string& subject);
  /// Fills Image::ptys. kObstacle: the master of one is outside the tree.
  Result<void> finish(const std::vector<CaptiveProcess>& processes);

 private:
  struct Pty {
    uint32_t number;
    Fd master;
    bool slave = false;
    std::string subject;
  };
  Result<void> capture(Pty& pty, const std::vector<CaptiveProcess>& processes);
  Image& image_;
  std::vector<TakenBytes>& taken_;
  std::vector<Pty> ptys_;
};

/// The target's side, in the stubs. Ptys that sessions have must be there before processes are
/// cloned: a controlling terminal can only be inherited.
class MadePtys {
 public:
  /// In the first stub.
  Result<void> make_for(const Tree& tree, const Credentials& user);
  /// In a session's leader.
  Result<void> take(int32_t number);
  /// In the first stub: the master of /dev/pts/`number`, unlocked; of ascending numbers.
  Result<Fd> make(uint32_t number, const Credentials& user);

 private:
  std::map<uint32_t, Fd> masters_;
  std::vector<Fd> spare_;  ///< with numbers that nobody has asked for
};
Result<Fd> open_slave(const Fd& master, int flags);
/// Settings, size, and what was in flight.
Result<void> set_up_pty(const Fd& master, const PtyImage& image);
/// When all descriptions are open.
Result<void> finish_pty(const Fd& master, const PtyImage& image, bool has_slave);
/// In each process: foreground groups, and no signal of a changed size.
Result<void> settle_ptys(const Image& image, const ProcessImage& process);

}  // namespace hob::migrate
