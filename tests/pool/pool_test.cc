#include "tests/pool/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;

TEST_CASE("the longest idle host is granted first") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 30));
  pool.update(idle(3, 10));
  pool.update(idle(4, 20));
  const Decisions given = pool.ask(want(client(1, 7), 3), 5);
  const auto grants = all<Granted>(given);
  REQUIRE(given.size() == 3);
  CHECK(grants[0].lease.host == host_id(3));
  CHECK(grants[1].lease.host == host_id(4));
  CHECK(grants[2].lease.host == host_id(2));
  CHECK(grants[0].request == pool.last_request);
  CHECK(grants[0].lease.client == client(1, 7));
  CHECK(grants[0].lease.expires == at(5) + PoolConfig{}.lease);
}

TEST_CASE("guests spread over hosts before one has two of them, whoever they belong to") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 0, 3));
  pool.update(idle(3, 1, 2));
  pool.update(idle(4, 2, 1));
  const auto hosts_of = [](const Decisions& decisions) {
    std::vector<HostId> hosts;
    for (const Granted& granted : all<Granted>(decisions)) hosts.push_back(granted.lease.host);
    return hosts;
  };
  using Hosts = std::vector<HostId>;
  const Decisions first = pool.ask(want(client(1, 7), 4));
  CHECK(hosts_of(first) == Hosts{host_id(2), host_id(3), host_id(4), host_id(2)});
  CHECK(hosts_of(pool.ask(want(client(1, 8)))) == Hosts{host_id(3)});
  pool.release(all<Granted>(first)[3].lease.id);
  pool.release(all<Granted>(first)[0].lease.id);
  CHECK(hosts_of(pool.ask(want(client(1, 8), 3))) == Hosts{host_id(2), host_id(2), host_id(2)});
}

TEST_CASE("home is never granted to itself") {
  CheckedPool pool;
  pool.update(idle(1));
  const auto queued = only<Queued>(pool.ask(want(client(1, 7))));
  CHECK(queued.hosts == Availability{});
  CHECK(to_string(queued.hosts) == "no other host has joined the cell");
}

TEST_CASE("a request that finds nothing waits and says why") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2));
  pool.update(home(3));
  HostFacts paused = idle(4);
  paused.state = HostState::refuses;
  pool.update(paused);
  HostFacts newer = idle(5);
  newer.features = features(3);
  pool.update(newer);
  const Lease held = only<Granted>(pool.ask(want(client(1, 7)))).lease;

  const auto queued = only<Queued>(pool.ask(want(client(1, 8), 1)));
  CHECK(queued.position == 1);
  CHECK(queued.missing == 1);
  CHECK(to_string(queued.hosts) ==
        "1 in use, 1 with their owner present, 1 not taking guests, 1 with another processor");
  const RequestId waits = pool.last_request;
  CHECK(pool.pool().waiting(waits).has_value());

  const auto granted = only<Granted>(pool.release(held.id));
  CHECK(granted.request == waits);
  CHECK(granted.lease.client == client(1, 8));
  CHECK_FALSE(pool.pool().waiting(waits).has_value());
}

TEST_CASE("a request that does not wait is refused what is missing") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2));
  Request request = want(client(1, 7), 3);
  request.wait = false;
  const Decisions decisions = pool.ask(request);
  REQUIRE(decisions.size() == 2);
  CHECK(all<Granted>(decisions).size() == 1);
  const auto refused = all<Refused>(decisions).at(0);
  CHECK(refused.why == Refusal::nothing_free);
  CHECK(refused.missing == 2);
  CHECK(refused.hosts.in_use == 1);
}

TEST_CASE("a particular host, and hosts that are excluded") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2, 0));
  pool.update(idle(3, 1));
  Request one = want(client(1, 7));
  one.host = host_id(3);
  CHECK(only<Granted>(pool.ask(one)).lease.host == host_id(3));
  only<Queued>(pool.ask(one));  // host 2 is free, but not what was asked for
  Request other = want(client(1, 9));
  other.exclude = {host_id(2)};
  only<Queued>(pool.ask(other));
}

TEST_CASE("requests that can never be served are refused with the reason") {
  CheckedPool pool(PoolConfig{.max_wanted = 10, .max_excluded = 2, .max_waiting_per_home = 1});
  pool.update(home(1));
  pool.update(home(2));
  const auto why = [&](const Request& r) { return only<Refused>(pool.ask(r)).why; };

  CHECK(why(want(client(1, 7), 0)) == Refusal::bad_request);
  CHECK(why(want(client(1, 7), 11)) == Refusal::bad_request);
  Request r = want(client(1, 7));
  r.exclude = {host_id(5), host_id(6), host_id(7)};
  CHECK(why(r) == Refusal::bad_request);
  r.exclude = {host_id(2)};
  r.host = host_id(2);
  CHECK(why(r) == Refusal::bad_request);

  CHECK(why(want(client(99, 7))) == Refusal::home_lost);
  r = want(client(1, 7));
  r.host = host_id(42);
  CHECK(why(r) == Refusal::no_such_host);
  r.host = host_id(1);
  CHECK(why(r) == Refusal::host_unsuitable);

  HostFacts closed = home(3);
  closed.export_to.kind = Policy::Kind::none;
  pool.update(closed);
  CHECK(why(want(client(3, 7))) == Refusal::not_exported);

  only<Queued>(pool.ask(want(client(1, 7))));
  CHECK(why(want(client(1, 8))) == Refusal::queue_full);
}

TEST_CASE("grants expire unless they are renewed") {
  CheckedPool pool(PoolConfig{.lease = seconds(60)});
  pool.update(home(1));
  pool.update(idle(2));
  pool.update(idle(3));
  const auto grants = all<Granted>(pool.ask(want(client(1, 7), 2), 0));
  REQUIRE(grants.size() == 2);
  CHECK(pool.pool().next_expiry() == at(60));
  CHECK(pool.renew(grants[0].lease.id, 40) == Pool::Renewal::renewed);
  CHECK(pool.expire(59).empty());
  CHECK(only<Expired>(pool.expire(60)).lease.id == grants[1].lease.id);
  CHECK(pool.pool().next_expiry() == at(100));
  CHECK(pool.renew(grants[1].lease.id, 61) == Pool::Renewal::unknown);
  CHECK(pool.release(grants[1].lease.id, 61).empty());
  CHECK(pool.renew(grants[0].lease.id, 100) == Pool::Renewal::unknown);
  CHECK(only<Expired>(pool.expire(100)).lease.id == grants[0].lease.id);
  CHECK_FALSE(pool.pool().next_expiry().has_value());
}

TEST_CASE("an expired grant goes to who waits") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2));
  pool.ask(want(client(1, 7)), 0);
  only<Queued>(pool.ask(want(client(1, 8)), 1));
  const Decisions decisions = pool.expire(60);
  REQUIRE(decisions.size() == 2);
  CHECK(all<Expired>(decisions).at(0).lease.client == client(1, 7));
  CHECK(all<Granted>(decisions).at(0).lease.client == client(1, 8));
}

TEST_CASE("a client that ends gives everything back and wants nothing more") {
  CheckedPool pool;
  pool.update(home(1));
  pool.update(idle(2));
  pool.ask(want(client(1, 7), 5));
  CHECK(pool.pool().leases() == 1);
  CHECK(pool.pool().requests() == 1);
  CHECK(pool.gone(client(1, 7)).empty());
  CHECK(pool.pool().leases() == 0);
  CHECK(pool.pool().requests() == 0);
  CHECK(only<Granted>(pool.ask(want(client(1, 8)))).lease.host == host_id(2));
}

TEST_CASE("a cancelled request is not served") {
  CheckedPool pool;
  pool.update(home(1));
  only<Queued>(pool.ask(want(client(1, 7))));
  CHECK(pool.cancel(pool.last_request).empty());
  CHECK(pool.update(idle(2)).empty());
}

TEST_CASE("grants of two starts of the coordinator never have the same number") {
  CheckedPool first(PoolConfig{.epoch = 1}), second(PoolConfig{.epoch = 2});
  for (CheckedPool* pool : {&first, &second}) {
    pool->update(home(1));
    pool->update(idle(2));
  }
  const Lease a = only<Granted>(first.ask(want(client(1, 7)))).lease;
  const Lease b = only<Granted>(second.ask(want(client(1, 7)))).lease;
  CHECK(a.id != b.id);
  CHECK(a.id.epoch() == 1);
  CHECK(b.id.epoch() == 2);
}
