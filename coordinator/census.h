#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "coordinator/pool_records.h"

namespace hob::coordinator {

/// Gives each set of processor features in the cell a small number, its class, and counts the hosts
/// of each class by how they stand. What depends on features alone (may home run what this host
/// ran?) is then asked once per class instead of once per host. Numbers of classes that died out
/// are reused.
class Census {
 public:
  using Class = uint32_t;

  /// Enters a host, setting its feature_class, or takes it out. Between the two its features must
  /// not change, and its other facts and its leases only between uncount() and count().
  void enter(HostRecord& host);
  void leave(const HostRecord& host);
  void count(const HostRecord& host);
  void uncount(const HostRecord& host);

  /// Calls visit(class) for each class with hosts whose features are within `home`.
  template <class Visit>
  void each_within(const CpuFeatures& home, Visit visit) const {
    for (Class c = 0; c < classes_.size(); ++c) {
      if (classes_[c].hosts > 0 && classes_[c].features.within(home)) visit(c);
    }
  }
  /// Calls visit(class) for each class with hosts that have at least `features`.
  template <class Visit>
  void each_beyond(const CpuFeatures& features, Visit visit) const {
    for (Class c = 0; c < classes_.size(); ++c) {
      if (classes_[c].hosts > 0 && features.within(classes_[c].features)) visit(c);
    }
  }

  const CpuFeatures& features(Class c) const { return classes_[c].features; }
  Availability seen_from(const HostRecord& home) const;

 private:
  static uint32_t Availability::*standing(const HostRecord& host);

  struct Entry {
    CpuFeatures features;
    uint32_t hosts = 0;
    Availability count;  // `unsuitable` unused
  };
  std::vector<Entry> classes_;
  std::map<CpuFeatures, Class> numbers_;
  std::vector<Class> unused_;
};

}  // namespace hob::coordinator
