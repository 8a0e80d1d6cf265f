#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "wire/zmq.h"

namespace hob::hostd {

/// Carries messages between hosts by name, this host included, so that the home side (exports.h)
/// and the executing side (guests.h) of a job need not know whether they share a host.
///
/// Knows the cell's directory: names, endpoints and keys of all registered hosts, as the
/// coordinator tells it. Only they can connect. One thread, the loop's.
class Post {
 public:
  /// Sends the answer of a request; does nothing if none was wanted. Callable later, at most once.
  using Reply = std::function<void(pb::Envelope)>;
  using OnMessage = std::function<void(const std::string& from, wire::Message, const Reply&)>;
  using OnAnswer = wire::Client::OnAnswer;

  Post(EventLoop& loop, std::string own_name, wire::KeyPair keys);
  ~Post();
  Post(const Post&) = delete;
  Post& operator=(const Post&) = delete;

  /// Listens for the other hosts at `endpoint`.
  Result<void> listen(wire::Context& context, const std::string& endpoint, OnMessage on_message);

  void set_directory(const pb::Directory& directory);
  /// The registered host with that key, or an empty string: what wire::Context asks.
  std::string name_of(const wire::Key& key) const;
  bool knows(const std::string& host) const { return host == own_name_ || hosts_.contains(host); }
  const std::string& own_name() const { return own_name_; }

  /// One way. What cannot be sent is logged; protocols that must not lose it use request().
  void send(const std::string& host, wire::Message message);
  void send(const std::string& host, pb::Envelope envelope) {
    send(host, wire::Message{std::move(envelope), {}});
  }
  /// Calls back exactly once, from the loop: the answer, or Failure UNREACHABLE after `limit`.
  /// Returns a number for forget().
  uint64_t request(const std::string& host, pb::Envelope envelope, Duration limit,
                   OnAnswer on_answer);
  /// The answer of `host` is not waited for any more.
  void forget(const std::string& host, uint64_t request);

 private:
  struct Peer {
    pb::HostEntry entry;
    wire::Key key{};
    std::unique_ptr<wire::Client> client;  // made when first needed
  };
  /// A request to this host itself, until it is answered.
  struct LocalRequest {
    OnAnswer on_answer;
    EventLoop::Handle limit;
  };
  struct Retired {
    std::unique_ptr<wire::Client> client;
    EventLoop::Handle limit;
  };
  void retire(std::unique_ptr<wire::Client> client);
  Result<wire::Client*> client_of(const std::string& host);
  void deliver_locally(wire::Message message);
  void answer_locally(uint64_t number, pb::Envelope envelope);

  EventLoop& loop_;
  std::string own_name_;
  wire::KeyPair keys_;
  wire::Context* context_ = nullptr;
  OnMessage on_message_;
  std::map<std::string, Peer> hosts_;
  std::map<uint64_t, Retired> retired_;
  std::map<wire::Key, std::string> names_;
  std::map<uint64_t, LocalRequest> local_requests_;
  uint64_t next_local_ = 1;
  std::unique_ptr<wire::Server> server_;
};

}  // namespace hob::hostd
