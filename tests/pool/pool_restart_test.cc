#include <rapidcheck.h>

#include <algorithm>
#include <set>

#include "tests/pool/kit.h"
#include "tests/pool/model.h"

/// A coordinator that has been restarted while jobs ran: hosts and homes come back in any order,
/// between them requests and releases. What ran keeps its slot, and no slot is given twice.
namespace hob::coordinator::test {
namespace {

constexpr uint32_t hosts = 6;

class Restart {
 public:
  Restart()
      : config_{.epoch = 2, .lease = seconds(60), .reclaim_places = 1000, .reclaim_grants = 1000},
        pool_(config_),
        model_(config_) {
    Pool before(PoolConfig{.epoch = 1, .lease = seconds(60)});
    for (uint32_t n = 0; n < hosts; ++n) before.update(facts_of(n), now_);
    const int jobs = *rc::gen::inRange(0, 12);
    for (int i = 0; i < jobs; ++i)
      for (const Granted& granted : all<Granted>(before.ask(want(any_client()), now_).decisions))
        old_[granted.lease.id] = granted.lease;
  }

  void step() {
    now_ += milliseconds(*rc::gen::inRange(0, 300));
    using Step = void (Restart::*)();
    const Step step = *rc::gen::weightedElement<Step>({{4, &Restart::hello},
                                                       {6, &Restart::ask},
                                                       {2, &Restart::release},
                                                       {1, &Restart::hello_again}});
    (this->*step)();
  }

  /// Everybody comes back in time: then all old grants are in the books and nothing is kept any
  /// more.
  void all_come_back() {
    for (uint32_t n = 0; n < hosts; ++n) hello(HostId{n});
    for (const auto& [id, lease] : old_) RC_ASSERT(pool_.lease(id) != nullptr);
    for (const auto& [host, homes] : model_.awaited) RC_ASSERT(homes.empty());
    RC_ASSERT(pool_.next_expiry().value_or(Time::max()) > now_);
  }

  /// Homes that never come back lose their claims when no old grant can be valid any more.
  void time_passes() {
    now_ += config_.lease;
    Decisions decisions = pool_.expire(now_);
    // Grants that were brought back, but whose hosts were not, are no model's business.
    std::erase_if(decisions, [&](const Decision& d) {
      const auto* expired = std::get_if<Expired>(&d);
      return expired != nullptr && !model_.hosts.contains(expired->lease.host) &&
             old_.contains(expired->lease.id);
    });
    old_.clear();
    model_.awaited.clear();
    check(decisions);
  }

 private:
  static HostId any_host() { return HostId{*rc::gen::inRange(0u, hosts)}; }
  static Client any_client() { return Client{any_host(), UserId{*rc::gen::inRange(0u, 3u)}, 0}; }

  HostFacts facts_of(uint32_t n) const {
    HostFacts facts = idle(n, -static_cast<int64_t>(n), 1 + n % 3);
    const size_t guests = serving(facts.id).size();
    if (guests > 0) facts.state = guests < facts.slots ? HostState::part_used : HostState::full;
    return facts;
  }
  std::vector<HostId> serving(HostId host) const {
    std::vector<HostId> homes;
    for (const auto& [id, lease] : old_)
      if (lease.host == host) homes.push_back(lease.client.home);
    for (const auto& [id, lease] : model_.leases)
      if (lease.host == host && !old_.contains(id)) homes.push_back(lease.client.home);
    return homes;
  }

  void hello() { hello(any_host()); }
  void hello_again() {
    if (!model_.hosts.empty()) greet(model_.hosts.begin()->first);
  }
  void hello(HostId id) {
    if (!model_.hosts.contains(id)) greet(id);
  }

  /// What the daemon does with a Hello: the facts first, then the grants that it holds as a home.
  void greet(HostId id) {
    const std::vector<HostId> homes = serving(id);
    RC_LOG() << "hello of host " << static_cast<uint32_t>(id) << " with " << homes.size()
             << " guests\n";
    model_.hosts[id] = facts_of(static_cast<uint32_t>(id));
    model_.awaited[id].clear();
    for (HostId home : homes)
      if (!spoken_.contains(home)) model_.awaited[id].push_back(home);
    const Decisions updated = pool_.update(model_.hosts[id], now_, homes);
    for (const auto& [lease, old] : old_)  // claimed earlier, adopted now
      if (old.host == id && spoken_.contains(old.client.home)) enter(old);
    check(updated);

    std::vector<Lease> held;
    for (const auto& [lease, old] : old_)
      if (old.client.home == id) held.push_back(old);
    spoken_.insert(id);
    const Decisions restored = pool_.restore(id, held, now_);
    for (const Lease& lease : held)
      if (model_.hosts.contains(lease.host)) enter(lease);
    for (auto& [host, awaited] : model_.awaited) std::erase(awaited, id);
    check(restored);
  }

  void enter(const Lease& old) {
    if (model_.leases.contains(old.id)) return;
    Lease lease = old;
    lease.expires = now_ + config_.lease;
    lease.reclaimed = false;
    model_.leases[lease.id] = lease;
  }

  void ask() {
    Request request = want(any_client(), *rc::gen::inRange(1u, 4u));
    if (!model_.hosts.contains(request.client.home)) return;
    const Pool::Asked asked = pool_.ask(request, now_);
    RC_LOG() << "ask " << request.wanted << " for home "
             << static_cast<uint32_t>(request.client.home) << "\n";
    model_.begin_ask(asked.id, request);
    check(asked.decisions);
  }

  void release() {
    if (model_.leases.empty()) return;
    auto at = model_.leases.begin();
    std::advance(at, *rc::gen::inRange<size_t>(0, model_.leases.size()));
    const LeaseId id = at->first;
    old_.erase(id);
    model_.end_lease(id);
    check(pool_.release(id, now_));
  }

  void check(const Decisions& decisions) {
    RC_ASSERT(all<Revoked>(decisions).empty());  // whatever ran goes on
    RC_ASSERT(model_.apply(decisions, now_) == std::string());
    RC_ASSERT(pool_.invariants() == std::string());
    RC_ASSERT(model_.finish(pool_) == std::string());
    for (const auto& [id, facts] : model_.hosts) RC_ASSERT(serving(id).size() <= facts.slots);
  }

  Time now_ = at(0);
  const PoolConfig config_;
  Pool pool_;
  Model model_;
  std::map<LeaseId, Lease> old_;  // of jobs that ran before the restart, and still do
  std::set<HostId> spoken_;
};

}  // namespace

TEST_CASE("after a restart, in whatever order hosts come back, no slot is given twice") {
  const bool held = rc::check([] {
    Restart restart;
    const int steps = *rc::gen::inRange(0, 60);
    for (int i = 0; i < steps; ++i) restart.step();
    if (*rc::gen::arbitrary<bool>())
      restart.all_come_back();
    else
      restart.time_passes();
  });
  REQUIRE(held);
}

TEST_CASE("a grant that its home brings back and releases before its host reports holds no slot") {
  CheckedPool pool(PoolConfig{.epoch = 2});
  pool.update(home(3));
  Lease old{
      LeaseId{(uint64_t{1} << LeaseId::serial_bits) + 5}, host_id(2), client(3, 5), {}, false};
  CHECK(pool.restore(3, {old}, 1).empty());
  CHECK(pool.pool().lease(old.id) == nullptr);
  REQUIRE(pool.pool().claim(old.id) != nullptr);
  CHECK(pool.pool().claim(old.id)->client == old.client);
  pool.release(old.id, 2);
  CHECK(pool.pool().claim(old.id) == nullptr);
  pool.update(idle(2), 3);
  CHECK(pool.pool().grants_on(host_id(2)) == 0);
}

TEST_CASE("a host that comes back before its guests' homes keeps their slots") {
  CheckedPool pool(PoolConfig{.epoch = 2});
  pool.update(home(1));
  pool.update(home(9));
  HostFacts host = idle(2, 0, 2);
  host.state = HostState::part_used;
  const std::vector<HostId> serving{host_id(3)};
  pool([&](Pool& p) { return p.update(host, at(0), serving); });
  only<Granted>(pool.ask(want(client(1, 7)), 1));
  only<Queued>(pool.ask(want(client(9, 8)), 1));
  Lease old{
      LeaseId{(uint64_t{1} << LeaseId::serial_bits) + 5}, host_id(2), client(3, 5), {}, false};

  SECTION("the home brings its grant back") {
    pool.update(home(3), 2);
    CHECK(pool.restore(3, {old}, 2).empty());
    CHECK(pool.pool().grants_on(host_id(2)) == 2);
  }
  SECTION("the home holds none any more") {
    pool.update(home(3), 2);
    CHECK(only<Granted>(pool.restore(3, {}, 2)).lease.client == client(9, 8));
  }
  SECTION("the home leaves the cell") {
    pool.update(home(3), 2);
    CHECK(only<Granted>(pool.remove(3, 2)).lease.client == client(9, 8));
  }
  SECTION("the home never comes") {
    CHECK(pool.pool().next_expiry() == at(60));
    CHECK(all<Granted>(pool.expire(60)).at(0).lease.client == client(9, 8));
  }
  SECTION("its guest has left") {
    host.state = HostState::idle;
    CHECK(only<Granted>(pool.update(host, 3)).lease.client == client(9, 8));
  }
}
}  // namespace hob::coordinator::test
