#include "wire/zmq.h"

#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <cstring>
#include <utility>
#include <zmq.hpp>

#include "base/log.h"

namespace hob::wire {
namespace {

/// Liveness of a connection, by ZeroMQ's own heartbeats.
constexpr auto kHeartbeat = seconds(2);
constexpr auto kHeartbeatTimeout = seconds(6);
constexpr auto kHandshakeTimeout = seconds(5);
constexpr auto kReconnectFirst = milliseconds(50);
constexpr auto kReconnectLongest = seconds(2);
constexpr int kHighWaterMark = 1000;  // messages per peer
/// Messages handled before other descriptors of the loop get their turn.
constexpr int kBatch = 64;

/// What CURVE adds to a frame: "\7MESSAGE", nonce, authenticator, flags (RFC 26). libzmq holds the
/// limit on a frame's size against what comes over the wire.
constexpr size_t kCurveOverhead = 8 + 8 + 16 + 1;

int count(milliseconds d) {
  return static_cast<int>(d.count());
}

Error zmq_error(std::string_view operation, std::string_view subject) {
  return Error{fmt::format("{} {}: {}", operation, subject, zmq_strerror(zmq_errno())),
               zmq_errno()};
}

/// A ZeroMQ socket in the event loop. Its descriptor is edge-triggered in spirit: it tells that
/// ZMQ_EVENTS may have changed, and any other call may consume that, so events are looked at after
/// each of them.
class LoopSocket {
 public:
  LoopSocket(EventLoop& loop, zmq::context_t& context, zmq::socket_type type)
      : loop_(loop), socket_(context, type) {
    socket_.set(zmq::sockopt::linger, 0);
  }
  ~LoopSocket() { *alive_ = false; }

  zmq::socket_t& raw() { return socket_; }

  /// From now on `on_input` is called while there is a message; it must receive exactly one.
  Result<void> start(std::function<void()> on_input) {
    on_input_ = std::move(on_input);
    watch_ =
        TRY(loop_.watch(socket_.get(zmq::sockopt::fd), EPOLLIN, [this](uint32_t) { drain(); }));
    look_later();
    return {};
  }

  void look_later() {
    if (pending_) return;
    pending_ = true;
    loop_.defer([this, alive = alive_] {
      if (!*alive) return;
      pending_ = false;
      drain();
    });
  }

  bool has_input() { return (socket_.get(zmq::sockopt::events) & ZMQ_POLLIN) != 0; }

  bool receive(std::vector<zmq::message_t>& frames) {
    frames.clear();
    for (;;) {
      zmq::message_t frame;
      if (!socket_.recv(frame, zmq::recv_flags::dontwait)) return false;
      const bool more = frame.more();
      frames.push_back(std::move(frame));
      if (!more) return true;
    }
  }

  Result<void> send(std::vector<zmq::message_t> frames, std::string_view subject) {
    for (size_t i = 0; i < frames.size(); ++i) {
      auto flags = zmq::send_flags::dontwait;
      if (i + 1 < frames.size()) flags = flags | zmq::send_flags::sndmore;
      try {
        if (!socket_.send(frames[i], flags))
          return Error::sys("send to", subject, EAGAIN, "too much is waiting for it already");
      } catch (const zmq::error_t& e) {
        return Error{fmt::format("send to {}: {}", subject, e.what()), e.num()};
      }
    }
    if (has_input()) look_later();
    return {};
  }

  EventLoop& loop() { return loop_; }

 private:
  void drain() {
    std::shared_ptr<bool> alive = alive_;
    for (int i = 0; i < kBatch && has_input(); ++i) {
      on_input_();
      if (!*alive) return;
    }
    if (has_input()) look_later();
  }

  EventLoop& loop_;
  zmq::socket_t socket_;
  std::function<void()> on_input_;
  EventLoop::Handle watch_;
  bool pending_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

void set_common(zmq::socket_t& socket) {
  socket.set(zmq::sockopt::linger, 0);
  socket.set(zmq::sockopt::sndhwm, kHighWaterMark);
  socket.set(zmq::sockopt::rcvhwm, kHighWaterMark);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<int64_t>(kMaxEnvelope + kCurveOverhead));
  socket.set(zmq::sockopt::handshake_ivl, count(kHandshakeTimeout));
  socket.set(zmq::sockopt::heartbeat_ivl, count(kHeartbeat));
  socket.set(zmq::sockopt::heartbeat_timeout, count(kHeartbeatTimeout));
  socket.set(zmq::sockopt::reconnect_ivl, count(kReconnectFirst));
  socket.set(zmq::sockopt::reconnect_ivl_max, count(kReconnectLongest));
}

zmq::const_buffer buffer(const Key& key) {
  return {key.data(), key.size()};
}

/// Frames after the routing ones: envelope, and bulk if present.
Result<Message> message_of(std::vector<zmq::message_t>& frames, size_t first) {
  const size_t parts = frames.size() - first;
  if (parts < 1 || parts > 2)
    return Error{fmt::format("decode a message: {} frames instead of one or two", parts)};
  Message message{TRY(decode({frames[first].data<char>(), frames[first].size()})), {}};
  if (parts == 2) {
    TRY(check_size(frames[first].size(), frames[first + 1].size()));
    message.bulk.assign(frames[first + 1].data<char>(), frames[first + 1].size());
  }
  return message;
}

Result<void> append(std::vector<zmq::message_t>& frames, Message& message) {
  const std::string envelope = encode(message.envelope);
  TRY(check_size(envelope.size(), message.bulk.size()));
  frames.emplace_back(envelope.data(), envelope.size());
  if (!message.bulk.empty()) frames.emplace_back(message.bulk.data(), message.bulk.size());
  return {};
}

}  // namespace

// ---------------------------------------------------------------------------------- keys

KeyPair generate_key_pair() {
  char public_text[41], secret_text[41];
  CHECK(zmq_curve_keypair(public_text, secret_text) == 0);
  KeyPair pair;
  zmq_z85_decode(pair.public_key.data(), public_text);
  zmq_z85_decode(pair.secret_key.data(), secret_text);
  return pair;
}

Result<Key> public_key_of(const Key& secret_key) {
  char public_text[41];
  if (zmq_curve_public(public_text, to_text(secret_key).c_str()) != 0)
    return zmq_error("derive", "a public key");
  return key_from_text(public_text);
}

std::string to_text(const Key& key) {
  char text[41];
  CHECK(zmq_z85_encode(text, key.data(), key.size()) != nullptr);
  return text;
}

Result<Key> key_from_text(std::string_view text) {
  Key key;
  if (text.size() != 40 || text.find('\0') != text.npos ||
      zmq_z85_decode(key.data(), std::string(text).c_str()) == nullptr)
    return Error{fmt::format("read key '{}': not a key of 40 characters (Z85)", text), EINVAL};
  return key;
}

Result<Key> read_secret_key(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0)
    return Error::sys("read key", path, errno, "`remote cell init` or `remote cell join` makes it");
  if ((status.st_mode & 077) != 0)
    return Error{fmt::format("read key {}: others may read it; run: chmod 600 {}", path, path),
                 EPERM};
  std::string text = TRY(read_file(path, 4096));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  Result<Key> key = key_from_text(text);
  // Never the text itself: it may be a damaged secret.
  if (!key.ok()) return Error{fmt::format("read key {}: damaged; make a new one", path), EINVAL};
  return key;
}

Result<void> write_secret_key(const std::string& path, const Key& key) {
  return replace_file(path, to_text(key) + "\n", 0600, true);
}

// ---------------------------------------------------------------------------------- context

struct Context::State {
  State(EventLoop& l, Authorise a)
      : loop(l), authorise(std::move(a)), zap(l, context, zmq::socket_type::rep) {}

  void on_request() {
    std::vector<zmq::message_t> frames;
    CHECK(zap.receive(frames));
    // RFC 27: version, request id, domain, address, identity, mechanism, credentials...
    std::string name;
    Key key{};
    if (frames.size() == 7 && frames[0].to_string_view() == "1.0" &&
        frames[5].to_string_view() == "CURVE" && frames[6].size() == 32) {
      std::memcpy(key.data(), frames[6].data(), key.size());
      name = authorise(key);
      if (name.empty())
        log::info("refused a connection from {}: key {} is not registered",
                  frames[3].to_string_view(), to_text(key));
    }
    const bool known = !name.empty();
    // The user id is the key and not the name: names can change hands while a connection is open.
    const std::string user = known ? to_text(key) : "";
    const std::string id = frames.size() > 1 ? frames[1].to_string() : "";
    std::vector<zmq::message_t> reply;
    // 300 closes the connection without a word, and the stranger tries again: it works from the
    // moment it is registered. 400 would tell it that it is refused, and its socket would give up
    // for good.
    for (std::string_view part :
         {std::string_view("1.0"), std::string_view(id), std::string_view(known ? "200" : "300"),
          std::string_view(), std::string_view(user), std::string_view()})
      reply.emplace_back(part.data(), part.size());
    CHECK(zap.send(std::move(reply), "the authentication handler").ok());
  }

  EventLoop& loop;
  Authorise authorise;
  zmq::context_t context{1};
  LoopSocket zap;
};

Context::Context(std::unique_ptr<State> state) : state_(std::move(state)) {}
Context::~Context() = default;

Result<std::unique_ptr<Context>> Context::create(EventLoop& loop, Authorise authorise) {
  CHECK(zmq_has("curve") == 1);
  auto state = std::make_unique<State>(loop, std::move(authorise));
  try {
    state->zap.raw().bind("inproc://zeromq.zap.01");
  } catch (const zmq::error_t& e) {
    return Error{fmt::format("bind the authentication handler: {}", e.what()), e.num()};
  }
  TRY(state->zap.start([raw = state.get()] { raw->on_request(); }));
  return std::unique_ptr<Context>(new Context(std::move(state)));
}

// ---------------------------------------------------------------------------------- server

struct Server::State {
  State(Context::State& c, OnMessage m)
      : context(c),
        socket(c.loop, c.context, zmq::socket_type::router),
        on_message(std::make_shared<OnMessage>(std::move(m))) {}

  /// Who has sent this, as of now; empty: nobody who may.
  std::string sender_of(zmq::message_t& frame) {
    const char* user = zmq_msg_gets(frame.handle(), "User-Id");
    const Result<Key> key = key_from_text(user == nullptr ? "" : user);
    if (key.ok()) return context.authorise(*key);
    log::error("dropped a message without an authenticated sender");
    return "";
  }

  void on_input() {
    std::vector<zmq::message_t> frames;
    if (!socket.receive(frames) || frames.size() < 2) return;
    const std::string peer = sender_of(frames.back());
    if (peer.empty()) return;  // its key was taken back: a stranger now, who gets silence
    Connection connection = frames[0].to_string();
    Result<Message> message = message_of(frames, 1);
    if (message.ok()) {
      const std::shared_ptr<OnMessage> call = on_message;  // it may drop the Server
      return (*call)(peer, connection, std::move(*message));
    }
    log::warning("message from {}: {}", peer, message.error().text);
    Message refusal{failure(pb::Failure::USAGE, message.error().text), {}};
    // It may have gone meanwhile; then nobody needs the answer.
    (void)send(connection, std::move(refusal)).ok();
  }

  Result<void> send(const Connection& to, Message message) {
    std::vector<zmq::message_t> frames;
    frames.emplace_back(to.data(), to.size());
    TRY(append(frames, message));
    return socket.send(std::move(frames), "a connected host");
  }

  Context::State& context;
  LoopSocket socket;
  std::shared_ptr<OnMessage> on_message;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::listen(Context& context, const std::string& endpoint,
                                               const Key& secret_key, OnMessage on_message) {
  auto state = std::make_unique<State>(*context.state_, std::move(on_message));
  try {
    zmq::socket_t& raw = state->socket.raw();
    set_common(raw);
    raw.set(zmq::sockopt::router_mandatory, true);
    raw.set(zmq::sockopt::curve_server, true);
    raw.set(zmq::sockopt::curve_secretkey, buffer(secret_key));
    raw.set(zmq::sockopt::zap_domain, "hob");
    raw.bind(endpoint);
  } catch (const zmq::error_t& e) {
    return Error{fmt::format("listen on {}: {}", endpoint, e.what()), e.num()};
  }
  TRY(state->socket.start([raw = state.get()] { raw->on_input(); }));
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

std::string Server::endpoint() const {
  return state_->socket.raw().get(zmq::sockopt::last_endpoint);
}

Result<void> Server::send(const Connection& to, Message message) {
  return state_->send(to, std::move(message));
}

void Server::answer(const Connection& to, const pb::Envelope& request, pb::Envelope envelope) {
  if (request.request() == 0) return;
  envelope.set_answers(request.request());
  if (auto sent = send(to, Message{std::move(envelope), {}}); !sent.ok())
    log::debug("answer not delivered: {}", sent.error().text);
}

// ---------------------------------------------------------------------------------- client

struct Client::State {
  State(EventLoop& loop, zmq::context_t& context, std::string e, OnMessage m)
      : socket(loop, context, zmq::socket_type::dealer),
        endpoint(std::move(e)),
        on_message(std::make_shared<OnMessage>(std::move(m))) {}

  struct Waiting {
    OnAnswer on_answer;
    EventLoop::Handle limit;
  };

  void on_input() {
    std::vector<zmq::message_t> frames;
    if (!socket.receive(frames)) return;
    Result<Message> message = message_of(frames, 0);
    if (!message.ok()) {
      log::warning("message from {}: {}", endpoint, message.error().text);
      return;
    }
    auto it = waiting.find(message->envelope.answers());
    if (it != waiting.end()) return finish(it, std::move(*message));
    const std::shared_ptr<OnMessage> call = on_message;  // it may drop the Client
    (*call)(std::move(*message));
  }

  void finish(std::map<uint64_t, Waiting>::iterator it, Message answer) {
    OnAnswer on_answer = std::move(it->second.on_answer);
    waiting.erase(it);
    on_answer(std::move(answer));
  }

  Result<void> send(Message message) {
    std::vector<zmq::message_t> frames;
    TRY(append(frames, message));
    return socket.send(std::move(frames), endpoint);
  }

  LoopSocket socket;
  std::string endpoint;
  std::shared_ptr<OnMessage> on_message;
  uint64_t next_request = 1;
  std::map<uint64_t, Waiting> waiting;
};

Client::Client(std::unique_ptr<State> state) : state_(std::move(state)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::connect(Context& context, const std::string& endpoint,
                                                const Key& server_key, const KeyPair& own,
                                                OnMessage on_message) {
  auto state = std::make_unique<State>(context.state_->loop, context.state_->context, endpoint,
                                       std::move(on_message));
  try {
    zmq::socket_t& raw = state->socket.raw();
    set_common(raw);
    raw.set(zmq::sockopt::curve_serverkey, buffer(server_key));
    raw.set(zmq::sockopt::curve_publickey, buffer(own.public_key));
    raw.set(zmq::sockopt::curve_secretkey, buffer(own.secret_key));
    raw.connect(endpoint);
  } catch (const zmq::error_t& e) {
    return Error{fmt::format("connect to {}: {}", endpoint, e.what()), e.num()};
  }
  TRY(state->socket.start([raw = state.get()] { raw->on_input(); }));
  return std::unique_ptr<Client>(new Client(std::move(state)));
}

Result<void> Client::send(Message message) {
  return state_->send(std::move(message));
}

uint64_t Client::request(Message message, Duration limit, OnAnswer on_answer) {
  const uint64_t number = state_->next_request++;
  message.envelope.set_request(number);
  State* state = state_.get();
  Result<void> sent = state->send(std::move(message));
  const std::string text = sent.ok() ? "no answer from " + state->endpoint : sent.error().text;
  EventLoop::Handle timer =
      state->socket.loop().after(sent.ok() ? limit : Duration::zero(), [state, number, text] {
        auto it = state->waiting.find(number);
        CHECK(it != state->waiting.end());
        state->finish(it, Message{failure(pb::Failure::UNREACHABLE, text), {}});
      });
  state->waiting.emplace(number, State::Waiting{std::move(on_answer), std::move(timer)});
  return number;
}

void Client::forget(uint64_t request) {
  state_->waiting.erase(request);
}

}  // namespace hob::wire
