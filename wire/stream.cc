#include "wire/stream.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"

namespace hob::wire {
namespace {

constexpr size_t kHeader = 8;
/// Until the next try when no connection could be accepted: long enough to cost nothing, and short
/// enough that a person does not notice.
constexpr auto kAcceptPause = milliseconds(100);

uint32_t load_u32(const char* p) {
  const auto* b = reinterpret_cast<const unsigned char*>(p);
  return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 |
         static_cast<uint32_t>(b[2]) << 16 | static_cast<uint32_t>(b[3]) << 24;
}

void store_u32(std::string& out, size_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<char>(value >> shift & 0xff));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error::sys("use socket", path, ENAMETOOLONG, "choose a shorter run_dir");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

Result<std::optional<Message>> StreamDecoder::next() {
  const size_t available = buffer_.size() - consumed_;
  const char* p = buffer_.data() + consumed_;
  size_t whole = kHeader;
  if (available >= kHeader) {
    const size_t envelope = load_u32(p), bulk = load_u32(p + 4);
    TRY(check_size(envelope, bulk));
    whole = kHeader + envelope + bulk;
    if (available >= whole) {
      Message message{TRY(decode({p + kHeader, envelope})),
                      std::string(p + kHeader + envelope, bulk)};
      consumed_ += whole;
      return std::optional(std::move(message));
    }
  }
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  return std::optional<Message>();
}

std::string encode_for_stream(Message& message) {
  const std::string envelope = encode(message.envelope);
  std::string out;
  out.reserve(kHeader + envelope.size() + message.bulk.size());
  store_u32(out, envelope.size());
  store_u32(out, message.bulk.size());
  return out.append(envelope).append(message.bulk);
}

Result<PeerIdentity> peer_identity(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
    return Error::sys("read", "the credentials of a local client");
  PeerIdentity identity{credentials.pid, credentials.uid, credentials.gid, std::vector<gid_t>(64)};
  for (;;) {
    size = static_cast<socklen_t>(identity.groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, identity.groups.data(), &size) == 0) break;
    if (errno != ERANGE) return Error::sys("read", "the groups of a local client");
    identity.groups.resize(size / sizeof(gid_t));
  }
  identity.groups.resize(size / sizeof(gid_t));
  return identity;
}

Result<std::unique_ptr<StreamChannel>> StreamChannel::create(EventLoop& loop, Fd socket,
                                                             Events events) {
  TRY(set_nonblocking(socket.get()));
  std::unique_ptr<StreamChannel> channel(
      new StreamChannel(loop, std::move(socket), std::move(events)));
  channel->watch_ =
      TRY(loop.watch(channel->socket_.get(), EPOLLIN,
                     [raw = channel.get()](uint32_t ready) { raw->on_ready(ready); }));
  return channel;
}

StreamChannel::~StreamChannel() {
  *alive_ = false;
}

void StreamChannel::send(Message message) {
  if (!watch_) return;  // closed: on_close has been or will be called
  const std::string bytes = encode_for_stream(message);
  if (auto fits = check_size(bytes.size() - kHeader - message.bulk.size(), message.bulk.size());
      !fits.ok()) {
    loop_.defer([this, alive = alive_, reason = fits.error()] {
      if (*alive) close(reason);
    });
    return;
  }
  const bool idle = queued() == 0;
  output_.append(bytes);
  if (!idle) return;
  if (!gathers_) return write_output();
  loop_.defer([this, alive = alive_] {
    if (*alive && watch_ && !watching_output_) write_output();
  });
}

void StreamChannel::answer(const pb::Envelope& request, pb::Envelope envelope) {
  if (request.request() == 0) return;
  envelope.set_answers(request.request());
  send(std::move(envelope));
}

void StreamChannel::on_ready(uint32_t ready) {
  if ((ready & EPOLLOUT) != 0) write_output();
  if (watch_ && (ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_input();
}

void StreamChannel::read_input() {
  char buffer[kStreamPiece + 4096];
  const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return close(Error::sys("read from", "a local connection"));
  if (n == 0) return close(Error{"the other side closed the connection", ECONNRESET});
  decoder_.feed({buffer, static_cast<size_t>(n)});
  deliver_messages();
}

void StreamChannel::deliver_messages() {
  const std::shared_ptr<bool> alive = alive_;
  const std::shared_ptr<Events> events = events_;
  while (*alive && watch_) {
    Result<std::optional<Message>> message = decoder_.next();
    if (!message.ok()) {
      send(failure(pb::Failure::USAGE, message.error().text));
      return close(std::move(message).error());
    }
    if (!message->has_value()) return;
    events->on_message(std::move(**message));
  }
}

void StreamChannel::write_output() {
  while (written_ < output_.size()) {
    const ssize_t n = ::send(socket_.get(), output_.data() + written_, output_.size() - written_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      // The other side has gone. What it sent before is still to be read, and reading finds the
      // end.
      output_.clear();
      written_ = 0;
      break;
    }
    written_ += static_cast<size_t>(n);
  }
  // What was written goes once it is most of it: each byte is moved at most once, on average.
  if (written_ > output_.size() / 2) output_.erase(0, written_), written_ = 0;
  const bool want = written_ < output_.size();
  if (want == watching_output_) return;
  watching_output_ = want;
  Result<void> changed = loop_.change(watch_, EPOLLIN | (want ? EPOLLOUT : 0u));
  CHECK(changed.ok());
}

void StreamChannel::close(Error reason) {
  if (!watch_) return;
  if (gathers_ && !watching_output_) write_output();
  watch_.reset();
  const std::shared_ptr<Events> events = events_;
  events->on_close(reason);
}

Result<std::unique_ptr<StreamListener>> StreamListener::create(
    EventLoop& loop, const std::string& path, unsigned mode,
    std::function<void(Fd)> on_connection) {
  sockaddr_un address = TRY(address_of(path));
  std::unique_ptr<StreamListener> listener(new StreamListener(loop));
  listener->socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener->socket_) return Error::sys("create", "a unix socket");
  ::unlink(path.c_str());
  if (::bind(listener->socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return Error::sys("bind", path);
  listener->path_ = path;
  if (::chmod(path.c_str(), mode) < 0) return Error::sys("chmod", path);
  if (::listen(listener->socket_.get(), 512) < 0) return Error::sys("listen on", path);
  listener->watch_ =
      TRY(loop.watch(listener->socket_.get(), EPOLLIN,
                     [raw = listener.get(), on_connection = std::move(on_connection)](uint32_t) {
                       raw->accept_one(on_connection);
                     }));
  return listener;
}

void StreamListener::accept_one(const std::function<void(Fd)>& on_connection) {
  Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (connection) return on_connection(std::move(connection));
  if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
  log::error("{}", Error::sys("accept a client on", path_).text);
  // The client is still there, and the loop would come back to it at once, for ever.
  CHECK(loop_.change(watch_, 0).ok());
  pause_ = loop_.after(kAcceptPause, [this] { CHECK(loop_.change(watch_, EPOLLIN).ok()); });
}

StreamListener::~StreamListener() {
  watch_.reset();
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<Fd> connect_stream(const std::string& path) {
  sockaddr_un address = TRY(address_of(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error::sys("create", "a unix socket");
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return Error::sys("connect to", path);
  return fd;
}

Result<void> send_blocking(int fd, Message message) {
  const std::string bytes = encode_for_stream(message);
  TRY(check_size(bytes.size() - kHeader - message.bulk.size(), message.bulk.size()));
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t n = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::sys("write to", "a local connection");
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<Message> receive_blocking(int fd, StreamDecoder& decoder, Duration limit) {
  const Time deadline = Clock::now() + limit;
  for (;;) {
    if (auto message = TRY(decoder.next())) return std::move(*message);
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Error::sys("wait for an answer on", "a local connection", ETIMEDOUT);
    pollfd ready{fd, POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
    char buffer[65536];
    const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return Error::sys("read from", "a local connection");
    if (n == 0) return Error{"read from a local connection: the other side closed it", ECONNRESET};
    decoder.feed({buffer, static_cast<size_t>(n)});
  }
}

}  // namespace hob::wire
