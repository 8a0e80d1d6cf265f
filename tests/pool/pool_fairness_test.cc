#include <map>

#include "tests/pool/kit.h"

using namespace hob;
using namespace hob::coordinator;
using namespace hob::coordinator::test;

namespace {

/// Homes 1 to 9 with their owners present, hosts 11 to 10 + n idle.
class Cell : public CheckedPool {
 public:
  explicit Cell(uint32_t n) {
    for (uint32_t i = 1; i <= 9; ++i) update(home(i));
    for (uint32_t i = 1; i <= n; ++i) update(idle(10 + i, i));
  }
};

/// Clients that give back what is asked back, until nothing is asked any more. Returns who holds
/// how many then, and fails if grants go round for ever.
std::map<Client, int> settle(CheckedPool& pool, const Decisions& first,
                             std::map<Client, int> holding = {}) {
  std::vector<Decision> open(first.begin(), first.end());
  for (int steps = 0; !open.empty(); ++steps) {
    REQUIRE(steps < 10'000);
    const Decision d = open.front();
    open.erase(open.begin());
    if (const auto* granted = std::get_if<Granted>(&d)) ++holding[granted->lease.client];
    if (const auto* reclaim = std::get_if<Reclaim>(&d)) {
      --holding[reclaim->lease.client];
      const Decisions next = pool.release(reclaim->lease.id);
      open.insert(open.end(), next.begin(), next.end());
    }
  }
  return holding;
}

}  // namespace

TEST_CASE("two greedy users end with halves") {
  Cell pool(10);
  auto holding = settle(pool, pool.ask(want(client(1, 7), 100)));
  CHECK(holding[client(1, 7)] == 10);
  holding = settle(pool, pool.ask(want(client(2, 8), 100)), holding);
  CHECK(holding[client(1, 7)] == 5);
  CHECK(holding[client(2, 8)] == 5);
}

TEST_CASE("two greedy clients of one user end with halves") {
  Cell pool(9);
  auto holding = settle(pool, pool.ask(want(client(1, 7, 1), 100)));
  holding = settle(pool, pool.ask(want(client(1, 7, 2), 100)), holding);
  CHECK(holding[client(1, 7, 1)] == 5);
  CHECK(holding[client(1, 7, 2)] == 4);
}

TEST_CASE("many clients do not give a user more than a share") {
  Cell pool(12);
  std::map<Client, int> holding;
  for (uint64_t i = 0; i < 20; ++i)
    holding = settle(pool, pool.ask(want(client(1, 7, i))), holding);
  holding = settle(pool, pool.ask(want(client(2, 8), 100)), holding);
  CHECK(holding[client(2, 8)] == 6);
}

TEST_CASE("three greedy users end with thirds") {
  Cell pool(12);
  std::map<Client, int> holding;
  for (uint32_t user : {1u, 2u, 3u}) {
    holding = settle(pool, pool.ask(want(client(user, user), 100)), holding);
  }
  CHECK(holding == std::map<Client, int>{{client(1, 1), 4}, {client(2, 2), 4}, {client(3, 3), 4}});
}

TEST_CASE("nothing is asked back for a difference of one") {
  Cell pool(1);
  pool.ask(want(client(1, 7)));
  only<Queued>(pool.ask(want(client(2, 8))));
}

TEST_CASE("a grant that is asked back can be used until it expires, but not renewed") {
  Cell pool(2);
  pool.ask(want(client(1, 7), 2), 0);
  const Decisions decisions = pool.ask(want(client(2, 8)), 1);
  REQUIRE(decisions.size() == 2);
  const Lease back = all<Reclaim>(decisions).at(0).lease;
  CHECK(back.client == client(1, 7));
  CHECK(back.host == host_id(12));  // the one granted last
  CHECK(pool.renew(back.id, 2) == Pool::Renewal::reclaimed);
  const auto expired = pool.expire(60);
  CHECK(all<Expired>(expired).size() == 2);
  CHECK(all<Granted>(expired).at(0).lease.client == client(2, 8));
}

TEST_CASE("who has nothing is served in order of arrival, before all who have something") {
  Cell pool(2);
  pool.ask(want(client(1, 1)));
  Lease last = only<Granted>(pool.ask(want(client(2, 2)))).lease;
  pool.ask(want(client(1, 1)));  // has one
  pool.ask(want(client(3, 3)));
  pool.ask(want(client(4, 4)));
  std::vector<Client> served;
  for (int i = 0; i < 3; ++i) {
    last = only<Granted>(pool.release(last.id)).lease;
    served.push_back(last.client);
  }
  CHECK(served == std::vector<Client>{client(3, 3), client(4, 4), client(1, 1)});
}

TEST_CASE("short jobs that come again and again do not keep a waiting user out") {
  Cell pool(1);
  Lease busy = only<Granted>(pool.ask(want(client(1, 1)))).lease;
  pool.ask(want(client(2, 2)));  // waits
  pool.ask(want(client(1, 1)));  // asks again before it gives back
  busy = only<Granted>(pool.release(busy.id)).lease;
  CHECK(busy.client == client(2, 2));
}

TEST_CASE("fair reclaim takes only hosts that suit the one who waits") {
  Cell pool(0);
  HostFacts rich = home(1);
  rich.features = features(3);
  pool.update(rich);
  pool.update(idle(11, 1));
  for (uint32_t n : {12u, 13u}) {
    HostFacts newer = idle(n, n);
    newer.features = features(3);
    pool.update(newer);
  }
  pool.ask(want(client(1, 7), 3));
  const Decisions decisions = pool.ask(want(client(2, 8)));
  CHECK(all<Reclaim>(decisions).at(0).lease.host == host_id(11));

  Request particular = want(client(3, 9));
  particular.host = host_id(11);
  only<Queued>(pool.ask(particular));  // it is promised to user 8 already
}

TEST_CASE("what was promised to a request that is over goes to the next") {
  Cell pool(4);
  pool.ask(want(client(1, 7), 100));
  const Decisions decisions = pool.ask(want(client(2, 8), 2));
  const RequestId cancelled = pool.last_request;
  const auto reclaims = all<Reclaim>(decisions);
  REQUIRE(reclaims.size() == 2);
  pool.cancel(cancelled);
  CHECK(only<Granted>(pool.release(reclaims[0].lease.id)).lease.client == client(1, 7));
}
