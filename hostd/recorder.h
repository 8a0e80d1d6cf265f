#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "hostd/child.h"
#include "migrate/cgroup.h"
#include "wire/stream.h"

/// Checkpoints are written at a job's home by a process of their own, the recorder: hostd itself
/// never waits for a disk, and the file is made with the user's rights.
namespace hob::hostd {

/// hostd's side: one recorder, from its start to its end. Dropping it ends it; what it has not
/// finished is no checkpoint, and a file that was there before is untouched.
class Recorder {
 public:
  struct Events {
    std::function<void(const pb::Listening&)> listening;  ///< the source may connect
    std::function<void(Result<uint64_t> size)> ended;     ///< once; it may be dropped then
  };
  /// `starter` is the program hob-starter; `record` says what to write.
  static Result<std::unique_ptr<Recorder>> start(EventLoop& loop, const migrate::Cgroup& group,
                                                 const std::string& starter,
                                                 const std::string& address, pb::Record record,
                                                 Events events);
  ~Recorder();

 private:
  Recorder(EventLoop& loop, Child child, Events events);
  void on_message(wire::Message message);
  void end(Result<uint64_t> outcome);

  EventLoop& loop_;
  Child child_;
  Events events_;
  std::unique_ptr<wire::StreamChannel> channel_;
};

/// The recorder's side: hob-starter's second life (`hob-starter record ADDRESS`), with its
/// connection as descriptor 3. Returns the process's status.
int record(const std::string& address);

}  // namespace hob::hostd
