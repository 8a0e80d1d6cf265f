#pragma once

#include <sys/stat.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "migrate/descriptor_table.h"
#include "migrate/image.h"
#include "migrate/locks.h"
#include "migrate/migrate.h"
#include "migrate/types.h"

/// Helpers for files that several parts need.
namespace hob::migrate {

/// While it lives, this thread opens files with the user's rights and no others: a path may come
/// from a hostile image. The groups must be the user's already. For single-threaded stubs.
class AsUser {
 public:
  explicit AsUser(const Credentials& user);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;
};

/// While it lives, others see what this process makes (sockets) as the user's. Of the whole
/// process.
class AsEffectiveUser {
 public:
  explicit AsEffectiveUser(const Credentials& user);
  ~AsEffectiveUser();
  AsEffectiveUser(const AsEffectiveUser&) = delete;
  AsEffectiveUser& operator=(const AsEffectiveUser&) = delete;
  bool ok() const { return changed_; }

 private:
  bool changed_ = false;
};

/// Whether other hosts may have the file too, with caches of their own.
Result<bool> is_remote(int fd, const std::string& path);
Result<bool> is_remote(const std::string& path);

/// If the file may be cached away from its server: everything written here is made visible to the
/// hosts that open it from now on. Does nothing for local file systems.
Result<void> flush_if_remote(int fd, const std::string& path);

/// stat(2) of `path` as the process sees it (its root, its mounts).
Result<struct stat> stat_for(Tid process, const std::string& path);

/// What the descriptor is and how it is carried; the numbers that identify the file behind it too.
struct Described {
  Description description;
  dev_t device = 0;
  ino_t inode = 0;
  bool close_on_exec = false;
  std::vector<FoundLock> locks;
  Fd file;  ///< regular files: of ours, for the same one. A pipe's end would count as open
};
/// An Error with code kObstacle: it cannot be carried.
Result<Described> describe(const Guest& guest, const DescriptorTable& table, int number);

}  // namespace hob::migrate
