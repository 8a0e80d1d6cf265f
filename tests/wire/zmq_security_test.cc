#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/wire/raw_client.h"
#include "tests/wire/zmq_rig.h"

namespace hob::wire {
namespace {

std::string hello_bytes() {
  pb::Envelope envelope;
  envelope.set_request(1);
  envelope.mutable_list_hosts();
  return encode(envelope);
}

/// The stranger has asked, been cut off, and got nothing for it; others are still
/// served.
void check_stranger_gets_nothing(ZmqRig& rig, RawClient& stranger) {
  stranger.send({hello_bytes()});
  REQUIRE(run_until(*rig.loop, [&] { return stranger.ends() > 0; }));
  CHECK(rig.received.empty());
  CHECK(stranger.received().empty());
  CHECK_FALSE(stranger.handshake_done());
  CHECK(stranger.refusals() == 0);  // not even an error that tells it something

  auto friendly = rig.connect(rig.register_host("h1"));
  CHECK(rig.works(*friendly));
  CHECK(rig.received.size() == 1);
  CHECK(stranger.received().empty());
}

TEST_CASE("a client whose key is not registered gets nothing") {
  ZmqRig rig;
  const KeyPair keys = generate_key_pair();
  RawClient stranger(rig.server->endpoint(), RawClient::curve(rig.server_keys.public_key, keys));
  check_stranger_gets_nothing(rig, stranger);
  CHECK(rig.asked_for.at(0) == keys.public_key);
}

TEST_CASE("a client that knows a registered public key but not its secret gets nothing") {
  ZmqRig rig;
  KeyPair keys = rig.register_host("h1");
  keys.secret_key = generate_key_pair().secret_key;
  RawClient thief(rig.server->endpoint(), RawClient::curve(rig.server_keys.public_key, keys));
  check_stranger_gets_nothing(rig, thief);
}

TEST_CASE("a client with another server's key gets nothing, though its own is registered") {
  ZmqRig rig;
  const KeyPair keys = rig.register_host("h2");
  RawClient stranger(rig.server->endpoint(),
                     RawClient::curve(generate_key_pair().public_key, keys));
  check_stranger_gets_nothing(rig, stranger);
}

TEST_CASE("a client without encryption gets nothing") {
  ZmqRig rig;
  RawClient stranger(rig.server->endpoint(), [](zmq::socket_t&) {});
  check_stranger_gets_nothing(rig, stranger);
}

TEST_CASE("a client with a password instead of a key gets nothing") {
  ZmqRig rig;
  RawClient stranger(rig.server->endpoint(), [](zmq::socket_t& socket) {
    socket.set(zmq::sockopt::plain_username, "root");
    socket.set(zmq::sockopt::plain_password, "root");
  });
  check_stranger_gets_nothing(rig, stranger);
}

TEST_CASE("a client takes no answer from a server with another key") {
  ZmqRig rig;
  const KeyPair keys = rig.register_host("h1");
  auto client =
      Client::connect(*rig.context, rig.server->endpoint(), generate_key_pair().public_key, keys,
                      [](Message) { FAIL("a message from a server that is not the right one"); })
          .value();
  bool unreachable = false;
  client->request(ZmqRig::question(), milliseconds(500), [&](Message answer) {
    unreachable = answer.envelope.failure().kind() == pb::Failure::UNREACHABLE;
  });
  REQUIRE(run_until(*rig.loop, [&] { return unreachable; }));
  CHECK(rig.received.empty());
}

TEST_CASE("bytes that are no ZeroMQ at all harm nobody") {
  ZmqRig rig;
  const std::string endpoint = rig.server->endpoint();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port =
      htons(static_cast<uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));

  const std::string signature("\xff\0\0\0\0\0\0\0\x01\x7f", 10);
  const std::string greeting = signature + std::string("\x03\0CURVE", 7) + std::string(47, '\0');
  REQUIRE(greeting.size() == 64);
  // A peer that claims to need no security and goes on talking: READY as a dealer, then a message.
  const std::string plain = signature + std::string("\x03\0NULL", 6) + std::string(48, '\0') +
                            std::string(
                                "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06"
                                "DEALER",
                                30) +
                            std::string("\0\x05hello", 7);
  std::vector<Fd> connections;
  for (const std::string& garbage :
       {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(70'000, '\xff'), std::string(300, '\0'),
        signature, plain, greeting + std::string("\x04\x29\x05HELLO", 8) + std::string(500, 'x'),
        greeting + std::string("\x06\xff\xff\xff\xff\xff\xff\xff\xff", 9) +
            std::string(90'000, 'x'),
        greeting + std::string("\x04\x08\x07MESSAGE", 10)}) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    // It may hang up in the middle; that is as good.
    (void)::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    connections.push_back(std::move(fd));
  }
  auto friendly = rig.connect(rig.register_host("h1"));
  CHECK(rig.works(*friendly));
  connections.clear();
  CHECK(rig.works(*friendly));
  CHECK(rig.received.size() == 2);
}

TEST_CASE("registered clients are known by the names of their keys, and answered each for itself") {
  ZmqRig rig;
  std::string heard_1, heard_2;
  auto one = rig.connect(rig.register_host("h1"),
                         [&](Message m) { heard_1 += m.envelope.note().text() + m.bulk; });
  auto two = rig.connect(rig.register_host("h2"),
                         [&](Message m) { heard_2 += m.envelope.note().text() + m.bulk; });
  REQUIRE(one->send(ZmqRig::note("from one")).ok());
  REQUIRE(two->send(ZmqRig::note("from two")).ok());
  REQUIRE(run_until(*rig.loop, [&] { return rig.received.size() == 2; }));
  for (const auto& [peer, connection, message] : rig.received) {
    CHECK(message.envelope.note().text() == (peer == "h1" ? "from one" : "from two"));
    Message answer = ZmqRig::note("to " + peer);
    answer.bulk = "+";
    REQUIRE(rig.server->send(connection, std::move(answer)).ok());
  }
  REQUIRE(run_until(*rig.loop, [&] { return !heard_1.empty() && !heard_2.empty(); }));
  CHECK(heard_1 == "to h1+");
  CHECK(heard_2 == "to h2+");
}

TEST_CASE("a key that is taken back gets silence on the connection it has") {
  ZmqRig rig;
  const KeyPair keys = rig.register_host("h1");
  auto client = rig.connect(keys);
  REQUIRE(rig.works(*client));
  rig.known.erase(keys.public_key);
  bool silent = false;
  client->request(ZmqRig::question(), milliseconds(500), [&](Message answer) {
    silent = answer.envelope.failure().kind() == pb::Failure::UNREACHABLE;
  });
  REQUIRE(run_until(*rig.loop, [&] { return silent; }));
  CHECK(rig.received.size() == 1);
}

TEST_CASE("a name that has got a new key is not spoken for by the connection of the old one") {
  ZmqRig rig;
  const KeyPair old_keys = rig.register_host("h1");
  auto old_client = rig.connect(old_keys);
  REQUIRE(rig.works(*old_client));
  rig.known.erase(old_keys.public_key);
  auto new_client = rig.connect(rig.register_host("h1"));
  REQUIRE(old_client->send(ZmqRig::note("as h1, with the old key")).ok());
  REQUIRE(rig.works(*new_client));
  // The old connection still works: once its key is known again, under whatever name, it is heard.
  rig.known[old_keys.public_key] = "h2";
  REQUIRE(rig.works(*old_client));
  REQUIRE(rig.received.size() == 3);
  CHECK(rig.received[1].peer == "h1");
  CHECK(rig.received[1].message.envelope.has_list_hosts());
  CHECK(rig.received[2].peer == "h2");
}

TEST_CASE("a stranger that is registered later gets in by itself") {
  ZmqRig rig;
  const KeyPair keys = generate_key_pair();
  auto early = rig.connect(keys);
  REQUIRE(run_until(*rig.loop, [&] { return !rig.asked_for.empty(); }));
  CHECK(rig.received.empty());
  rig.known[keys.public_key] = "late";
  CHECK(rig.works(*early));
  CHECK(rig.received.at(0).peer == "late");
}

}  // namespace
}  // namespace hob::wire
