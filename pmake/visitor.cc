#include "pmake/visitor.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "cli/say.h"

namespace hob::pmake {

Result<std::unique_ptr<Visitor>> Visitor::create(EventLoop& loop, Fd socket, Events events) {
  std::unique_ptr<Visitor> visitor(new Visitor(loop, std::move(socket), std::move(events)));
  visitor->watch_ =
      TRY(loop.watch(visitor->socket_.get(), EPOLLIN,
                     [raw = visitor.get()](uint32_t ready) { raw->on_ready(ready); }));
  return visitor;
}

Visitor::~Visitor() {
  *alive_ = false;
}

void Visitor::on_ready(uint32_t ready) {
  if ((ready & EPOLLOUT) != 0) write();
  if (watch_ && (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read();
}

void Visitor::read() {
  char buffer[65536];
  const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return gone();
  decoder_.feed({buffer, static_cast<size_t>(n)});
  const std::shared_ptr<bool> alive = alive_;
  const std::shared_ptr<Events> events = events_;
  if (!asked_) {
    auto request = decoder_.request();
    if (!request.ok()) {
      cli::say(request.error().text);
      tell(door::Kind::whole);  // it may still do without us
      return *alive ? gone() : void();
    }
    if (!*request) return;
    asked_ = true;
    events->on_request(std::move(**request));
  }
  while (*alive && watch_) {
    const auto signal = decoder_.signal();
    if (!signal) return;
    events->on_signal(*signal);
  }
}

void Visitor::send(std::string bytes) {
  if (!watch_) return;  // it has gone
  output_.append(bytes);
  if (!waiting_) write();
}

void Visitor::write() {
  while (written_ < output_.size()) {
    const ssize_t n = ::send(socket_.get(), output_.data() + written_, output_.size() - written_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) break;  // it has gone: read() sees it
    if (n < 0) {
      if (!std::exchange(waiting_, true)) CHECK(loop_.change(watch_, EPOLLIN | EPOLLOUT).ok());
      return;
    }
    written_ += static_cast<size_t>(n);
  }
  output_.clear();
  written_ = 0;
  if (std::exchange(waiting_, false)) CHECK(loop_.change(watch_, EPOLLIN).ok());
}

void Visitor::gone() {
  watch_.reset();
  const std::shared_ptr<Events> events = events_;
  events->on_gone();
}

}  // namespace hob::pmake
