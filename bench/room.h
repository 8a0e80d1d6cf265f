#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

/// A pid and a mount namespace of their own, in which CRIU finds what it would find on another
/// machine: the process numbers of the program are free.
namespace hob::bench {

class Room {
 public:
  static Result<Room> open();
  Room(Room&& other) noexcept;
  Room& operator=(Room&& other) noexcept;
  ~Room();  ///< kills all inside

  /// Starts a command inside, its standard streams at /dev/null. The process to wait for; its exit
  /// status is the command's. `inherited`: a descriptor that the command gets under its own number.
  Result<pid_t> begin(const std::vector<std::string>& command, int inherited = -1) const;
  /// The same, and waits: an Error unless it ends with 0.
  Result<void> run(const std::vector<std::string>& command) const;
  /// Starts a program that nobody waits for, in a session of its own, with a number above 1000,
  /// which nothing that starts first in another room has taken.
  Result<void> launch(const std::vector<std::string>& command) const;
  /// All processes inside but its init, as this machine sees them.
  std::vector<pid_t> inhabitants() const;

 private:
  explicit Room(pid_t init) : init_(init) {}
  void close();
  pid_t init_ = 0;
};

/// Waits for a command that begin() has started.
Result<void> await_success(pid_t pid, const std::string& name);

}  // namespace hob::bench
