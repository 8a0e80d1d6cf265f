#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "migrate/advice.h"
#include "migrate/arena.h"
#include "migrate/captive.h"
#include "migrate/check.h"
#include "migrate/image.h"
#include "migrate/injector.h"
#include "migrate/known_files.h"
#include "migrate/migrate.h"
#include "migrate/objects.h"
#include "migrate/proc.h"

/// Process state as a table of parts. The engine walks the table and knows nothing of what is in
/// it.
///
/// Each part has these functions, any of which may be null:
/// - check: looks at a process from outside, stops nothing, names what it could not capture;
/// - capture: reads the state of one stopped process into its image; what only the process itself
/// can
///   ask is queued as system calls, whose results arrive when the batch has run;
/// - adopt: runs natively in the new process, as root, while it still is a copy of the engine: what
/// is
///   done with files;
/// - rebuild: queues the system calls by which the new process makes the state its own;
/// - sketch: reads of a process that runs what a draft has of it (draft.h);
/// - rebuild_ahead: queues what can be done upon a draft; rebuild then finds Rebuild::drafted.
namespace hob::migrate {

class MadePtys;
class TakenBytes;

/// A process that check looks at.
struct Inspection {
  const Guest& guest;
  Tid pid;
  pid_t inside;
  proc::Status status;
  std::vector<Obstacle>& obstacles;
  std::vector<Resource>* table = nullptr;  ///< filled where somebody wants it
  /// "WHAT of process 12 (python3): WHY; cannot be moved yet"
  void object(std::string_view what, std::string_view why);
  /// Says the same of an Error whose code is kObstacle.
  void object(const Error& why);
  /// WHAT, which the kernel calls NAME, follows by that rule.
  void follows(std::string_view what, std::string_view name, const Rule& rule);
};

/// What capturing one process needs.
struct ProcessCapture {
  const Guest& guest;
  CaptiveProcess& process;
  Image& image;
  Objects& objects;
  const Advices& advices;
  ProcessImage& out;
  Workspace& workspace;
  Batch& leader;  ///< runs in the leader
  std::vector<Batch>&
      threads;  ///< one per thread; the leader's is unused: its calls go to `leader`
  Batch& of(size_t thread) { return thread == 0 ? leader : threads[thread]; }
  Arena& arena;                         ///< holds what out.page_bytes will show
  const std::string& maps;              ///< /proc/PID/maps, before anything was borrowed of it
  const ProcessImage* draft = nullptr;  ///< what the target has of it already (draft.h)
  const std::string* drafted_maps = nullptr;  ///< from which that was made
  std::span<const uint64_t> touched = {};     ///< pages that it was seen to work with
};

/// What a new process has at hand while it is still a copy of the engine.
struct Adoption {
  const Image& image;
  const ProcessImage& process;
  const Guest& guest;
  size_t index;      ///< of the process in image.processes; 0 opens the shared descriptions
  int own;           ///< descriptors from here on are the stub's; the guest has none there
  int first_free;    ///< the first of them without a fixed use
  int mapped_files;  ///< files[i] has been opened at mapped_files + i (set by the memory part)
  int opened;        ///< image.descriptions[i] is at opened + i in process 0
  int objects;  ///< image.objects[i] is at objects + i: in process 0, and in others that map it
  int opener;   ///< pidfd of process 0
  std::function<void()> shared_files_opened;  ///< process 0 has opened, or failed to
  std::function<bool()> await_shared_files;   ///< the others wait for it; false: it failed
  MadePtys* ptys;  ///< those that sessions have, made with the tree; usable in process 0
};

/// What rebuilding one process by injected calls needs. The stages run in this order; `threads` all
/// at once.
struct Rebuild {
  const Image& image;
  const ProcessImage& process;
  const Guest& guest;
  Workspace& workspace;
  int mapped_files;  ///< as in Adoption
  int objects;       ///< as in Adoption
  Range spare;       ///< unused addresses, for what must step aside
  struct Vdso {
    Range vvar, vvar_clock, code;
    uint64_t low() const { return vvar.empty() ? code.start : std::min(vvar.start, code.start); }
  } vdso;                               ///< where the new process has its own
  std::span<const std::byte> own_vdso;  ///< its bytes
  Batch space;                          ///< leader: the old address space goes, the new one comes
  Batch clones;                         ///< leader: the other threads
  std::vector<Batch> threads;  ///< each thread: its own state; then the leader: the process's
  Batch rights;                ///< leader, last: what ends its privileges
  /// Set by the vdso part: what is written at `copy_at` when the address space is there (nothing
  /// where the kernel's own vdso took the old place), and where the kernel's own is then.
  Bytes vdso_copy;
  RemoteAddress copy_at, vdso_at;
  /// What has been built ahead; null: nothing.
  const ProcessImage* drafted = nullptr;
};

struct Part {
  std::string_view name;
  void (*check)(Inspection&);
  Result<void> (*capture)(ProcessCapture&);
  Result<void> (*adopt)(Adoption&);
  Result<void> (*rebuild)(Rebuild&);
  Result<void> (*sketch)(ProcessCapture&) = nullptr;
  Result<void> (*rebuild_ahead)(Rebuild&) = nullptr;
};

extern const Part kThreads, kMemory, kVdso, kSegments, kFiles, kSignals, kTimers, kSettings,
    kIdentity, kJobControl;
/// In the order in which they are walked.
std::span<const Part* const> parts();

/// State that belongs to the tree as a whole (files.cc, terminal.cc).
Result<void> capture_descriptions(const Guest& guest, std::vector<CaptiveProcess>& processes,
                                  KnownFiles& known, Objects& objects, Image& image,
                                  std::vector<TakenBytes>& taken);
Result<void> capture_terminal(const Guest& guest, const std::vector<CaptiveProcess>& processes,
                              Image& image);

/// Where the auxiliary vector says that its vdso is (part_vdso.cc).
Result<RemoteAddress> vdso_of(Tid process, const std::string& name);
/// The same of a stopped one, whose vector is read once.
Result<RemoteAddress> vdso_of(CaptiveProcess& process);
/// Lets the threads that are inside the vdso run until they are not, if they have to leave it: it
/// is a copy of another kernel's, or `leaves` says so.
Result<void> step_out_of_vdso(CaptiveProcess& process, const Platform& platform, bool leaves);

/// In a new process, before anything of the guest is known but its user: its groups, which it needs
/// to open files, and the end of the privileges that threads inherit. Forty calls, 60 us.
Result<void> give_up_privileges(const Credentials& user);

/// Something in the way, as an Error: send() turns it into an Obstacle.
inline constexpr int kObstacle = ENOTSUP;
Error obstacle(const std::string& subject, std::string_view why);

}  // namespace hob::migrate
