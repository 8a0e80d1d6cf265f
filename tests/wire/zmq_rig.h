#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/kit/loop.h"
#include "wire/zmq.h"

namespace hob::wire {

/// A server on loopback with the keys it knows, and what reached its callback.
struct ZmqRig {
  struct Received {
    std::string peer;
    Server::Connection connection;
    Message message;
  };

  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  std::map<Key, std::string> known;
  std::vector<Key> asked_for;  // each key that Authorise was asked about
  std::unique_ptr<Context> context = Context::create(*loop, [this](const Key& key) {
                                       asked_for.push_back(key);
                                       auto it = known.find(key);
                                       return it == known.end() ? std::string() : it->second;
                                     }).value();
  KeyPair server_keys = generate_key_pair();
  std::vector<Received> received;
  std::unique_ptr<Server> server = listen("tcp://127.0.0.1:*").value();

  Result<std::unique_ptr<Server>> listen(const std::string& endpoint) {
    return Server::listen(*context, endpoint, server_keys.secret_key,
                          [this](const std::string& peer, const Server::Connection& c, Message m) {
                            if (m.envelope.has_list_hosts()) server->answer(c, m.envelope, done());
                            received.push_back({peer, c, std::move(m)});
                          });
  }

  KeyPair register_host(const std::string& name) {
    KeyPair keys = generate_key_pair();
    known[keys.public_key] = name;
    return keys;
  }
  std::unique_ptr<Client> connect(
      const KeyPair& own, Client::OnMessage on_message = [](Message) {}) {
    return Client::connect(*context, server->endpoint(), server_keys.public_key, own,
                           std::move(on_message))
        .value();
  }

  static pb::Envelope done() {
    pb::Envelope envelope;
    envelope.mutable_done();
    return envelope;
  }
  /// The server leaves this one to the test.
  static Message note(std::string text) {
    Message message;
    message.envelope.mutable_note()->set_text(std::move(text));
    return message;
  }
  /// The server answers this one with Done.
  static Message question() {
    Message message;
    message.envelope.mutable_list_hosts();
    return message;
  }

  /// Whether a request of `client` is answered with Done.
  bool works(Client& client, Duration limit = seconds(10)) {
    bool answered = false, done = false;
    client.request(question(), limit, [&](Message answer) {
      answered = true;
      done = answer.envelope.has_done();
    });
    return run_until(*loop, [&] { return answered; }) && done;
  }
};

}  // namespace hob::wire
