#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "migrate/image.h"
#include "migrate/migrate.h"
#include "migrate/types.h"

/// What the processes of a job share by name and what lives without any of them: shared memory,
/// semaphores and message queues of System V (sysvipc(7)), and the files in /dev/shm, where POSIX
/// shared memory and semaphores are (shm_overview(7)). A sandbox has its own of both, so that all
/// of it belongs to the job and goes along: with ids, keys, modes and contents.
///
/// Lost: who touched a thing last and when (shm_lpid, sem_otime, ...), and what SEM_UNDO has
/// promised to undo, which no interface tells. Not carried: more than 512 MiB in all, and in
/// /dev/shm other than plain files at the top.
namespace hob::migrate {

/// While it lives the calling thread is in the ipc namespace of the sandbox. To go there and back
/// takes 50 us.
class IpcVisit {
 public:
  static Result<IpcVisit> to(const Guest& guest);
  IpcVisit(IpcVisit&&) noexcept = default;
  IpcVisit& operator=(IpcVisit&&) = delete;
  ~IpcVisit();

 private:
  explicit IpcVisit(Fd own) : own_(std::move(own)) {}
  Fd own_;
};

/// The source's side; nothing of the guest runs, and the caller is on an IpcVisit. An Error with
/// code kObstacle names what is in the way.
Result<void> capture_ipc(const Guest& guest, Image& image);

/// The path in the process's /dev/shm that leads to an inode, if any does: sem_open(3) gives its
/// files their names late, so that what the kernel tells of a mapping is not it.
std::optional<std::string> path_in_shm(Tid process, ino_t inode);

/// The target's side, before the copies of the engine open files and map memory. As root; what it
/// makes is the user's.
Result<void> make_ipc(const Guest& guest, const IpcImage& image);

}  // namespace hob::migrate
