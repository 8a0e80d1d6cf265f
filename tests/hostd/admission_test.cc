#include "hostd/admission.h"

#include "wire/grant_token.h"

#include <catch2/catch.hpp>

using namespace hob;
using hostd::Admission;

namespace {

const std::string kKey(32, 'k');
constexpr uint64_t kExpires = 2'000'000'000'000'000'000;

WallTime wall(uint64_t ns) {
  return WallTime(
      std::chrono::duration_cast<WallClock::duration>(nanoseconds(static_cast<int64_t>(ns))));
}

Admission open_host() {
  Admission admission;
  admission.grant_key = kKey;
  admission.accepting = true;
  admission.slots = 2;
  return admission;
}

pb::Identity user(uint32_t uid) {
  pb::Identity identity;
  identity.set_uid(uid);
  identity.set_gid(uid);
  return identity;
}

std::optional<pb::Failure::Kind> refusal(const Admission& admission, const std::string& home,
                                         uint32_t uid, const std::string& token,
                                         uint64_t now_ns = kExpires - 1) {
  auto refused = admission.refuse(home, user(uid), 9, token, kExpires, wall(now_ns));
  return refused ? std::optional(refused->kind) : std::nullopt;
}

}  // namespace

TEST_CASE("a guest is admitted with the grant of its home, and for nobody else") {
  const std::string token = wire::grant_token(kKey, 9, "h0", kExpires);
  REQUIRE_FALSE(refusal(open_host(), "h0", 1000, token));
  REQUIRE(refusal(open_host(), "h1", 1000, token) == pb::Failure::STALE);
  REQUIRE(refusal(open_host(), "h0", 1000, "") == pb::Failure::STALE);
  REQUIRE(refusal(open_host(), "h0", 1000, token.substr(1) + "x") == pb::Failure::STALE);
  REQUIRE(refusal(open_host(), "h0", 1000, token, kExpires + 1'000'000'000) == pb::Failure::STALE);
  REQUIRE(refusal(open_host(), "h0", 1000, wire::grant_token("", 9, "h0", kExpires)) ==
          pb::Failure::STALE);  // a host that has no key yet takes nobody
}

TEST_CASE("grants of the coordinator before its restart are still good") {
  Admission admission = open_host();
  admission.grant_key = std::string(32, 'n');
  admission.earlier_key = kKey;
  REQUIRE_FALSE(refusal(admission, "h0", 1000, wire::grant_token(kKey, 9, "h0", kExpires)));
}

TEST_CASE("the owner, the slots, the policy and the user decide as well") {
  const std::string token = wire::grant_token(kKey, 9, "h0", kExpires);
  Admission admission = open_host();
  admission.accepting = false;
  REQUIRE(refusal(admission, "h0", 1000, token) == pb::Failure::STALE);
  admission = open_host();
  admission.guests = 2;
  REQUIRE(refusal(admission, "h0", 1000, token) == pb::Failure::STALE);
  admission = open_host();
  admission.import_all = false;
  admission.import = {"h7"};
  REQUIRE(refusal(admission, "h0", 1000, token) == pb::Failure::STALE);
  admission.import = {"h7", "h0"};
  REQUIRE_FALSE(refusal(admission, "h0", 1000, token));
  REQUIRE(refusal(open_host(), "h0", 0, token) == pb::Failure::NOT_PERMITTED);
  REQUIRE(refusal(open_host(), "h0", 999, token) == pb::Failure::NOT_PERMITTED);
}
