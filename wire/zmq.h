#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "wire/message.h"

/// The one door to ZeroMQ: sockets that carry messages between hosts, authenticated and encrypted
/// with CURVE. There is no mode without.
///
/// All objects live on the thread of their EventLoop and inside the lifetime of their Context. A
/// callback may drop the object that calls it. Sending more than wire/message.h allows is an Error
/// (EMSGSIZE).
namespace hob::wire {

/// A CURVE key, 32 bytes.
using Key = std::array<uint8_t, 32>;
struct KeyPair {
  Key public_key;
  Key secret_key;
};
KeyPair generate_key_pair();
Result<Key> public_key_of(const Key& secret_key);
/// ZeroMQ's printable form, 40 characters (Z85).
std::string to_text(const Key& key);
Result<Key> key_from_text(std::string_view text);
/// A secret key file: Z85 and a newline; must be readable by its owner alone.
Result<Key> read_secret_key(const std::string& path);
Result<void> write_secret_key(const std::string& path, const Key& key);

/// Decides which keys may connect: ZAP (RFC 27) for every Server of a Context.
///
/// Without a handler libzmq accepts any client that knows the server's public key, so a Context
/// cannot exist without one, a Server drops every message that carries no user id, and the failure
/// of the handler's socket ends the program. Authorise is asked at every connection and again at
/// every message: a key that is taken back, or whose name now has another key, is a stranger's from
/// that moment, on connections that are open too.
class Context {
 public:
  /// Returns the name under which a key is known now, or an empty string for strangers. Cheap: see
  /// above.
  using Authorise = std::function<std::string(const Key& key)>;
  static Result<std::unique_ptr<Context>> create(EventLoop& loop, Authorise authorise);
  ~Context();

 private:
  friend class Server;
  friend class Client;
  struct State;
  explicit Context(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A bound ROUTER socket. Whoever connects has a registered key; `peer` is its name by Authorise.
class Server {
 public:
  /// What answers go to: one connection of one peer. Valid until that connection ends; sending to
  /// one that has ended is an Error.
  using Connection = std::string;
  using OnMessage = std::function<void(const std::string& peer, const Connection&, Message)>;

  /// Listens on "tcp://ADDRESS:PORT" ("tcp://127.0.0.1:*" picks a port). Damaged messages of
  /// registered peers are answered with Failure and logged; strangers get nothing.
  static Result<std::unique_ptr<Server>> listen(Context& context, const std::string& endpoint,
                                                const Key& secret_key, OnMessage on_message);
  ~Server();
  /// The endpoint with the port that was picked.
  std::string endpoint() const;
  Result<void> send(const Connection& to, Message message);
  /// Sends `envelope` as the answer to `request`, if that wanted one; a peer that has gone is no
  /// error.
  void answer(const Connection& to, const pb::Envelope& request, pb::Envelope envelope);

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// A connected DEALER socket to one Server, whose key it insists on. Reconnects by itself; messages
/// sent meanwhile wait (at most a thousand), so every request needs a time limit: `request` has
/// one.
class Client {
 public:
  using OnMessage = std::function<void(Message)>;
  using OnAnswer = std::function<void(Message)>;

  static Result<std::unique_ptr<Client>> connect(Context& context, const std::string& endpoint,
                                                 const Key& server_key, const KeyPair& own,
                                                 OnMessage on_message);
  ~Client();
  Result<void> send(Message message);
  /// Sends a request and calls back exactly once: with the message that answers it, or with a
  /// Failure of kind UNREACHABLE after `limit`. Never calls back from inside this call. Dropping
  /// the Client drops the call-back. Further answers, and one that comes too late, go to
  /// `on_message`, so that what they carry (a grant) can be given back.
  /// Returns a number for forget().
  uint64_t request(Message message, Duration limit, OnAnswer on_answer);
  /// The answer has come another way, or is not wanted: no call-back. Nothing if it has been.
  void forget(uint64_t request);

 private:
  struct State;
  explicit Client(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace hob::wire
