#include "hostd/post.h"

#include <fmt/core.h>

#include <cstring>

#include "base/log.h"

namespace hob::hostd {

using wire::Message;

namespace {
constexpr auto kLongestRequest = minutes(5);
}  // namespace

Post::Post(EventLoop& loop, std::string own_name, wire::KeyPair keys)
    : loop_(loop), own_name_(std::move(own_name)), keys_(keys) {}
Post::~Post() = default;

Result<void> Post::listen(wire::Context& context, const std::string& endpoint,
                          OnMessage on_message) {
  context_ = &context;
  on_message_ = std::move(on_message);
  server_ = TRY(wire::Server::listen(
      context, endpoint, keys_.secret_key,
      [this](const std::string& peer, const wire::Server::Connection& connection, Message message) {
        Reply reply;
        if (message.envelope.request() != 0) {
          pb::Envelope asked;
          asked.set_request(message.envelope.request());
          reply = [this, connection, asked](pb::Envelope answer) {
            server_->answer(connection, asked, std::move(answer));
          };
        } else {
          reply = [](pb::Envelope) {};
        }
        on_message_(peer, std::move(message), reply);
      }));
  return {};
}

void Post::set_directory(const pb::Directory& directory) {
  std::map<std::string, Peer> hosts;
  names_.clear();
  for (const pb::HostEntry& entry : directory.hosts()) {
    if (entry.public_key().size() != sizeof(wire::Key)) {
      log::warning("directory: host {} has no valid key; left out", entry.name());
      continue;
    }
    Peer peer{entry, {}, nullptr};
    std::memcpy(peer.key.data(), entry.public_key().data(), peer.key.size());
    names_[peer.key] = entry.name();
    auto old = hosts_.find(entry.name());
    if (old != hosts_.end() && old->second.key == peer.key &&
        old->second.entry.endpoint() == entry.endpoint())
      peer.client = std::move(old->second.client);
    else if (old != hosts_.end() && old->second.client)
      retire(std::move(old->second.client));
    hosts.emplace(entry.name(), std::move(peer));
  }
  for (auto& [name, peer] : hosts_)
    if (peer.client && !hosts.contains(name)) retire(std::move(peer.client));
  hosts_ = std::move(hosts);
}

void Post::retire(std::unique_ptr<wire::Client> client) {
  // Its requests still end by their time limits, as promised.
  const uint64_t number = next_local_++;
  Retired& retired = retired_[number];
  retired.client = std::move(client);
  retired.limit = loop_.after(
      kLongestRequest, [this, number] { loop_.defer([this, number] { retired_.erase(number); }); });
}

std::string Post::name_of(const wire::Key& key) const {
  auto it = names_.find(key);
  return it == names_.end() ? std::string() : it->second;
}

Result<wire::Client*> Post::client_of(const std::string& host) {
  auto it = hosts_.find(host);
  if (it == hosts_.end())
    return Error{fmt::format("send to {}: no such host in the cell's directory", host), ENOENT};
  Peer& peer = it->second;
  if (!peer.client)
    peer.client = TRY(wire::Client::connect(
        *context_, peer.entry.endpoint(), peer.key, keys_, [host](Message message) {
          // Answers that came after their time limit; hosts send everything else to our own server.
          log::debug("late answer from {} (kind {})", host,
                     static_cast<int>(message.envelope.body_case()));
        }));
  return peer.client.get();
}

void Post::deliver_locally(Message message) {
  loop_.defer([this, message = std::move(message)]() mutable {
    const uint64_t number = message.envelope.request();
    on_message_(own_name_, std::move(message), [this, number](pb::Envelope answer) {
      if (number != 0) answer_locally(number, std::move(answer));
    });
  });
}

void Post::answer_locally(uint64_t number, pb::Envelope envelope) {
  auto it = local_requests_.find(number);
  if (it == local_requests_.end()) return;
  OnAnswer on_answer = std::move(it->second.on_answer);
  local_requests_.erase(it);
  loop_.defer([on_answer = std::move(on_answer), envelope = std::move(envelope)]() mutable {
    on_answer(Message{std::move(envelope), {}});
  });
}

void Post::send(const std::string& host, Message message) {
  if (host == own_name_) return deliver_locally(std::move(message));
  Result<wire::Client*> client = client_of(host);
  Result<void> sent =
      client.ok() ? (*client)->send(std::move(message)) : Result<void>(std::move(client).error());
  if (!sent.ok()) log::warning("{}", sent.error().text);
}

uint64_t Post::request(const std::string& host, pb::Envelope envelope, Duration limit,
                       OnAnswer on_answer) {
  if (host == own_name_) {
    const uint64_t number = next_local_++;
    envelope.set_request(number);
    EventLoop::Handle timer = loop_.after(limit, [this, number] {
      answer_locally(number, wire::failure(pb::Failure::UNREACHABLE, "no answer from this host"));
    });
    local_requests_.emplace(number, LocalRequest{std::move(on_answer), std::move(timer)});
    deliver_locally(Message{std::move(envelope), {}});
    return number;
  }
  Result<wire::Client*> client = client_of(host);
  if (client.ok())
    return (*client)->request(Message{std::move(envelope), {}}, limit, std::move(on_answer));
  loop_.defer([on_answer = std::move(on_answer), text = client.error().text] {
    on_answer(Message{wire::failure(pb::Failure::UNREACHABLE, text), {}});
  });
  return 0;
}

void Post::forget(const std::string& host, uint64_t request) {
  if (host == own_name_) return (void)local_requests_.erase(request);
  auto it = hosts_.find(host);
  if (it != hosts_.end() && it->second.client) it->second.client->forget(request);
}

}  // namespace hob::hostd
