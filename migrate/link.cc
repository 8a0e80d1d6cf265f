#include "migrate/link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "migrate/sealer.h"
#include "migrate/socket_io.h"

namespace hob::migrate {
namespace {

constexpr size_t kMac = 32, kLengthField = sizeof(uint32_t);
constexpr char kMagic[8] = {'H', 'O', 'B', 'L', 'I', 'N', 'K', '1'};
constexpr size_t kHello = sizeof kMagic + 1 + kSalt + kMac;

Error broken(const char* what) {
  return Error{std::string("the link: ") + what + "; it was cut or forged", EPROTO};
}

void tune_buffers(int fd) {
  int buffer = 4 << 20;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
}

void tune(int fd) {
  int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // Who waits for something that need not come hears within four minutes that its peer has died.
  int idle = 60, interval = 20, probes = 9;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  tune_buffers(fd);
}

std::array<uint8_t, kMac> hello_mac(const LinkKey& key, const uint8_t* hello) {
  std::array<uint8_t, kMac> mac;
  unsigned size = kMac;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), hello, kHello - kMac,
             mac.data(), &size));
  return mac;
}

Salt random_salt() {
  Salt salt;
  CHECK(RAND_bytes(salt.data(), static_cast<int>(salt.size())) > 0);
  return salt;
}

}  // namespace

// Touched when it is needed: what an image takes, by its draft. And not for the copies of this
// process that become the guest: they would have to give it all back in the freeze.
class RecordBuffer {
 public:
  RecordBuffer()
      : at_(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    CHECK(at_ != MAP_FAILED && ::madvise(at_, kSize, MADV_DONTFORK) == 0);
  }
  ~RecordBuffer() { ::munmap(at_, kSize); }
  RecordBuffer(const RecordBuffer&) = delete;
  RecordBuffer& operator=(const RecordBuffer&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(at_); }

 private:
  static constexpr size_t kSize = kLengthField + kMaxRecord + Sealer::kTag;
  void* at_;
};

struct Connection::State {
  State(Fd socket, std::optional<Sealer> out, std::optional<Sealer> in)
      : fd(std::move(socket)), out(std::move(out)), in(std::move(in)) {}
  Fd fd;
  std::optional<Sealer> out, in;  // none: between threads of one process
  std::atomic<uint64_t> sent{0};
  std::atomic<int64_t> patience{Duration(kUsualPatience).count()};
  RecordBuffer send_buffer, receive_buffer;
};

Connection::Connection(std::unique_ptr<State> state) : state_(std::move(state)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

void Connection::set_patience(Duration limit) {
  state_->patience = limit.count();
}
void Connection::shut() {
  // What is still on its way nobody reads: the peer is to hear so (a reset) when this is closed.
  // Until then, if it waits for room in a full window, it hears of the end (socket_io.h).
  break_off();
  ::shutdown(state_->fd.get(), SHUT_RDWR);
}
void Connection::break_off() {
  const linger reset = {1, 0};
  ::setsockopt(state_->fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}
int Connection::fd() const {
  return state_->fd.get();
}
uint64_t Connection::sent_bytes() const {
  return state_->sent;
}

Result<void> Connection::send(std::initializer_list<std::span<const std::byte>> pieces) {
  return send(std::span(pieces.begin(), pieces.size()));
}

Result<void> Connection::send(std::span<const std::span<const std::byte>> pieces) {
  size_t size = 0;
  for (auto piece : pieces) size += piece.size();
  CHECK(size <= kMaxRecord);
  uint8_t* p = state_->send_buffer.data();
  const auto length = static_cast<uint32_t>(size);
  std::memcpy(p, &length, kLengthField);
  uint8_t* to = p + kLengthField;
  auto& out = state_->out;
  if (out) out->begin({p, kLengthField}, true);
  for (auto piece : pieces) {
    if (piece.empty()) continue;
    if (out)
      out->update(to, reinterpret_cast<const uint8_t*>(piece.data()), piece.size());
    else
      std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  if (out) {
    out->seal(to);
    to += Sealer::kTag;
  }
  const auto total = static_cast<size_t>(to - p);
  state_->sent += total;
  return write_all(state_->fd.get(), p, total, Clock::now() + nanoseconds(state_->patience.load()));
}

Result<size_t> Connection::receive_into(std::span<std::byte> to) {
  const Time end = Clock::now() + nanoseconds(state_->patience.load());
  uint8_t field[kLengthField];
  TRY(read_all(state_->fd.get(), field, sizeof field, end));
  uint32_t length = 0;
  std::memcpy(&length, field, sizeof length);
  if (length > kMaxRecord || length > to.size()) return broken("a record is too long");
  if (!state_->in) {
    TRY(read_all(state_->fd.get(), to.data(), length, end));
    return length;
  }
  auto* p = state_->receive_buffer.data();
  TRY(read_all(state_->fd.get(), p, length + Sealer::kTag, end));
  state_->in->begin(field, false);
  if (length > 0) state_->in->update(reinterpret_cast<uint8_t*>(to.data()), p, length);
  if (!state_->in->verify(p + length)) return broken("a record is not authentic");
  return length;
}

Result<std::span<const std::byte>> Connection::receive() {
  // Decrypted in place: GCM allows input and output to be the same bytes.
  std::span<std::byte> here(reinterpret_cast<std::byte*>(state_->receive_buffer.data()),
                            kMaxRecord);
  size_t size = TRY(receive_into(here));
  return std::span<const std::byte>(here.first(size));
}

/// Both ends of the hello; a class because it makes Connections.
class Handshake {
 public:
  static Result<Connection> as_source(Fd socket, Channel channel, const LinkKey& key, Time end) {
    Salt mine = random_salt(), theirs;
    uint8_t hello[kHello];
    std::memcpy(hello, kMagic, sizeof kMagic);
    hello[sizeof kMagic] = static_cast<uint8_t>(channel);
    std::copy(mine.begin(), mine.end(), hello + sizeof kMagic + 1);
    auto mac = hello_mac(key, hello);
    std::copy(mac.begin(), mac.end(), hello + kHello - kMac);
    TRY(write_all(socket.get(), hello, sizeof hello, end));
    TRY(read_all(socket.get(), theirs.data(), theirs.size(), end));
    Connection connection = make(std::move(socket), Sealer(key, mine, theirs, channel, true),
                                 Sealer(key, mine, theirs, channel, false));
    connection.set_patience(end - Clock::now());
    TRY(connection.receive());
    TRY(connection.send({}));
    connection.set_patience(kUsualPatience);
    return connection;
  }

  static Result<Connection> as_target(Fd socket, const uint8_t* hello, const LinkKey& key,
                                      Time end) {
    Salt mine = random_salt(), theirs;
    std::copy_n(hello + sizeof kMagic + 1, kSalt, theirs.begin());
    const auto channel = static_cast<Channel>(hello[sizeof kMagic]);
    TRY(write_all(socket.get(), mine.data(), mine.size(), end));
    Connection connection = make(std::move(socket), Sealer(key, theirs, mine, channel, false),
                                 Sealer(key, theirs, mine, channel, true));
    connection.set_patience(end - Clock::now());
    TRY(connection.send({}));
    TRY(connection.receive());  // a replayed hello ends here: its sender cannot seal
    connection.set_patience(kUsualPatience);
    return connection;
  }

  static bool authentic(const uint8_t* hello, const LinkKey& key) {
    auto mac = hello_mac(key, hello);
    return std::memcmp(hello, kMagic, sizeof kMagic) == 0 && hello[sizeof kMagic] <= 2 &&
           CRYPTO_memcmp(mac.data(), hello + kHello - kMac, kMac) == 0;
  }

 private:
  static Connection make(Fd socket, Sealer out, Sealer in) {
    return Connection(
        std::make_unique<Connection::State>(std::move(socket), std::move(out), std::move(in)));
  }
};

static Result<sockaddr_in> ipv4(const std::string& address, uint16_t port) {
  sockaddr_in a = {};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &a.sin_addr) != 1)
    return Error{"use address '" + address + "': it is not an IPv4 address", EINVAL};
  return a;
}

// A cable that is out, a route that is not there yet.
static bool may_pass(int error) {
  return error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN;
}

static Result<Fd> connect_socket(const sockaddr_in& to, const std::string& name, Time end) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::sys("make a socket for", name);
  tune(socket.get());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0) {
    if (errno != EINPROGRESS) return Error::sys("connect to", name);
    TRY(await_room(socket.get(), end));
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return Error::sys("connect to", name, error);
  }
  return socket;
}

static Result<Connection> connect_one(const sockaddr_in& to, const std::string& name,
                                      Channel channel, const LinkKey& key, Time end) {
  for (;;) {
    Result<Fd> socket = connect_socket(to, name, end);
    if (socket) return Handshake::as_source(std::move(*socket), channel, key, end);
    if (!may_pass(socket.error().code) || Clock::now() >= end) return std::move(socket).error();
    const timespec a_while = {0, 200'000'000};
    ::nanosleep(&a_while, nullptr);
  }
}

Result<Link> connect_link(const std::string& address, uint16_t port, const LinkKey& key,
                          Duration limit) {
  const Time end = Clock::now() + limit;
  const std::string name = address + ":" + std::to_string(port);
  sockaddr_in to = TRY(ipv4(address, port));
  Connection control = TRY(connect_one(to, name, Channel::control, key, end));
  Connection demand = TRY(connect_one(to, name, Channel::demand, key, end));
  Connection bulk = TRY(connect_one(to, name, Channel::bulk, key, end));
  return Link{std::move(control), std::move(demand), std::move(bulk)};
}

Result<Link> accept_link(int listener, const LinkKey& key, Duration limit) {
  constexpr Duration kSourceSilent = seconds(30);
  constexpr size_t kMaxPending = 16;  // strangers beyond these wait in the kernel's queue
  struct Pending {
    Fd fd;
    uint8_t hello[kHello];
    size_t have = 0;
    Time end;
  };
  const Time end = Clock::now() + limit;
  std::vector<Pending> pending;
  std::optional<Connection> channels[3];
  while (!channels[0] || !channels[1] || !channels[2]) {
    const Time now = Clock::now();
    if (now >= end) return Error{"wait for the source: it did not connect in time", ETIMEDOUT};
    std::erase_if(pending, [&](const Pending& p) { return now >= p.end; });
    std::vector<pollfd> polled;
    for (const Pending& p : pending) polled.push_back({p.fd.get(), POLLIN, 0});
    if (pending.size() < kMaxPending) polled.push_back({listener, POLLIN, 0});
    const auto left = std::chrono::duration_cast<milliseconds>(end - now).count();
    const int n =
        ::poll(polled.data(), polled.size(), static_cast<int>(std::min<int64_t>(left + 1, 100)));
    if (n < 0 && errno != EINTR) return Error::sys("wait for", "the source");
    if (n <= 0) continue;

    for (size_t i = pending.size(); i-- > 0;) {
      if (!polled[i].revents) continue;
      Pending& p = pending[i];
      ssize_t got = ::recv(p.fd.get(), p.hello + p.have, kHello - p.have, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (got > 0) p.have += static_cast<size_t>(got);
      if (got > 0 && p.have < kHello) continue;
      if (got > 0 && Handshake::authentic(p.hello, key) && !channels[p.hello[sizeof kMagic]]) {
        // It is the source, which connects once, and a cable that is out for some seconds would
        // leave it with a connection that we have given up.
        const Time limit = std::min(end, now + kSourceSilent);
        auto connection = Handshake::as_target(std::move(p.fd), p.hello, key, limit);
        if (connection) channels[p.hello[sizeof kMagic]].emplace(std::move(*connection));
      }
      pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (polled.back().fd == listener && polled.back().revents) {
      Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        tune(fd.get());
        Pending p;
        p.fd = std::move(fd);
        p.end = Clock::now() + seconds(5);
        pending.push_back(std::move(p));
      } else if (errno == EINVAL) {
        return Error{"wait for the source: the listener was shut down", ECANCELED};
      }
    }
  }
  return Link{std::move(*channels[0]), std::move(*channels[1]), std::move(*channels[2])};
}

Result<std::pair<Connection, Connection>> connect_threads() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
    return Error::sys("make", "a socket pair");
  Fd one(ends[0]), other(ends[1]);
  tune_buffers(one.get());
  tune_buffers(other.get());
  return std::pair(
      Connection(std::make_unique<Connection::State>(std::move(one), std::nullopt, std::nullopt)),
      Connection(
          std::make_unique<Connection::State>(std::move(other), std::nullopt, std::nullopt)));
}

Result<ListenSocket> listen_on(const std::string& address) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::sys("make a socket for", address);
  sockaddr_in a = TRY(ipv4(address, 0));
  socklen_t size = sizeof a;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) < 0 ||
      ::listen(fd.get(), 16) < 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&a), &size) < 0)
    return Error::sys("listen on", address);
  return ListenSocket{std::move(fd), ntohs(a.sin_port)};
}

}  // namespace hob::migrate
