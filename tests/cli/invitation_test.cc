#include "wire/invitation.h"

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;

namespace {

wire::Invitation sample() {
  wire::Invitation invitation{"tcp://10.77.0.1:7717", {}, {}};
  for (size_t i = 0; i < 32; ++i) {
    invitation.coordinator_key[i] = static_cast<uint8_t>(i);
    invitation.secret_key[i] = static_cast<uint8_t>(255 - i);
  }
  return invitation;
}

}  // namespace

TEST_CASE("an invitation is one word that survives copying") {
  const std::string text = wire::to_text(sample());
  CHECK(text.starts_with("hob1:AAECAwQF"));
  CHECK(text.find_first_of(" \t\n\"'$=+/") == std::string::npos);
  auto back = wire::invitation_from_text("  " + text + "\r\n");
  REQUIRE(back.ok());
  CHECK(back->endpoint == sample().endpoint);
  CHECK(back->coordinator_key == sample().coordinator_key);
  CHECK(back->secret_key == sample().secret_key);
}

TEST_CASE("an invitation of any endpoint comes back") {
  rc::prop("round trip", [] {
    wire::Invitation invitation = sample();
    invitation.endpoint =
        "tcp://" + *rc::gen::container<std::string>(rc::gen::inRange<char>('!', '\x7f'));
    invitation.secret_key = *rc::gen::arbitrary<wire::Key>();
    const auto back = wire::invitation_from_text(wire::to_text(invitation));
    RC_ASSERT(back.ok());
    RC_ASSERT(back->endpoint == invitation.endpoint);
    RC_ASSERT(back->secret_key == invitation.secret_key);
  });
}

TEST_CASE("a damaged invitation is refused, and the error does not repeat the secret") {
  const std::string text = wire::to_text(sample());
  rc::prop("one character changed", [&] {
    std::string damaged = text;
    const auto at = *rc::gen::inRange<size_t>(0, text.size());
    damaged[at] = *rc::gen::suchThat<char>([&](char c) { return c != text[at]; });
    const auto back = wire::invitation_from_text(damaged);
    // White space at the ends is trimmed, and what is left is too short.
    RC_ASSERT(!back.ok());
    RC_ASSERT(back.error().text.find(text.substr(60, 20)) == std::string::npos);
  });
  for (size_t length = 0; length < text.size(); ++length)
    CHECK_FALSE(wire::invitation_from_text(text.substr(0, length)).ok());
  CHECK_FALSE(wire::invitation_from_text(text + "A").ok());
  CHECK_FALSE(wire::invitation_from_text(text + std::string(2000, 'A')).ok());
}

TEST_CASE("the error says what kind of text it was") {
  const auto text_of = [](std::string_view text) {
    return wire::invitation_from_text(text).error().text;
  };
  CHECK(text_of("hello").find("does not begin") != std::string::npos);
  CHECK(text_of("hob2:AAAA").find("another version") != std::string::npos);
  CHECK(text_of("hob1:AAAA").find("damaged") != std::string::npos);
}
