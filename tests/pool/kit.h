#pragma once

#include <catch2/catch.hpp>
#include <optional>
#include <vector>

#include "coordinator/pool.h"

/// Short words for the pool's tests: hosts and clients by number, time in seconds.
namespace hob::coordinator::test {

inline Time at(int64_t s) {
  return Time{} + seconds(1'000'000) + seconds(s);
}
inline HostId host_id(uint32_t n) {
  return HostId{n};
}
inline Client client(uint32_t home, uint32_t user, uint64_t id = 1) {
  return Client{HostId{home}, UserId{user}, id};
}
inline CpuFeatures features(uint64_t bits) {
  return CpuFeatures{{bits, 0, 0, 0}};
}

/// An idle host whose owner was last seen at `idle_since`.
inline HostFacts idle(uint32_t n, int64_t idle_since = 0, uint32_t slots = 1) {
  HostFacts facts;
  facts.id = HostId{n};
  facts.state = HostState::idle;
  facts.idle_since = at(idle_since);
  facts.slots = slots;
  facts.features = features(1);
  return facts;
}
/// A host with its owner present: only a home.
inline HostFacts home(uint32_t n) {
  HostFacts facts = idle(n);
  facts.state = HostState::active;
  return facts;
}
inline Request want(const Client& c, uint32_t wanted = 1) {
  Request request;
  request.client = c;
  request.wanted = wanted;
  return request;
}

template <class T>
std::vector<T> all(const Decisions& decisions) {
  std::vector<T> found;
  for (const Decision& d : decisions) {
    if (const T* t = std::get_if<T>(&d)) found.push_back(*t);
  }
  return found;
}
/// The only decision, which must be a T.
template <class T>
T only(const Decisions& decisions) {
  REQUIRE(decisions.size() == 1);
  REQUIRE(std::holds_alternative<T>(decisions[0]));
  return std::get<T>(decisions[0]);
}

/// A pool that checks its invariants after every call.
class CheckedPool {
 public:
  explicit CheckedPool(PoolConfig config = {}) : pool_(config) {}

  template <class Call>
  auto operator()(Call call) {
    auto result = call(pool_);
    REQUIRE(pool_.invariants() == "");
    return result;
  }
  Decisions update(const HostFacts& f, int64_t t = 0) { return check(pool_.update(f, at(t))); }
  Decisions set(uint32_t host, HostState s, int64_t since = 0, int64_t t = 0) {
    return check(pool_.set_state(HostId{host}, s, at(since), at(t)));
  }
  Decisions remove(uint32_t host, int64_t t = 0) {
    return check(pool_.remove(HostId{host}, at(t)));
  }
  Decisions ask(const Request& r, int64_t t = 0) {
    Pool::Asked asked = pool_.ask(r, at(t));
    last_request = asked.id;
    return check(std::move(asked.decisions));
  }
  Decisions cancel(RequestId r, int64_t t = 0) { return check(pool_.cancel(r, at(t))); }
  Decisions release(LeaseId l, int64_t t = 0) { return check(pool_.release(l, at(t))); }
  Decisions gone(const Client& c, int64_t t = 0) { return check(pool_.client_gone(c, at(t))); }
  Decisions expire(int64_t t) { return check(pool_.expire(at(t))); }
  Decisions restore(uint32_t home, const std::vector<Lease>& held, int64_t t = 0) {
    return check(pool_.restore(HostId{home}, held, at(t)));
  }
  Pool::Renewal renew(LeaseId l, int64_t t) {
    const auto renewal = pool_.renew(l, at(t));
    check({});
    return renewal;
  }
  const Pool& pool() const { return pool_; }

  RequestId last_request{};

 private:
  Decisions check(Decisions decisions) {
    REQUIRE(pool_.invariants() == "");
    return decisions;
  }
  Pool pool_;
};

}  // namespace hob::coordinator::test
