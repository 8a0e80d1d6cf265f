// pmake/door.h: what a recipe's shell says is read as it was said, in whatever pieces it comes, and
// what cannot be is refused.
#include "pmake/door.h"

#include <csignal>
#include <cstring>

#include <catch2/catch.hpp>

namespace hob::pmake {
namespace {

DoorRequest sample() {
  DoorRequest request;
  request.arguments = {"sh", "-c", "echo a b"};
  request.environment = {"PATH=/bin", "EMPTY=", "REMOTE_TARGET=out.o"};
  request.directory = "/src/dir";
  request.umask = 022;
  for (uint64_t i = 0; i < door::kLimits; ++i) request.limits.push_back({i, i * 1000});
  return request;
}

struct Raw {
  door::Request head{};
  std::string directory, strings;
  std::string bytes() const {
    return std::string(reinterpret_cast<const char*>(&head), sizeof head) + directory + strings;
  }
};
Raw raw(const DoorRequest& request) {
  Raw raw;
  raw.head.mark = door::kMark;
  raw.head.umask = request.umask;
  std::copy(request.limits.begin(), request.limits.end(), raw.head.limits);
  raw.directory = request.directory;
  for (const auto* list : {&request.arguments, &request.environment})
    for (const std::string& text : *list) raw.strings += text + '\0';
  raw.head.arguments = static_cast<uint32_t>(request.arguments.size());
  raw.head.environment = static_cast<uint32_t>(request.environment.size());
  raw.head.directory_size = static_cast<uint32_t>(raw.directory.size());
  raw.head.strings_size = static_cast<uint32_t>(raw.strings.size());
  return raw;
}
bool refused(const Raw& raw) {
  DoorDecoder decoder;
  decoder.feed(raw.bytes());
  return !decoder.request().ok();
}

std::string signals(std::initializer_list<uint32_t> numbers) {
  std::string bytes;
  for (uint32_t number : numbers) {
    const door::Signal signal{number};
    bytes.append(reinterpret_cast<const char*>(&signal), sizeof signal);
  }
  return bytes;
}

TEST_CASE("a request may be cut anywhere, and signals follow it") {
  const DoorRequest expected = sample();
  const std::string bytes = raw(expected).bytes();
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    DoorDecoder decoder;
    decoder.feed(bytes.substr(0, cut));
    auto early = decoder.request();
    REQUIRE(early.ok());
    REQUIRE(!early->has_value());
    decoder.feed(bytes.substr(cut) + signals({SIGINT, SIGTERM}).substr(0, 5));
    auto request = decoder.request();
    REQUIRE(request.ok());
    REQUIRE(request->has_value());
    CHECK(**request == expected);
    CHECK(decoder.signal() == SIGINT);
    CHECK(!decoder.signal());
    decoder.feed(signals({SIGTERM}).substr(1));
    CHECK(decoder.signal() == SIGTERM);
  }
}

TEST_CASE("what is no request is refused") {
  Raw other = raw(sample());
  CHECK(!refused(other));
  other.head.mark ^= 1;
  CHECK(refused(other));

  Raw none = raw(sample());
  none.head.arguments = 0;
  CHECK(refused(none));

  for (const uint32_t environment : {2u, 4u, 0xffffffffu}) {
    Raw wrong = raw(sample());
    wrong.head.environment = environment;
    CHECK(refused(wrong));
  }
  Raw unended = raw(sample());
  unended.strings.back() = 'x';
  CHECK(refused(unended));

  for (const char* directory : {"", "src", "(unreachable)/src"}) {
    DoorRequest request = sample();
    request.directory = directory;
    CHECK(refused(raw(request)));
  }
  DoorRequest zero = sample();
  zero.directory[4] = '\0';
  CHECK(refused(raw(zero)));

  Raw large = raw(sample());  // before any of it is kept
  large.head.strings_size = 0xffffffffu;
  large.head.directory_size = 0xffffffffu;
  large.directory.clear(), large.strings.clear();
  CHECK(refused(large));
}

TEST_CASE("numbers that are no signals are skipped") {
  DoorDecoder decoder;
  decoder.feed(raw(sample()).bytes() + signals({0, 65, 0xffffffffu, SIGHUP}));
  REQUIRE(decoder.request().ok());
  CHECK(decoder.signal() == SIGHUP);
  CHECK(!decoder.signal());
}

TEST_CASE("a variable is found by its whole name") {
  const std::vector<std::string> environment = {"AB=1", "A=2=3", "B"};
  CHECK(value_in(environment, "A") == "2=3");
  CHECK(value_in(environment, "AB") == "1");
  CHECK(value_in(environment, "B").empty());
  CHECK(value_in(environment, "").empty());
}

TEST_CASE("output goes in front of its bytes, and nothing is no word") {
  CHECK(encode_output(false, "").empty());
  const std::string bytes = encode_output(true, "abc");
  door::Word word;
  REQUIRE(bytes.size() == sizeof word + 3);
  std::memcpy(&word, bytes.data(), sizeof word);
  CHECK(word.kind == door::Kind::err);
  CHECK(word.value == 3);
  CHECK(bytes.substr(sizeof word) == "abc");
}

}  // namespace
}  // namespace hob::pmake
