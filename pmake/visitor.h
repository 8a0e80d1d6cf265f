#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/fd.h"
#include "pmake/door.h"

namespace hob::pmake {

/// The shell of one recipe line at the door (door_format.h), at pmake's end of the connection.
///
/// What it is told and the kernel does not take waits in memory: its recipe's output, which is
/// there anyway. Callbacks come from the loop, `on_gone` once and last; a visitor may be dropped in
/// all of them. One thread, the loop's.
class Visitor {
 public:
  struct Events {
    std::function<void(DoorRequest)> on_request;
    std::function<void(int signal)> on_signal;
    std::function<void()> on_gone;  ///< ended, or told something else than the format allows
  };
  static Result<std::unique_ptr<Visitor>> create(EventLoop& loop, Fd socket, Events events);
  ~Visitor();

  void tell(door::Kind kind, uint32_t value = 0) { send(encode(kind, value)); }
  void send(std::string bytes);

 private:
  Visitor(EventLoop& loop, Fd socket, Events events)
      : loop_(loop),
        socket_(std::move(socket)),
        events_(std::make_shared<Events>(std::move(events))) {}
  void on_ready(uint32_t ready);
  void read();
  void write();
  void gone();

  EventLoop& loop_;
  Fd socket_;
  std::shared_ptr<Events> events_;  // a callback that runs keeps it
  EventLoop::Handle watch_;
  DoorDecoder decoder_;
  bool asked_ = false, waiting_ = false;
  std::string output_;
  size_t written_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace hob::pmake
