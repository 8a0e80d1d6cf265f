#include "migrate/tree_plan.h"

#include <algorithm>

#include "migrate/address_plan.h"

#include <catch2/catch.hpp>

using namespace hob::migrate;
using Role = StubPlan::Role;

namespace {
const StubPlan& of(const std::vector<StubPlan>& plans, pid_t pid) {
  auto at = std::find_if(plans.begin(), plans.end(), [&](auto& p) { return p.node.pid == pid; });
  REQUIRE(at != plans.end());
  return *at;
}
}  // namespace

TEST_CASE("a pipeline: children of the root in its session and group") {
  auto plans = plan_tree({{2, 0, 2, 2}, {3, 2, 2, 2}, {4, 2, 2, 2}});
  REQUIRE(plans.ok());
  REQUIRE(plans->size() == 3);
  CHECK((*plans)[0].founds_session);
  CHECK(of(*plans, 3).creator == 0);
  CHECK_FALSE(of(*plans, 4).founds_session);
}

TEST_CASE("a dead group leader gets a stand-in") {
  auto plans = plan_tree({{2, 0, 2, 2}, {4, 2, 3, 2}});
  REQUIRE(plans.ok());
  CHECK(of(*plans, 3).role == Role::helper);
  CHECK(of(*plans, 3).creator == 0);
}

TEST_CASE("a daemon: an orphan whose session leader is dead") {
  auto plans = plan_tree({{2, 0, 2, 2}, {9, 1, 8, 8}});
  REQUIRE(plans.ok());
  CHECK(of(*plans, 8).role == Role::helper);
  CHECK(of(*plans, 8).founds_session);
  CHECK((*plans)[static_cast<size_t>(of(*plans, 9).creator)].node.pid == 8);
}

TEST_CASE("a child that was forked before its parent founded a session") {
  auto plans = plan_tree({{2, 0, 2, 2}, {3, 2, 3, 3}, {4, 3, 2, 2}});
  REQUIRE(plans.ok());
  CHECK(of(*plans, 4).before_session);
}

TEST_CASE("a zombie leads the session that an orphan is in") {
  auto plans = plan_tree({{2, 0, 2, 2}, {9, 1, 7, 7}, {7, 2, 7, 7, 0, 1, 0}});
  REQUIRE(plans.ok());
  CHECK(of(*plans, 7).role == Role::zombie);
  const StubPlan& helper = (*plans)[static_cast<size_t>(of(*plans, 9).creator)];
  CHECK(helper.role == Role::helper);
  CHECK((*plans)[static_cast<size_t>(helper.creator)].node.pid == 7);
}

TEST_CASE("a session that the parent was never in is refused") {
  auto plans = plan_tree({{2, 0, 2, 2}, {3, 2, 2, 2}, {4, 3, 9, 9}});
  CHECK_FALSE(plans.ok());
}

TEST_CASE("holes keep their distance and never lie outside user space") {
  CHECK(find_hole({}, kPage, 0) == kUserEnd - kPage);
  CHECK(find_hole({{kUserEnd - 10 * kPage, kUserEnd}}, kPage, kPage) == kUserEnd - 12 * kPage);
  // [vsyscall] lies beyond, and its end plus a margin wraps around.
  CHECK(find_hole({{kUserEnd - 10 * kPage, kUserEnd}, {0xffffffffff600000, 0xffffffffff601000}},
                  kPage, kPage) == kUserEnd - 12 * kPage);
  CHECK_FALSE(find_hole({{0, kUserEnd}}, kPage, 0).has_value());
}
