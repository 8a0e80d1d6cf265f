#pragma once

#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/result.h"

namespace hob::pmake {

/// GNU make's jobserver (the make manual, "POSIX Jobserver Interaction"), with us as the server: a
/// pipe with one byte for each recipe that may run beside the one that each make may always run.
/// The number changes while make runs: what is too many is taken back as make returns it.
class Jobserver {
 public:
  static Result<std::unique_ptr<Jobserver>> create(EventLoop& loop);

  /// So many bytes shall be in the pipe or taken by make.
  void set(uint32_t tokens);
  /// Bytes in the pipe: what make could use and does not.
  uint32_t idle() const;
  /// The descriptors that make inherits (not close-on-exec), "--jobserver-auth=R,W".
  std::string auth() const;

 private:
  explicit Jobserver(EventLoop& loop) : loop_(loop) {}
  void take_back();

  EventLoop& loop_;
  Fd read_, write_;          // make's
  Fd own_read_, own_write_;  // the same pipe, opened again: ours do not block, make's do
  uint32_t given_ = 0;       // in circulation
  uint32_t wanted_ = 0;
  EventLoop::Handle watch_;
};

}  // namespace hob::pmake
