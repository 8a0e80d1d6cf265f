#include "wire/byte_stream.h"

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>
#include <deque>

using namespace hob;
using wire::StreamReceiver;
using wire::StreamSender;

namespace {

std::string take(StreamReceiver& receiver, size_t limit = std::string::npos) {
  std::string out(receiver.ready().substr(0, limit));
  receiver.consume(out.size());
  return out;
}

}  // namespace

TEST_CASE("a sender hands out each byte once, and the end with the last of them") {
  StreamSender sender(8);
  CHECK(sender.room() == 8);
  CHECK_FALSE(sender.piece());
  sender.append("abcdef");
  sender.end();
  CHECK(sender.room() == 0);
  auto piece = sender.piece(4);
  REQUIRE(piece);
  CHECK(piece->offset == 0);
  CHECK(piece->bytes == "abcd");
  CHECK_FALSE(piece->end);
  piece = sender.piece(4);
  REQUIRE(piece);
  CHECK(piece->offset == 4);
  CHECK(piece->bytes == "ef");
  CHECK(piece->end);
  CHECK_FALSE(sender.piece());
  CHECK(sender.all_sent());
  CHECK_FALSE(sender.all_acked());
}

TEST_CASE("an end that comes after the last byte was sent is a piece of its own") {
  StreamSender sender;
  sender.append("x");
  CHECK(sender.piece());
  CHECK_FALSE(sender.only_end_left());
  sender.end();
  CHECK(sender.only_end_left());
  auto piece = sender.piece();
  CHECK_FALSE(sender.only_end_left());
  REQUIRE(piece);
  CHECK(piece->offset == 1);
  CHECK(piece->bytes.empty());
  CHECK(piece->end);
  CHECK_FALSE(sender.piece());
}

TEST_CASE("acknowledgements make room; old ones mean nothing; lies are refused") {
  StreamSender sender(4);
  sender.append("abcd");
  CHECK(sender.room() == 0);
  CHECK(sender.piece(2));
  CHECK_FALSE(sender.acked(3, false).ok());  // never sent
  REQUIRE(sender.acked(2, false).ok());
  CHECK(sender.room() == 2);
  REQUIRE(sender.acked(1, false).ok());
  CHECK(sender.acknowledged() == 2);
  CHECK(sender.piece()->bytes == "cd");
}

TEST_CASE("a sender that holds more than a window has no more than a window under way") {
  constexpr size_t kMore = 1000;
  StreamSender sender(wire::kStreamWindow + kMore);
  sender.append(std::string(wire::kStreamWindow + kMore, 'x'));
  sender.end();
  StreamReceiver receiver;
  const auto send_all = [&] {
    while (auto piece = sender.piece())
      REQUIRE(receiver.receive(piece->offset, piece->bytes, piece->end).ok());
  };
  send_all();
  CHECK(receiver.ready().size() == wire::kStreamWindow);
  CHECK_FALSE(sender.all_sent());
  receiver.consume(1);
  REQUIRE(sender.acked(receiver.offset(), false).ok());
  send_all();
  CHECK(receiver.ready().size() == wire::kStreamWindow);
  receiver.consume(receiver.ready().size());
  REQUIRE(sender.acked(receiver.offset(), false).ok());
  send_all();
  CHECK(sender.all_sent());
  receiver.consume(receiver.ready().size());
  CHECK(receiver.ended());
}

TEST_CASE("rewinding sends again what is not acknowledged, the end included") {
  StreamSender sender;
  sender.append("abcd");
  sender.end();
  CHECK(sender.piece());
  REQUIRE(sender.acked(3, false).ok());
  sender.rewind();
  auto piece = sender.piece();
  REQUIRE(piece);
  CHECK(piece->offset == 3);
  CHECK(piece->bytes == "d");
  CHECK(piece->end);
  REQUIRE(sender.acked(4, false).ok());
  sender.rewind();
  piece = sender.piece();
  REQUIRE(piece);
  CHECK(piece->offset == 4);
  CHECK(piece->end);
}

TEST_CASE("an acknowledgement of the first sending may arrive after a rewind") {
  StreamSender sender;
  sender.append("abcd");
  CHECK(sender.piece());
  sender.rewind();
  REQUIRE(sender.acked(2, false).ok());
  CHECK(sender.piece()->bytes == "cd");
}

TEST_CASE("a reader that closed gets nothing more") {
  StreamSender sender;
  sender.append("abcd");
  REQUIRE(sender.acked(0, true).ok());
  CHECK(sender.closed());
  CHECK(sender.room() == 0);
  CHECK_FALSE(sender.piece());
  sender.append("dropped");
  sender.rewind();
  CHECK_FALSE(sender.piece());
}

TEST_CASE("a sender goes on from the state of another") {
  StreamSender first;
  first.append("abcd");
  CHECK(first.piece());
  REQUIRE(first.acked(1, false).ok());
  first.end();
  StreamSender second(first.state());
  CHECK(second.room() == 0);
  REQUIRE(second.acked(2, false).ok());  // answers what the first one sent
  auto piece = second.piece();
  REQUIRE(piece);
  CHECK(piece->offset == 2);
  CHECK(piece->bytes == "cd");
  CHECK(piece->end);
}

TEST_CASE("a receiver orders pieces, drops duplicates and keeps early ones") {
  StreamReceiver receiver;
  REQUIRE(receiver.receive(4, "ef", true).ok());
  CHECK(receiver.ready().empty());
  REQUIRE(receiver.receive(0, "abc", false).ok());
  CHECK(receiver.ready() == "abc");
  REQUIRE(receiver.receive(1, "bcd", false).ok());
  CHECK(take(receiver) == "abcdef");
  CHECK(receiver.ended());
  REQUIRE(receiver.receive(0, "abcdef", true).ok());
  CHECK(receiver.ready().empty());
  CHECK(receiver.offset() == 6);
}

TEST_CASE("a receiver refuses what no honest sender sends") {
  StreamReceiver receiver(0, 4);
  CHECK_FALSE(receiver.receive(0, "abcde", false).ok());
  CHECK_FALSE(receiver.receive(5, "", false).ok());
  CHECK_FALSE(receiver.receive(UINT64_MAX, "ab", false).ok());
  CHECK_FALSE(receiver.receive(3, "ab", false).ok());
  REQUIRE(receiver.receive(2, "c", false).ok());
  CHECK_FALSE(receiver.receive(0, "ab", true).ok());  // ends before a byte that came
  REQUIRE(receiver.receive(2, "cd", true).ok());
  CHECK_FALSE(receiver.receive(0, "abc", true).ok());
  REQUIRE(receiver.receive(0, "ab", false).ok());
  take(receiver);
  CHECK(receiver.ended());
  CHECK_FALSE(receiver.receive(4, "x", false).ok());
}

TEST_CASE("a receiver whose destination closed swallows everything") {
  StreamReceiver receiver;
  REQUIRE(receiver.receive(0, "ab", false).ok());
  receiver.close();
  CHECK(receiver.offset() == 2);
  REQUIRE(receiver.receive(2, "cd", true).ok());
  CHECK(receiver.ready().empty());
  CHECK(receiver.offset() == 4);
  CHECK(receiver.ended());
}

TEST_CASE("a stream arrives byte for byte, however it is cut, repeated, delayed and moved") {
  rc::prop("whole stream", [] {
    const size_t window = *rc::gen::inRange<size_t>(1, 64);
    const auto text = *rc::gen::container<std::string>(rc::gen::arbitrary<char>());
    struct Packet {
      uint64_t offset;
      std::string bytes;
      bool end;
    };
    StreamSender sender(window);
    StreamReceiver receiver(0, window);
    std::deque<Packet> network;
    size_t fed = 0;
    std::string out;
    const auto send_one = [&](size_t limit) {
      if (auto piece = sender.piece(limit))
        network.push_back({piece->offset, std::string(piece->bytes), piece->end});
    };
    const auto deliver = [&](size_t index, bool keep) {
      if (network.empty()) return;
      index %= network.size();
      const Packet packet = network[index];
      if (!keep) network.erase(network.begin() + static_cast<std::ptrdiff_t>(index));
      RC_ASSERT(receiver.receive(packet.offset, packet.bytes, packet.end).ok());
    };
    const auto feed = [&](size_t limit) {
      const size_t count = std::min({limit, sender.room(), text.size() - fed});
      sender.append(std::string_view(text).substr(fed, count));
      fed += count;
      if (fed == text.size()) sender.end();
    };
    const auto steps = *rc::gen::container<std::vector<std::pair<int, size_t>>>(
        rc::gen::pair(rc::gen::inRange(0, 9), rc::gen::inRange<size_t>(0, 70)));
    for (auto [what, n] : steps) {
      switch (what) {
        case 0:
          feed(n);
          break;
        case 1:
          send_one(1 + n);
          break;
        case 2:
          deliver(0, false);
          break;
        case 3:
          deliver(n, false);
          break;
        case 4:
          deliver(n, true);
          break;
        case 5:
          out += take(receiver, n);
          break;
        case 6:
          RC_ASSERT(sender.acked(receiver.offset(), false).ok());
          break;
        case 7:  // the other end moved: what was under way may be lost
          network.clear();
          sender.rewind();
          break;
        case 8: {  // this end moved
          sender = StreamSender(sender.state(), window);
          if (fed == text.size()) sender.end();
          break;
        }
        default:
          break;
      }
    }
    // A network that delivers in the end.
    for (size_t round = 0; !receiver.ended(); ++round) {
      RC_ASSERT(round < 10 * (text.size() + 10) + network.size());
      feed(text.size());
      send_one(16);
      while (!network.empty()) deliver(0, false);
      out += take(receiver);
      RC_ASSERT(sender.acked(receiver.offset(), false).ok());
      // All was sent but not all arrived: as after a move.
      if (sender.all_sent() && !receiver.ended()) sender.rewind();
    }
    RC_ASSERT(out == text);
    RC_ASSERT(sender.acked(receiver.offset(), false).ok());
    RC_ASSERT(sender.all_acked());
  });
}
