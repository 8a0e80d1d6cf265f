#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/host_state.h"
#include "base/time.h"

namespace hob::coordinator {

/// A registered workstation: its row in the ledger. Never used again for another host.
enum class HostId : uint32_t {};

/// The instruction set and xsave layout of a host, one bit per feature. The coordinator only
/// compares sets; hostd says what a bit means. A cell has a handful of different sets, not one per
/// host.
struct CpuFeatures {
  std::array<uint64_t, 4> bits{};

  /// Whether every feature here is there too: what ran here can go on there.
  bool within(const CpuFeatures& there) const;
  auto operator<=>(const CpuFeatures&) const = default;
};

/// Whose guests a host takes (import), or where its own jobs may go (export).
struct Policy {
  enum class Kind : uint8_t { none, all, listed };
  Kind kind = Kind::all;
  /// With Kind::listed, sorted, without repetition. Each entry costs one index entry while the host
  /// has room, so the daemon bounds its length.
  std::vector<HostId> hosts;

  static Policy only(std::vector<HostId> hosts);
  bool admits(HostId host) const;
  bool operator==(const Policy&) const = default;
};

/// All that the coordinator knows of a host. Soft state: the host reports it, again after a restart
/// of either side.
struct HostFacts {
  HostId id{};
  HostState state = HostState::down;
  /// When the owner was last seen, on the coordinator's clock. Meaningful while the host takes
  /// guests.
  Time idle_since{};
  /// How many grants the host takes at a time.
  uint32_t slots = 0;
  Policy import_from;
  Policy export_to;
  CpuFeatures features;

  bool operator==(const HostFacts&) const = default;
};

/// Whether jobs of `home` may run on `host`, whatever the state of either: two different hosts,
/// both policies say yes, and home could run the process afterwards, for that is where it is
/// evicted to.
bool eligible(const HostFacts& host, const HostFacts& home);

/// The words that all of the texts have, sorted, separated by spaces; texts are few or alike.
std::string common_words(const std::vector<std::string_view>& texts);

}  // namespace hob::coordinator
