#include "wire/zmq.h"

#include <catch2/catch.hpp>

#include "tests/wire/raw_client.h"
#include "tests/wire/zmq_rig.h"

namespace hob::wire {
namespace {

/// What a registered but broken peer gets for these frames: the text of a Failure USAGE.
std::string refusal_of(ZmqRig& rig, const std::vector<std::string>& frames) {
  RawClient broken(rig.server->endpoint(),
                   RawClient::curve(rig.server_keys.public_key, rig.register_host("broken")));
  broken.send(frames);
  std::vector<std::string> answer;
  REQUIRE(run_until(*rig.loop, [&] { return !(answer = broken.received()).empty(); }));
  REQUIRE(answer.size() == 1);
  const pb::Envelope envelope = decode(answer[0]).value();
  CHECK(envelope.failure().kind() == pb::Failure::USAGE);
  CHECK(rig.received.empty());
  return envelope.failure().text();
}

TEST_CASE("a damaged envelope is answered with Failure") {
  ZmqRig rig;
  CHECK(refusal_of(rig, {"\xff\xff\xff"}) == "decode a message of 3 bytes: damaged");
}

TEST_CASE("another protocol version is answered with Failure that says which are spoken") {
  ZmqRig rig;
  pb::Envelope envelope = ZmqRig::done();
  envelope.set_version(kVersion + 1);
  const std::string text = refusal_of(rig, {envelope.SerializeAsString()});
  CHECK(text.find("protocol version 2, this program speaks 1") != std::string::npos);
}

TEST_CASE("frames too many, too large or empty are answered with Failure") {
  ZmqRig rig;
  pb::Envelope envelope = ZmqRig::done();
  const std::string good = encode(envelope);
  CHECK(refusal_of(rig, {good, "bulk", "more"}).find("3 frames") != std::string::npos);
  CHECK(refusal_of(rig, {good, std::string(kMaxBulk + 1, 'x')}).find("not allowed") !=
        std::string::npos);
  CHECK(refusal_of(rig, {""}).find("version 0") != std::string::npos);
}

TEST_CASE("a message of 5 MiB ends its sender's connection and nothing else") {
  ZmqRig rig;
  auto friendly = rig.connect(rig.register_host("h1"));
  REQUIRE(rig.works(*friendly));
  RawClient flooder(rig.server->endpoint(),
                    RawClient::curve(rig.server_keys.public_key, rig.register_host("flooder")));
  REQUIRE(run_until(*rig.loop, [&] { return flooder.handshake_done(); }));
  flooder.send({std::string(5u << 20, 'x')});
  REQUIRE(run_until(*rig.loop, [&] { return flooder.ends() > 0; }));
  CHECK(rig.works(*friendly));
  CHECK(rig.received.size() == 2);
}

TEST_CASE("messages of the largest allowed size pass, and larger ones are refused by the sender") {
  ZmqRig rig;
  auto client = rig.connect(rig.register_host("h1"));
  Message largest = ZmqRig::note("");
  const size_t rest = encode(largest.envelope).size() + 8;  // a tag, and lengths of four bytes
  largest.envelope.mutable_note()->set_text(std::string(kMaxEnvelope - rest, 'x'));
  REQUIRE(encode(largest.envelope).size() <= kMaxEnvelope);
  REQUIRE(encode(largest.envelope).size() > kMaxEnvelope - 8);
  largest.bulk.assign(kMaxBulk, 'y');
  REQUIRE(client->send(largest).ok());
  REQUIRE(run_until(*rig.loop, [&] { return !rig.received.empty(); }));
  CHECK(rig.received[0].message.envelope.note().text() == largest.envelope.note().text());
  CHECK(rig.received[0].message.bulk == largest.bulk);

  Message large = ZmqRig::note(std::string(kMaxEnvelope, 'x'));
  CHECK(client->send(large).error().code == EMSGSIZE);
  CHECK(rig.server->send(rig.received[0].connection, large).error().code == EMSGSIZE);
  Message bulky = ZmqRig::note("");
  bulky.bulk.assign(kMaxBulk + 1, 'y');
  CHECK(client->send(bulky).error().code == EMSGSIZE);
  int failures = 0;
  client->request(large, hours(1), [&](Message answer) {
    CHECK(answer.envelope.failure().kind() == pb::Failure::UNREACHABLE);
    ++failures;
  });
  CHECK(failures == 0);  // never from inside the call
  CHECK(run_until(*rig.loop, [&] { return failures == 1; }));
  CHECK(rig.works(*client));
}

TEST_CASE("answers find their requests in whatever order they come") {
  ZmqRig rig;
  std::string unasked, order;
  auto client =
      rig.connect(rig.register_host("h1"), [&](Message m) { unasked += m.envelope.note().text(); });
  for (std::string name : {"a", "b", "c"})
    client->request(ZmqRig::note(name), hours(1), [&order, name](Message answer) {
      order += name + "=" + answer.envelope.note().text() + " ";
    });
  REQUIRE(run_until(*rig.loop, [&] { return rig.received.size() == 3; }));
  for (size_t i : {2u, 0u, 1u}) {
    const auto& [peer, connection, message] = rig.received[i];
    const auto answer = ZmqRig::note("re:" + message.envelope.note().text()).envelope;
    rig.server->answer(connection, message.envelope, answer);
    rig.server->answer(connection, message.envelope, answer);  // a second one is not the answer
  }
  REQUIRE(run_until(*rig.loop, [&] { return unasked.size() == 12; }));
  CHECK(order == "c=re:c a=re:a b=re:b ");
  CHECK(unasked == "re:cre:are:b");
}

TEST_CASE("a message that wanted no answer gets none") {
  ZmqRig rig;
  std::string heard;
  auto client =
      rig.connect(rig.register_host("h1"), [&](Message m) { heard += m.envelope.note().text(); });
  REQUIRE(client->send(ZmqRig::note("x")).ok());
  REQUIRE(run_until(*rig.loop, [&] { return !rig.received.empty(); }));
  const auto& [peer, connection, message] = rig.received[0];
  rig.server->answer(connection, message.envelope, ZmqRig::note("no").envelope);
  REQUIRE(rig.server->send(connection, ZmqRig::note("yes")).ok());
  REQUIRE(run_until(*rig.loop, [&] { return !heard.empty(); }));
  CHECK(heard == "yes");
}

TEST_CASE(
    "a request without an answer fails once, UNREACHABLE, and what comes later is a message") {
  ZmqRig rig;
  std::string late;
  auto client =
      rig.connect(rig.register_host("h1"), [&](Message m) { late += m.envelope.note().text(); });
  int calls = 0;
  const Time asked = Clock::now();
  client->request(ZmqRig::note("?"), milliseconds(50), [&](Message answer) {
    ++calls;
    CHECK(Clock::now() >= asked + milliseconds(50));
    CHECK(answer.envelope.failure().kind() == pb::Failure::UNREACHABLE);
    CHECK(answer.envelope.failure().text() == "no answer from " + rig.server->endpoint());
  });
  REQUIRE(run_until(*rig.loop, [&] { return calls == 1 && !rig.received.empty(); }));
  const auto& [peer, connection, message] = rig.received[0];
  rig.server->answer(connection, message.envelope, ZmqRig::note("too late").envelope);
  REQUIRE(run_until(*rig.loop, [&] { return !late.empty(); }));
  CHECK(late == "too late");
  CHECK(calls == 1);
}

TEST_CASE("a dropped client calls nobody") {
  ZmqRig rig;
  auto client = rig.connect(rig.register_host("h1"));
  client->request(ZmqRig::question(), milliseconds(1), [](Message) { FAIL("dropped"); });
  client.reset();
  const Time limit_passed = Clock::now() + milliseconds(2);
  run_until(*rig.loop, [&] { return Clock::now() > limit_passed; });
}

TEST_CASE("what is forgotten calls nobody, and the rest goes on") {
  ZmqRig rig;
  auto client = rig.connect(rig.register_host("h1"));
  const uint64_t number =
      client->request(ZmqRig::question(), seconds(10), [](Message) { FAIL("forgotten"); });
  client->forget(number);
  client->forget(number);
  CHECK(rig.works(*client));
}

TEST_CASE("callbacks may drop the client or the server that calls them") {
  ZmqRig rig;
  const std::string held = "held by the callback, too long for the small buffer of a string";
  std::string seen;
  SECTION("a client, by a message") {
    std::unique_ptr<Client> client;
    client = rig.connect(rig.register_host("h1"), [&, held](Message) {
      client.reset();
      seen = held;
    });
    REQUIRE(client->send(ZmqRig::note("x")).ok());
    REQUIRE(run_until(*rig.loop, [&] { return !rig.received.empty(); }));
    REQUIRE(rig.server->send(rig.received[0].connection, ZmqRig::note("y")).ok());
    REQUIRE(run_until(*rig.loop, [&] { return !seen.empty(); }));
  }
  SECTION("a client, by an answer") {
    auto client = rig.connect(rig.register_host("h1"));
    client->request(ZmqRig::question(), hours(1), [&, held](Message) {
      client.reset();
      seen = held;
    });
    REQUIRE(run_until(*rig.loop, [&] { return !seen.empty(); }));
  }
  SECTION("a client, by a time-out") {
    auto client = rig.connect(rig.register_host("h1"));
    client->request(ZmqRig::note("x"), milliseconds(1), [&, held](Message) {
      client.reset();
      seen = held;
    });
    REQUIRE(run_until(*rig.loop, [&] { return !seen.empty(); }));
  }
  SECTION("a server, by a message") {
    std::unique_ptr<Server> server;
    server = Server::listen(*rig.context, "tcp://127.0.0.1:*", rig.server_keys.secret_key,
                            [&, held](const std::string&, const Server::Connection&, Message) {
                              server.reset();
                              seen = held;
                            })
                 .value();
    auto client = Client::connect(*rig.context, server->endpoint(), rig.server_keys.public_key,
                                  rig.register_host("h1"), [](Message) {})
                      .value();
    REQUIRE(client->send(ZmqRig::note("x")).ok());
    REQUIRE(run_until(*rig.loop, [&] { return !seen.empty(); }));
  }
  CHECK(seen == held);
}

TEST_CASE("a client finds a server again that was gone") {
  ZmqRig rig;
  auto client = rig.connect(rig.register_host("h1"));
  REQUIRE(rig.works(*client));
  const std::string endpoint = rig.server->endpoint();
  rig.server.reset();
  CHECK_FALSE(rig.works(*client, milliseconds(300)));

  // ZeroMQ lets go of the port in its own time.
  REQUIRE(run_until(*rig.loop, [&] {
    auto server = rig.listen(endpoint);
    if (server.ok()) rig.server = std::move(*server);
    return server.ok();
  }));
  CHECK(rig.works(*client));
  CHECK(rig.received.back().peer == "h1");
}

TEST_CASE("a connection that never was cannot be sent to") {
  ZmqRig rig;
  CHECK(rig.server->send("nobody", ZmqRig::note("x")).error().code == EHOSTUNREACH);
}

TEST_CASE("endpoints that cannot be used are Errors that name them") {
  ZmqRig rig;
  CHECK(rig.listen(rig.server->endpoint()).error().code == EADDRINUSE);
  CHECK(rig.listen("nonsense").error().text.find("listen on nonsense") == 0);
  CHECK(Client::connect(*rig.context, "tcp://127.0.0.1", rig.server_keys.public_key,
                        generate_key_pair(), [](Message) {})
            .error()
            .text.find("connect to tcp://127.0.0.1") == 0);
}

TEST_CASE("a thousand messages in a row arrive whole and in order, both ways") {
  ZmqRig rig;
  std::vector<std::string> echoed;
  auto client = rig.connect(rig.register_host("h1"), [&](Message m) { echoed.push_back(m.bulk); });
  REQUIRE(rig.works(*client));
  rig.received.clear();
  constexpr size_t kMessages = 900;  // below the high water mark: none may be refused
  for (size_t i = 0; i < kMessages; ++i) {
    Message message = ZmqRig::note("x");
    message.bulk = std::to_string(i);
    REQUIRE(client->send(std::move(message)).ok());
  }
  REQUIRE(run_until(*rig.loop, [&] { return rig.received.size() == kMessages; }));
  for (const auto& [peer, connection, message] : rig.received)
    REQUIRE(rig.server->send(connection, message).ok());
  REQUIRE(run_until(*rig.loop, [&] { return echoed.size() == kMessages; }));
  for (size_t i = 0; i < kMessages; ++i) CHECK(echoed[i] == std::to_string(i));
}

}  // namespace
}  // namespace hob::wire
