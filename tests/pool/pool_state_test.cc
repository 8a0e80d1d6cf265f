#include <rapidcheck.h>

#include <algorithm>

#include "tests/pool/kit.h"
#include "tests/pool/model.h"

/// Long random histories of a small cell, checked after every call by the pool's own invariants and
/// by the model. Small on purpose: few hosts, users and times, so that everything collides.
namespace hob::coordinator::test {
namespace {

constexpr uint32_t hosts = 6;
constexpr uint32_t users = 3;

class History {
 public:
  /// Fair reclaim unbounded, so that the model can tell what is owed.
  History()
      : config_{.epoch = 1, .lease = seconds(20), .reclaim_places = 1000, .reclaim_grants = 1000},
        pool_(config_),
        model_(config_) {
    for (uint32_t n = 0; n < hosts; ++n) {
      const HostFacts facts = idle(n, -static_cast<int64_t>(n), 1 + n % 3);
      model_.hosts[facts.id] = facts;
      check(pool_.update(facts, now_));
    }
  }

  void step() {
    now_ += seconds(*rc::gen::weightedElement<int>({{8, 0}, {4, 1}, {1, 7}}));
    using Step = void (History::*)();
    const Step step = *rc::gen::weightedElement<Step>({{1, &History::update},
                                                       {6, &History::set_state},
                                                       {8, &History::ask},
                                                       {2, &History::cancel},
                                                       {4, &History::renew},
                                                       {8, &History::release},
                                                       {4, &History::give_back},
                                                       {1, &History::client_gone},
                                                       {3, &History::expire}});
    (this->*step)();
  }

 private:
  static HostId any_host() { return HostId{*rc::gen::inRange(0u, hosts)}; }
  static Client any_client() {
    return Client{any_host(), UserId{*rc::gen::inRange(0u, users)}, *rc::gen::inRange(0ul, 2ul)};
  }
  static HostState any_state() {
    using S = HostState;
    return *rc::gen::weightedElement<S>({{1, S::down},
                                         {3, S::active},
                                         {6, S::idle},
                                         {2, S::part_used},
                                         {2, S::full},
                                         {1, S::refuses}});
  }
  static Policy any_policy() {
    switch (*rc::gen::weightedElement<int>({{10, 0}, {4, 1}, {1, 2}})) {
      case 0:
        return Policy{};
      case 1:
        return Policy::only({any_host(), any_host(), any_host()});
      default:
        return Policy{Policy::Kind::none, {}};
    }
  }
  Time any_past() { return now_ - seconds(*rc::gen::inRange(0, 4)); }

  LeaseId any_lease() {
    if (model_.leases.empty()) return LeaseId{(uint64_t{1} << LeaseId::serial_bits) + 999'999};
    auto at = model_.leases.begin();
    std::advance(at, *rc::gen::inRange<size_t>(0, model_.leases.size()));
    return at->first;
  }

  void update() {
    HostFacts facts;
    facts.id = any_host();
    facts.state = any_state();
    facts.idle_since = any_past();
    facts.slots = *rc::gen::inRange(0u, 4u);
    facts.features = features(*rc::gen::element<uint64_t>(1, 1, 3, 5, 7));
    facts.import_from = any_policy();
    facts.export_to = any_policy();
    RC_LOG() << "update host " << static_cast<uint32_t>(facts.id) << " " << to_string(facts.state)
             << " slots " << facts.slots << "\n";
    model_.hosts[facts.id] = facts;
    check(pool_.update(facts, now_));
  }

  void set_state() {
    const HostId id = any_host();
    if (model_.hosts.count(id) == 0) return;
    const HostState state = any_state();
    const Time since = any_past();
    RC_LOG() << "host " << static_cast<uint32_t>(id) << " is " << to_string(state) << "\n";
    model_.hosts[id].state = state;
    model_.hosts[id].idle_since = since;
    check(pool_.set_state(id, state, since, now_));
  }

  void ask() {
    Request request;
    request.client = any_client();
    request.wanted = *rc::gen::inRange(1u, 5u);
    request.wait = *rc::gen::weightedElement<bool>({{4, true}, {1, false}});
    if (*rc::gen::inRange(0, 6) == 0) request.host = any_host();
    if (*rc::gen::inRange(0, 4) == 0) request.exclude = {any_host()};
    const Pool::Asked asked = pool_.ask(request, now_);
    RC_LOG() << "ask " << static_cast<uint64_t>(asked.id) << " of home "
             << static_cast<uint32_t>(request.client.home) << " user "
             << static_cast<uint32_t>(request.client.user) << " for " << request.wanted << "\n";
    model_.begin_ask(asked.id, request);
    check(asked.decisions);
  }

  void cancel() {
    if (model_.waiting.empty()) return;
    const RequestId id = model_.waiting.begin()->first;
    RC_LOG() << "cancel " << static_cast<uint64_t>(id) << "\n";
    model_.end_request(id);
    check(pool_.cancel(id, now_));
  }

  void renew() {
    const LeaseId id = any_lease();
    const auto known = model_.leases.find(id);
    const auto renewal = pool_.renew(id, now_);
    if (known == model_.leases.end() || known->second.expires <= now_) {
      RC_ASSERT(renewal == Pool::Renewal::unknown);
    } else if (known->second.reclaimed) {
      RC_ASSERT(renewal == Pool::Renewal::reclaimed);
    } else {
      RC_ASSERT(renewal == Pool::Renewal::renewed);
      known->second.expires = now_ + config_.lease;
    }
    check({});
  }

  void release() { release(any_lease()); }

  /// Clients do as they are told.
  void give_back() {
    for (const auto& [id, lease] : model_.leases) {
      if (lease.reclaimed) return release(LeaseId(id));
    }
  }

  void release(LeaseId id) {
    RC_LOG() << "release " << id.value << "\n";
    model_.end_lease(id);
    check(pool_.release(id, now_));
  }

  void client_gone() {
    const Client client = any_client();
    RC_LOG() << "client gone\n";
    model_.end_client(client);
    check(pool_.client_gone(client, now_));
  }

  void expire() {
    const Decisions decisions = pool_.expire(now_);
    check(decisions);
    for (const auto& [id, lease] : model_.leases) RC_ASSERT(lease.expires > now_);
  }

  void check(const Decisions& decisions) {
    RC_ASSERT(model_.apply(decisions, now_) == std::string());
    RC_ASSERT(pool_.invariants() == std::string());
    RC_ASSERT(model_.finish(pool_) == std::string());
  }

  Time now_ = at(0);
  const PoolConfig config_;
  Pool pool_;
  Model model_;
};

}  // namespace

TEST_CASE("whatever happens in a cell, every decision is right and none is missing") {
  // A history of 1000 steps sees some 170 grants, 60 waits, 15 reclaims and 15 revocations.
  const bool held = rc::check([] {
    History history;
    for (int i = 0; i < 1000; ++i) history.step();
  });
  REQUIRE(held);
}

}  // namespace hob::coordinator::test
