#include "hostd/admission.h"

#include <fmt/core.h>

#include <algorithm>

#include "wire/grant_token.h"

namespace hob::hostd {

std::optional<Admission::Refusal> Admission::refuse(const std::string& home,
                                                    const pb::Identity& identity, uint64_t lease,
                                                    const std::string& token,
                                                    uint64_t expires_wall_ns, WallTime now) const {
  using wire::grant_token_valid;
  if (!grant_token_valid(grant_key, lease, home, expires_wall_ns, token) &&
      !grant_token_valid(earlier_key, lease, home, expires_wall_ns, token))
    return Refusal{pb::Failure::STALE, "the grant is not valid here"};
  const auto now_ns = std::chrono::duration_cast<nanoseconds>(now.time_since_epoch()).count();
  if (expires_wall_ns < static_cast<uint64_t>(now_ns))
    return Refusal{pb::Failure::STALE, "the grant has expired"};
  if (!accepting) return Refusal{pb::Failure::STALE, "the owner is back"};
  if (guests >= slots) return Refusal{pb::Failure::STALE, "all slots are taken"};
  if (!import_all && std::find(import.begin(), import.end(), home) == import.end())
    return Refusal{pb::Failure::STALE, fmt::format("this host takes no jobs of {}", home)};
  const uint32_t lowest = std::max(min_uid, 1u);
  if (identity.uid() < lowest || identity.gid() < lowest)
    return Refusal{pb::Failure::NOT_PERMITTED,
                   fmt::format("user id {} with group id {} may not run here (owner.min_uid is {})",
                               identity.uid(), identity.gid(), min_uid)};
  return std::nullopt;
}

void Admission::confine_groups(pb::Identity& identity) const {
  std::vector<uint32_t> kept;
  for (uint32_t group : identity.groups())
    if (group >= min_uid) kept.push_back(group);
  identity.mutable_groups()->Assign(kept.begin(), kept.end());
}

}  // namespace hob::hostd
