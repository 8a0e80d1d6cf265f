#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/time.h"
#include "migrate/advice.h"
#include "migrate/program.h"
#include "migrate/ptrace.h"
#include "migrate/sandbox.h"
#include "migrate/strategy.h"

/// The engine: moves one process tree from one sandbox to another through a link.
///
/// It knows no hosts, no messages and no policy. Both ends block the calling thread, which must be
/// the only thread of its process when it calls (ptrace belongs to a thread, clone3 with set_tid to
/// a process without others); starters are such processes.
///
/// Invariants (DESIGN.md section 6): the source stays frozen until the target has said "restored";
/// the target runs only after `TargetHooks::commit` has said yes; when the answer is lost the
/// source asks `SourceHooks::settle`, never a clock. Whatever fails before the commit leaves the
/// source as it was found, frozen cgroup or not.
namespace hob::migrate {

/// A descriptor whose other end is held by the starter, found in the guest by the identity of the
/// pipe or pty behind it. Bytes in flight towards the guest travel in the image; bytes from the
/// guest are drained by SourceHooks::frozen before the capture.
struct External {
  enum class Kind : uint8_t { input = 0, output = 1, errors = 2, terminal = 3 };
  Kind kind;
  int starter_end;  ///< pipe: the starter's end; terminal: the pty master. Stays the starter's
  int guest_end;    ///< target only: the end the guest gets; pipe end or pty slave
};

/// What threads and processes have asked for at home and cannot have here, by their ids as this
/// host sees them; see priorities.h.
struct Wishes {
  struct Thread {
    uint32_t policy = 0;
    uint16_t disk_priority = 0;
  };
  std::map<pid_t, Thread> threads;
  std::map<pid_t, int16_t> memory_scores;
};

/// One guest as its starter holds it.
struct Guest {
  pid_t root = 0;              ///< as this host sees it
  Sandbox* sandbox = nullptr;  ///< null: it is no guest, only looked at (check.h)
  Credentials user;
  std::vector<External> externals;
  /// True where the guest is a guest, false at home. It then yields to everything else on the host,
  /// as start() makes foreign programs do.
  bool lowest_priority = false;
  /// Filled by Arrival, where it is a guest.
  Wishes wishes;
  /// Target: where files for pages are made (Strategy::flush); root's alone.
  std::string page_directory;
  /// Of processes that look_ahead() has seen; send() reads those of the others.
  Advices advices;
  /// Threads that a move had to leave traced: see let_go().
  std::vector<Tracee> lingering;
};

/// Something in the tree that cannot be moved: "fd 7 of process 12 (python3): io_uring instance".
struct Obstacle {
  std::string text;
};
/// Looks without stopping anything. Empty: nothing known stands in the way.
Result<std::vector<Obstacle>> check(const Guest& guest);
/// check(), and reads beforehand what takes long to read (advice.h): to be called now and then
/// while the guest runs, so that a move later need not.
Result<std::vector<Obstacle>> look_ahead(Guest& guest);

/// Lets go of threads that an attempt to move the guest could not stop, and so could not let go of:
/// as soon as they stop they would stand still for ever. To be called now and then until it says
/// true.
bool let_go(Guest& guest);

/// What one migration cost; both ends fill in what they see.
struct Report {
  Duration freeze{0};           ///< source: first thread stopped until the target said it runs
  Duration push{0};             ///< target: from the resume until the last page was in
  uint64_t pages_moved = 0;     ///< 4 KiB pages that travelled
  uint64_t pages_demanded = 0;  ///< of these, asked for by a fault ahead of the stream
  uint64_t image_bytes = 0;
  uint64_t wire_bytes = 0;  ///< source: everything sent, sealed
  uint32_t rounds = 0;      ///< source: of pre-copy
  uint32_t processes = 0, threads = 0, mappings = 0, descriptors = 0;
};

/// 256 bits shared by the two ends of one migration, told to both over the authenticated control
/// path; seals everything on the link (AES-GCM).
using LinkKey = std::array<uint8_t, 32>;

struct Link;

/// The target's side of the link before the source has come.
class Listener {
 public:
  static Result<Listener> open(const std::string& address, const LinkKey& key);
  uint16_t port() const;
  /// The engine's: waits for the source (link.h).
  Result<Link> accept(Duration patience);
  /// The engine's: its socket and key, for a source that comes back (relink.h). The last call.
  std::pair<Fd, LinkKey> take();
  Listener(Listener&&) noexcept;
  ~Listener();

 private:
  struct State;
  explicit Listener(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class SourceHooks {
 public:
  virtual ~SourceHooks() = default;
  /// The guest is frozen: drain its output; returns bytes that travel with the image untouched.
  virtual std::string frozen() = 0;
  /// The link broke after the image was sent. Asks the record at home, as long as it takes: true if
  /// the target is the live copy, false if this attempt can never commit any more.
  virtual bool settle() = 0;
  /// Is somebody waiting, because the owner of this host is back? Strategy pre-copy asks after each
  /// 256 KiB while the guest still runs, and then stops it at once; demand asks every second while
  /// pages lie here that nobody has asked for, and then pushes them. Not called otherwise.
  virtual bool hurry() { return false; }
};

class TargetHooks {
 public:
  virtual ~TargetHooks() = default;
  /// The bytes of SourceHooks::frozen, before commit().
  virtual Result<void> attached(const std::string& bytes) = 0;
  /// Everything is restored and nothing runs. Returns ok only when home has recorded this copy as
  /// the live one; an Error makes the engine destroy the copy.
  virtual Result<void> commit() = 0;
};

/// How a send() ended; an Error means "failed, and the source is as it was found".
struct Sent {
  /// True: the target is the live copy, with every page unless `lost` says otherwise; destroy the
  /// source.
  bool moved = false;
  std::vector<Obstacle> obstacles;  ///< not moved because of these; the source is as it was found
  bool saved = false;               ///< a checkpoint has been made; the guest goes on here
  std::string lost;  ///< moved, but the link broke before the last page: why; the guest is lost
  Report report;
};

struct SendOptions {
  Strategy strategy = Strategy::swap_out;
  /// Leaves the guest here; the target makes a checkpoint (checkpoint.h).
  bool copy = false;
  /// For pre-copy: compare pages even where the kernel could tell which were written.
  bool compare_pages = false;
  /// How long the target may take for each of its steps before the commit. Then the move is given
  /// up, unless home says that it has happened.
  Duration patience = seconds(60);
};

/// Moves the guest to the Listener at address:port. Blocks until every page has been delivered;
/// with Strategy::demand that can be as long as the guest lives. A guest that is frozen already
/// (its owner is back) is always pushed. If the link breaks once the image is on its way, `settle`
/// decides. A link that breaks after the commit, while pages are owed, is made again (relink.h);
/// where that fails the pages are lost, and the guest with them (Sent::lost). It never runs here
/// again.
Result<Sent> send(Guest& guest, const std::string& address, uint16_t port, const LinkKey& key,
                  SourceHooks& hooks, const SendOptions& options = {});

class CheckpointFile;

/// The target's end of one migration, after the resume: pages still arrive in threads of their own.
class Arrival {
 public:
  /// Waits for the source (at most `patience` for it to connect, and for each next step), restores
  /// the tree into guest.sandbox, commits, resumes. On return the guest runs, guest.root is set,
  /// and the stream of pages goes on behind it.
  static Result<Arrival> receive(Listener listener, Guest& guest, TargetHooks& hooks,
                                 Duration patience);
  /// The same from a checkpoint (checkpoint.h): the guest goes on from it.
  static Result<Arrival> restart(const CheckpointFile& checkpoint, Guest& guest, TargetHooks& hooks,
                                 Duration patience);
  Arrival(Arrival&&) noexcept;
  ~Arrival();

  /// Readable (eventfd) when the last page is in or the source was lost.
  int done_fd() const;
  /// Does not wait any longer for the guest to touch its pages (Strategy::demand).
  void hurry();
  /// Call when done_fd() is readable: joins the threads. An Error means pages are lost for ever and
  /// the guest has been killed.
  Result<Report> finish();

  struct State;

 private:
  explicit Arrival(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hob::migrate
