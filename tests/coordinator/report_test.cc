#include "coordinator/coordinator.h"
//
#include <catch2/catch.hpp>

using namespace hob;
using coordinator::check_policies;

namespace {

void fill(pb::Policy& policy, size_t count) {
  policy.set_kind(pb::Policy::LIST);
  for (size_t i = 0; i < count; ++i) policy.add_hosts("h");
}

}  // namespace

TEST_CASE("a report with policies of any allowed length is taken") {
  pb::HostReport report;
  CHECK(check_policies(report).ok());
  fill(*report.mutable_import(), HostList::kMostHosts);
  fill(*report.mutable_export_(), HostList::kMostHosts);
  CHECK(check_policies(report).ok());
}

TEST_CASE("a policy that is too long is refused, with its name and what to do") {
  pb::HostReport report;
  SECTION("import") {
    fill(*report.mutable_import(), HostList::kMostHosts + 1);
    const Result<void> refused = check_policies(report);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().text ==
          "take a host's report: owner.import names 1025 hosts; at most 1024 are allowed; write "
          "\"all\", or "
          "shorten it, in its hostd.toml");
  }
  SECTION("export, whatever its kind says") {
    fill(*report.mutable_export_(), 100'000);
    report.mutable_export_()->set_kind(pb::Policy::ALL);
    const Result<void> refused = check_policies(report);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().text.find("owner.export names 100000 hosts") != std::string::npos);
  }
}
