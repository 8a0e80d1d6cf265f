#include "coordinator/census.h"

#include "base/check.h"

namespace hob::coordinator {

uint32_t Availability::*Census::standing(const HostRecord& host) {
  switch (host.facts.state) {
    case HostState::down:
      return &Availability::down;
    case HostState::active:
      return &Availability::owner_present;
    case HostState::refuses:
      return &Availability::refuses;
    case HostState::full:
      return &Availability::in_use;
    case HostState::idle:
    case HostState::part_used:
      break;
  }
  return host.free() ? &Availability::free : &Availability::in_use;
}

void Census::enter(HostRecord& host) {
  auto found = numbers_.find(host.facts.features);
  if (found == numbers_.end()) {
    Class c = static_cast<Class>(classes_.size());
    if (unused_.empty()) {
      classes_.emplace_back();
    } else {
      c = unused_.back();
      unused_.pop_back();
    }
    classes_[c].features = host.facts.features;
    found = numbers_.emplace(host.facts.features, c).first;
  }
  host.feature_class = found->second;
  ++classes_[host.feature_class].hosts;
  count(host);
}

void Census::leave(const HostRecord& host) {
  uncount(host);
  Entry& entry = classes_[host.feature_class];
  CHECK(entry.hosts > 0);
  if (--entry.hosts == 0) {
    numbers_.erase(entry.features);
    unused_.push_back(host.feature_class);
  }
}

void Census::count(const HostRecord& host) {
  ++(classes_[host.feature_class].count.*standing(host));
}

void Census::uncount(const HostRecord& host) {
  uint32_t& count = classes_[host.feature_class].count.*standing(host);
  CHECK(count > 0);
  --count;
}

Availability Census::seen_from(const HostRecord& home) const {
  Availability sum;
  for (const Entry& entry : classes_) {
    if (!entry.features.within(home.facts.features)) {
      sum.unsuitable += entry.hosts;
      continue;
    }
    for (auto field : {&Availability::free, &Availability::in_use, &Availability::owner_present,
                       &Availability::refuses, &Availability::down}) {
      sum.*field += entry.count.*field;
    }
  }
  --(sum.*standing(home));
  return sum;
}

}  // namespace hob::coordinator
