#include "migrate/link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <thread>

#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::migrate;

namespace {

constexpr LinkKey kKey = {1, 2, 3};
constexpr LinkKey kOther = {1, 2, 4};

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

struct Pair {
  ListenSocket listener = listen_on("127.0.0.1").value();
  std::optional<Result<Link>> target;
  std::thread accepting;

  explicit Pair(Duration limit = seconds(5))
      : accepting([this, limit] { target.emplace(accept_link(listener.fd.get(), kKey, limit)); }) {}
  ~Pair() {
    if (accepting.joinable()) accepting.join();
  }
  Result<Link> connect(const LinkKey& key) {
    return connect_link("127.0.0.1", listener.port, key, seconds(5));
  }
  // A bare socket to the listener; what comes back until it is closed.
  std::string stranger(const std::string& says) {
    Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(listener.port);
    ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    REQUIRE(::send(fd.get(), says.data(), says.size(), MSG_NOSIGNAL) >= 0);
    ::shutdown(fd.get(), SHUT_WR);
    std::string answer;
    char buffer[512];
    for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
    return answer;
  }
};

}  // namespace

TEST_CASE("records arrive as they were sent, in both directions and on all three connections") {
  Pair pair;
  auto source = pair.connect(kKey);
  REQUIRE(source.ok());
  pair.accepting.join();
  REQUIRE(pair.target->ok());
  Link& target = pair.target->value();
  const std::string large(kMaxRecord, 'x');
  for (auto [from, to] : {std::pair{&source->control, &target.control},
                          {&target.demand, &source->demand},
                          {&source->bulk, &target.bulk}}) {
    std::thread sender([from, &large] {
      CHECK(from->send({bytes("one"), bytes(" two")}).ok());
      CHECK(from->send({}).ok());
      CHECK(from->send({bytes(large)}).ok());
    });
    auto first = to->receive();
    REQUIRE(first.ok());
    CHECK(std::string(reinterpret_cast<const char*>(first->data()), first->size()) == "one two");
    auto empty = to->receive();
    REQUIRE(empty.ok());
    CHECK(empty->empty());
    auto third = to->receive();
    REQUIRE(third.ok());
    CHECK(third->size() == large.size());
    sender.join();
  }
}

TEST_CASE("a stranger gets no answer and holds up nobody") {
  Pair pair;
  CHECK(pair.stranger("GET / HTTP/1.0\r\n\r\n") == "");
  CHECK(pair.stranger(std::string(73, '\0')) == "");
  CHECK(pair.stranger(std::string(5000, 'A')) == "");
  CHECK_FALSE(pair.connect(kOther).ok());
  CHECK(pair.connect(kKey).ok());
}

TEST_CASE("a record that was changed on its way is refused") {
  Pair pair;
  auto source = pair.connect(kKey);
  REQUIRE(source.ok());
  pair.accepting.join();
  REQUIRE(pair.target->ok());
  // As somebody on the path could: bytes that were not sealed for this place in the stream.
  uint8_t forged[4 + 8 + 16] = {8};
  REQUIRE(::send(source->control.fd(), forged, sizeof forged, 0) == sizeof forged);
  auto got = pair.target->value().control.receive();
  REQUIRE_FALSE(got.ok());
  CHECK(got.error().code == EPROTO);
  uint8_t huge[4] = {255, 255, 255, 255};
  REQUIRE(::send(source->bulk.fd(), huge, sizeof huge, 0) == sizeof huge);
  CHECK_FALSE(pair.target->value().bulk.receive().ok());
}

TEST_CASE(
    "who ends a connection in the middle of a stream lets the sender know, however full the "
    "window") {
  Pair pair;
  auto source = pair.connect(kKey);
  REQUIRE(source.ok());
  pair.accepting.join();
  REQUIRE(pair.target->ok());
  const std::string large(kMaxRecord, 'x');
  source->bulk.set_patience(milliseconds(200));
  while (source->bulk.send({bytes(large)}).ok()) continue;  // nobody reads
  std::optional<Connection> bulk(std::move(pair.target->value().bulk));
  bulk->shut();
  SECTION("its thread reads up to the end and the connection goes") {
    while (bulk->receive().ok()) continue;
    bulk.reset();
  }
  SECTION("it keeps the connection until the sender comes back, and reads no more") {}
  source->bulk.set_patience(seconds(10));
  // What the kernel still takes says nothing: a few records at most.
  Result<void> sent;
  for (int i = 0; i < 20 && sent; i++) sent = source->bulk.send({bytes(large)});
  REQUIRE_FALSE(sent.ok());
  CHECK(sent.error().code != ETIMEDOUT);
}

TEST_CASE("nobody comes, nobody answers: both ends give up") {
  Pair pair(milliseconds(50));
  pair.accepting.join();
  REQUIRE_FALSE(pair.target->ok());
  CHECK(pair.target->error().code == ETIMEDOUT);
  // The kernel accepts for a listener that nobody serves.
  auto source = connect_link("127.0.0.1", pair.listener.port, kKey, milliseconds(50));
  REQUIRE_FALSE(source.ok());
  CHECK(source.error().code == ETIMEDOUT);
}
