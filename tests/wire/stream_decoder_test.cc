#include "wire/stream.h"

#include <rapidcheck/catch.h>

#include <catch2/catch.hpp>

namespace hob::wire {
namespace {

Message note(std::string text, std::string bulk = {}) {
  Message message;
  message.envelope.mutable_note()->set_text(std::move(text));
  message.bulk = std::move(bulk);
  return message;
}

/// What a decoder says of a stream that comes in these pieces: "text+bulk;" for each message, and
/// "!" for the Error that ends it.
std::string read_as(const std::vector<std::string>& pieces) {
  StreamDecoder decoder;
  std::string said;
  for (const std::string& piece : pieces) {
    decoder.feed(piece);
    for (;;) {
      auto message = decoder.next();
      if (!message.ok()) return said + "!";
      if (!message->has_value()) break;
      said += (*message)->envelope.note().text() + "+" + (*message)->bulk + ";";
    }
  }
  return said;
}

std::string header(uint32_t envelope, uint32_t bulk) {
  std::string bytes;
  for (uint32_t value : {envelope, bulk})
    for (unsigned shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<char>(value >> shift & 0xff));
  return bytes;
}

std::string stream_of(std::vector<Message> messages) {
  std::string bytes;
  for (Message& message : messages) bytes += encode_for_stream(message);
  return bytes;
}

TEST_CASE("a stream may be cut anywhere") {
  const std::string bytes =
      stream_of({note("one"), note("", "bulk alone"), note("three", std::string(300, 'b'))});
  const std::string whole = "one+;+bulk alone;three+" + std::string(300, 'b') + ";";
  CHECK(read_as({bytes}) == whole);
  for (size_t cut = 0; cut <= bytes.size(); ++cut)
    CHECK(read_as({bytes.substr(0, cut), bytes.substr(cut)}) == whole);
  std::vector<std::string> single;
  for (char byte : bytes) single.emplace_back(1, byte);
  CHECK(read_as(single) == whole);
}

TEST_CASE("a stream of any messages in any pieces is read as it was written") {
  rc::prop("", [](const std::vector<std::pair<std::string, std::string>>& texts,
                  const std::vector<uint8_t>& cuts) {
    std::string rest, expected;
    for (const auto& [text, bulk] : texts) {
      rest += stream_of({note(text, bulk)});
      expected += text + "+" + bulk + ";";
    }
    std::vector<std::string> pieces;
    for (uint8_t cut : cuts) {
      pieces.push_back(rest.substr(0, cut));
      rest.erase(0, cut);
    }
    pieces.push_back(rest);
    RC_ASSERT(read_as(pieces) == expected);
  });
}

TEST_CASE("random bytes are refused or waited on, however they are cut") {
  rc::prop("", [](const std::string& bytes, uint8_t cut) {
    const size_t at = std::min<size_t>(cut, bytes.size());
    RC_ASSERT(read_as({bytes}) == read_as({bytes.substr(0, at), bytes.substr(at)}));
  });
}

TEST_CASE("a flipped bit changes one message at most, or ends the stream") {
  const std::string good = stream_of({note("hello", "bulk")});
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string damaged = good;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const std::string said = read_as({damaged});
    CHECK(std::count(said.begin(), said.end(), ';') <= 1);
    CHECK(said != "hello+bulk;");
  }
}

TEST_CASE("sizes over the limits are refused as soon as the header is there") {
  constexpr auto kEnvelope = static_cast<uint32_t>(kMaxEnvelope);
  constexpr auto kBulk = static_cast<uint32_t>(kMaxBulk);
  CHECK(read_as({header(kEnvelope, kBulk)}).empty());  // allowed: waits for the rest
  CHECK(read_as({header(kEnvelope + 1, 0)}) == "!");
  CHECK(read_as({header(2, kBulk + 1)}) == "!");
  CHECK(read_as({header(UINT32_MAX, UINT32_MAX)}) == "!");
  CHECK(read_as({header(UINT32_MAX, UINT32_MAX).substr(0, 7)}).empty());
}

TEST_CASE("an Error comes again when it is asked for again, after the good messages before it") {
  StreamDecoder decoder;
  decoder.feed(stream_of({note("good")}) + header(0, 0));
  CHECK(decoder.next().value()->envelope.note().text() == "good");
  const std::string text = decoder.next().error().text;
  CHECK(text.find("version 0") != std::string::npos);
  decoder.feed(stream_of({note("too late")}));
  CHECK(decoder.next().error().text == text);
}

TEST_CASE("messages of the largest allowed size pass") {
  Message large = note(std::string(kMaxEnvelope - 32, 'x'), std::string(kMaxBulk, 'y'));
  const std::string bytes = encode_for_stream(large);
  StreamDecoder decoder;
  for (size_t at = 0; at < bytes.size(); at += 65536) {
    CHECK_FALSE(decoder.next().value().has_value());
    decoder.feed(std::string_view(bytes).substr(at, 65536));
  }
  const Message read = decoder.next().value().value();
  CHECK(read.envelope.note().text() == large.envelope.note().text());
  CHECK(read.bulk == large.bulk);
}

}  // namespace
}  // namespace hob::wire
