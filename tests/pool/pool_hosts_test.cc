#include "tests/pool/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;

TEST_CASE("the owner's return revokes every grant on the host and stops new ones") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 0, 2));
  pool.ask(want(client(1, 7), 2));
  const auto revoked = all<Revoked>(pool.set(2, HostState::active));
  REQUIRE(revoked.size() == 2);
  CHECK(revoked[0].why == Revocation::owner_back);
  CHECK(pool.pool().leases() == 0);
  CHECK(only<Queued>(pool.ask(want(client(1, 7)))).hosts.owner_present == 1);
  CHECK(only<Granted>(pool.set(2, HostState::idle)).lease.host == host_id(2));
}

TEST_CASE("a host that refuses or is full keeps its grants and takes no more") {
  const HostState state = GENERATE(HostState::refuses, HostState::full);
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 0, 2));
  pool.ask(want(client(1, 7)));
  CHECK(pool.set(2, state).empty());
  CHECK(pool.pool().leases() == 1);
  only<Queued>(pool.ask(want(client(1, 7))));
}

TEST_CASE("a full host has room again when a grant ends") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2));
  const Lease held = only<Granted>(pool.ask(want(client(1, 7)))).lease;
  pool.set(2, HostState::full);
  only<Queued>(pool.ask(want(client(1, 8))));
  CHECK(only<Granted>(pool.release(held.id)).lease.client == client(1, 8));
}

TEST_CASE("a host that goes down loses its guests' grants and its own requests") {
  CheckedPool pool;
  pool.update(idle(1, 0));
  pool.update(idle(2, 1));
  const Lease there = only<Granted>(pool.ask(want(client(1, 7)))).lease;
  REQUIRE(there.host == host_id(2));
  only<Granted>(pool.ask(want(client(2, 8))));
  only<Queued>(pool.ask(want(client(2, 9))));
  const Decisions decisions = pool.set(2, HostState::down);
  REQUIRE(decisions.size() == 2);
  CHECK(all<Refused>(decisions).at(0).why == Refusal::home_lost);
  CHECK(all<Revoked>(decisions).at(0).why == Revocation::host_down);
  // What host 2's client holds elsewhere runs out unless host 2 comes back and renews it.
  CHECK(pool.pool().leases() == 1);
  CHECK(only<Expired>(pool.expire(60)).lease.client == client(2, 8));
}

TEST_CASE("fewer slots revoke the newest grants") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 0, 3));
  const auto grants = all<Granted>(pool.ask(want(client(1, 7), 3)));
  const auto revoked = all<Revoked>(pool.update(idle(2, 0, 1)));
  REQUIRE(revoked.size() == 2);
  CHECK(revoked[0].why == Revocation::fewer_slots);
  CHECK(pool.pool().lease(grants[0].lease.id) != nullptr);
}

TEST_CASE("a host suits a home only if home could run the process afterwards") {
  CheckedPool pool;
  HostFacts plain = home(1), rich = home(2);
  rich.features = features(7);
  pool.update(plain);
  pool.update(rich);
  HostFacts newer = idle(3, 0);
  newer.features = features(3);
  pool.update(newer);
  CHECK(only<Queued>(pool.ask(want(client(1, 7)))).hosts.unsuitable == 2);
  CHECK(only<Granted>(pool.ask(want(client(2, 7)))).lease.host == host_id(3));
  CHECK(only<Granted>(pool.update(idle(4, 1))).lease.client == client(1, 7));
}

TEST_CASE("import and export lists") {
  CheckedPool pool;
  pool.update(home(1));
  HostFacts choosy_home = home(2);
  choosy_home.export_to = Policy::only({host_id(5), host_id(77)});
  pool.update(choosy_home);
  HostFacts invites_1 = idle(3, 0);
  invites_1.import_from = Policy::only({host_id(1)});
  pool.update(invites_1);
  HostFacts nobody = idle(4, 0);
  nobody.import_from.kind = Policy::Kind::none;
  pool.update(nobody);

  only<Queued>(pool.ask(want(client(2, 8))));
  CHECK(only<Granted>(pool.ask(want(client(1, 7)))).lease.host == host_id(3));
  only<Queued>(pool.ask(want(client(1, 7))));
  // Host 5 suits both; user 8 has nothing yet and asked first.
  CHECK(only<Granted>(pool.update(idle(5, 9))).lease.client == client(2, 8));
  CHECK(only<Granted>(pool.update(idle(6, 9))).lease.client == client(1, 7));
}

TEST_CASE("a policy that changes revokes what it no longer allows") {
  CheckedPool pool;
  pool.update(home(1));
  HostFacts host = idle(2);
  pool.update(host);
  pool.ask(want(client(1, 7)));
  SECTION("at the host") {
    host.import_from.kind = Policy::Kind::none;
    CHECK(only<Revoked>(pool.update(host)).why == Revocation::not_allowed);
  }
  SECTION("at home") {
    only<Queued>(pool.ask(want(client(1, 8))));
    HostFacts closed = home(1);
    closed.export_to.kind = Policy::Kind::none;
    const Decisions decisions = pool.update(closed);
    REQUIRE(decisions.size() == 2);
    CHECK(all<Refused>(decisions).at(0).why == Refusal::not_exported);
    CHECK(all<Revoked>(decisions).at(0).why == Revocation::not_allowed);
  }
}

TEST_CASE("a home whose processor improves is served from hosts that stood free") {
  CheckedPool pool;
  HostFacts plain = home(1);
  pool.update(plain);
  HostFacts newer = idle(2);
  newer.features = features(3);
  pool.update(newer);
  only<Queued>(pool.ask(want(client(1, 7))));
  plain.features = features(3);
  CHECK(only<Granted>(pool.update(plain)).lease.host == host_id(2));
}

TEST_CASE("a host that leaves the cell takes everything of it along") {
  CheckedPool pool;
  pool.update(idle(1, 0));
  pool.update(idle(2, 1));
  pool.update(home(3));
  only<Granted>(pool.ask(want(client(1, 7))));  // on 2
  only<Granted>(pool.ask(want(client(2, 8))));  // on 1
  Request for_2 = want(client(3, 9));
  for_2.host = host_id(2);
  only<Queued>(pool.ask(for_2));
  only<Queued>(pool.ask(want(client(2, 10))));
  const Decisions decisions = pool.remove(2);
  CHECK(decisions.size() == 4);
  CHECK(all<Refused>(decisions).at(0).why == Refusal::home_lost);
  CHECK(all<Refused>(decisions).at(1).why == Refusal::no_such_host);
  CHECK(all<Revoked>(decisions).at(0).why == Revocation::host_down);
  CHECK(all<Revoked>(decisions).at(1).why == Revocation::home_removed);
  CHECK(pool.pool().hosts() == 2);
  CHECK(pool.remove(2).empty());
}

TEST_CASE("after a restart homes bring their grants back") {
  Lease held;
  {
    CheckedPool before(PoolConfig{.epoch = 1});
    before.update(home(1));
    before.update(idle(2));
    held = only<Granted>(before.ask(want(client(1, 7)))).lease;
  }
  CheckedPool pool(PoolConfig{.epoch = 2});
  HostFacts host = idle(2);
  host.state = HostState::full;
  pool.update(home(1), 10);

  SECTION("the host reports first") {
    pool.update(host, 10);
    CHECK(pool.renew(held.id, 10) == Pool::Renewal::not_yet);
    CHECK(pool.restore(1, {held}, 11).empty());
    CHECK(pool.restore(1, {held}, 11).empty());
    CHECK(pool.pool().leases() == 1);
    CHECK(pool.renew(held.id, 12) == Pool::Renewal::renewed);
    CHECK(pool.pool().lease(held.id)->client == client(1, 7));
  }
  SECTION("the home reports first") {
    CHECK(pool.restore(1, {held}, 11).empty());
    CHECK(pool.renew(held.id, 11) == Pool::Renewal::not_yet);
    CHECK(pool.pool().next_expiry() == at(70));
    CHECK(pool.update(host, 12).empty());
    CHECK(pool.renew(held.id, 12) == Pool::Renewal::renewed);
  }
  SECTION("the host never reports") {
    pool.restore(1, {held}, 11);
    CHECK(only<Expired>(pool.expire(70)).lease.id == held.id);
    CHECK_FALSE(pool.pool().next_expiry().has_value());
  }
  SECTION("released before the host reports") {
    pool.restore(1, {held}, 11);
    CHECK(pool.release(held.id, 12).empty());
    CHECK(pool.update(host, 13).empty());
    CHECK(pool.pool().leases() == 0);
  }
  SECTION("too late") {
    pool.update(host, 70);
    CHECK(pool.renew(held.id, 70) == Pool::Renewal::unknown);
    CHECK(only<Revoked>(pool.restore(1, {held}, 70)).why == Revocation::unknown);
  }
  SECTION("on a host whose owner is back") {
    pool.restore(1, {held}, 10);
    host.state = HostState::active;
    CHECK(only<Revoked>(pool.update(host, 11)).why == Revocation::owner_back);
  }
  SECTION("more than the host has slots") {
    pool.update(host, 10);
    Lease second = held;
    second.id.value += 1;
    CHECK(only<Revoked>(pool.restore(1, {held, second}, 10)).lease.id == second.id);
  }
  SECTION("forged: of this start, of another home, or of another client") {
    pool.update(host, 10);
    Lease forged = held;
    forged.id.value = (uint64_t{2} << LeaseId::serial_bits) + 5;
    CHECK(only<Revoked>(pool.restore(1, {forged}, 10)).why == Revocation::unknown);
    CHECK(only<Revoked>(pool.restore(3, {held}, 10)).why == Revocation::unknown);
    CHECK(pool.restore(1, {held}, 10).empty());
    forged = held;
    forged.client = client(1, 666);
    CHECK(only<Revoked>(pool.restore(1, {forged}, 10)).why == Revocation::unknown);
    CHECK(pool.pool().lease(held.id)->client == client(1, 7));
  }
}
