#pragma once

#include <optional>
#include <string>

#include "base/time.h"
#include "wire/message.h"

namespace hob::hostd {

/// What this host asks of a guest before it lets it in. Pure.
struct Admission {
  std::string grant_key;    ///< of this coordinator; starts with another's tokens are stale
  std::string earlier_key;  ///< of the coordinator before its restart, still honoured
  bool accepting = false;   ///< the owner's state machine takes guests
  size_t guests = 0, slots = 0;
  uint32_t min_uid = 1000;
  bool import_all = true;
  std::vector<std::string> import;  ///< homes, when not all

  /// Home vouches for its users, not for this host's groups: supplementary groups below min_uid
  /// (disk, docker, ...) are left out.
  void confine_groups(pb::Identity& identity) const;

  /// Why not, or nothing. STALE: the grant is not (or no longer) worth anything here; home asks for
  /// another one.
  struct Refusal {
    pb::Failure::Kind kind;
    std::string text;
  };
  std::optional<Refusal> refuse(const std::string& home, const pb::Identity& identity,
                                uint64_t lease, const std::string& token, uint64_t expires_wall_ns,
                                WallTime now) const;
};

}  // namespace hob::hostd
