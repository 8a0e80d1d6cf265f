#pragma once

#include "wire/zmq.h"  // before Catch, whose CHECK is the one that counts in tests

#include <catch2/catch.hpp>
#include <string>
#include <vector>
#include <zmq.hpp>

namespace hob::wire {

/// A ZeroMQ client that is not hob's: it says what a hostile or broken peer may say, and hears all
/// that comes back, the ends of its connections included.
class RawClient {
 public:
  /// `configure` sets the security options before it connects.
  template <class Configure>
  RawClient(const std::string& endpoint, Configure configure) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::reconnect_ivl, 10);
    configure(socket_);
    REQUIRE(zmq_socket_monitor(socket_.handle(), "inproc://ends", ZMQ_EVENT_ALL) == 0);
    monitor_.connect("inproc://ends");
    socket_.connect(endpoint);
  }
  ~RawClient() { zmq_socket_monitor(socket_.handle(), nullptr, 0); }

  static auto curve(const Key& server, const KeyPair& own) {
    return [=](zmq::socket_t& socket) {
      socket.set(zmq::sockopt::curve_serverkey, zmq::const_buffer(server.data(), server.size()));
      socket.set(zmq::sockopt::curve_publickey,
                 zmq::const_buffer(own.public_key.data(), own.public_key.size()));
      socket.set(zmq::sockopt::curve_secretkey,
                 zmq::const_buffer(own.secret_key.data(), own.secret_key.size()));
    };
  }

  void send(const std::vector<std::string>& frames) {
    for (size_t i = 0; i < frames.size(); ++i) {
      auto flags = zmq::send_flags::dontwait;
      if (i + 1 < frames.size()) flags = flags | zmq::send_flags::sndmore;
      REQUIRE(socket_.send(zmq::buffer(frames[i]), flags).has_value());
    }
  }

  /// How often a connection that had reached the server ended, up to now. A server that leaves the
  /// handshake unfinished ends it when the time for it (wire/zmq.cc: 5 s) is up.
  int ends() {
    look();
    return ends_;
  }
  /// How often the server told this client in so many words that it is refused.
  int refusals() {
    look();
    return refusals_;
  }
  bool handshake_done() {
    look();
    return handshakes_ > 0;
  }

  /// The frames of the messages that have come since the last call.
  std::vector<std::string> received() {
    std::vector<std::string> frames;
    zmq::message_t frame;
    while (socket_.recv(frame, zmq::recv_flags::dontwait)) frames.push_back(frame.to_string());
    return frames;
  }

 private:
  void look() {
    zmq::message_t frame;
    while (monitor_.recv(frame, zmq::recv_flags::dontwait)) {
      const uint16_t event = *frame.data<uint16_t>();
      if (event == ZMQ_EVENT_DISCONNECTED || event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) ++ends_;
      if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) ++refusals_;
      if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) ++handshakes_;
      REQUIRE(monitor_.recv(frame, zmq::recv_flags::none).has_value());  // its address
    }
  }

  zmq::context_t context_;
  zmq::socket_t socket_{context_, zmq::socket_type::dealer};
  zmq::socket_t monitor_{context_, zmq::socket_type::pair};
  int ends_ = 0;
  int refusals_ = 0;
  int handshakes_ = 0;
};

}  // namespace hob::wire
