#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "coordinator/ledger.h"
#include "wire/zmq.h"

namespace hob::coordinator {

/// The hosts of the cell as the ledger has them, held in memory for quick look-up by name, number
/// and key; and the invitations. Changes are on the disk before they count.
class Registry {
 public:
  /// The prefix of the name under which the holder of an invitation is known to the sockets. No
  /// host's name may contain ':'.
  static constexpr std::string_view kInvited = "invited:";

  static Result<Registry> load(Ledger& ledger);

  /// What wire::Context asks: a host's name, kInvited plus the key for an invitation, or empty. The
  /// holder of one that does not stand any more is no stranger: he is told why.
  std::string name_of(const wire::Key& key) const;
  const HostRow* find(const std::string& name) const;
  const HostRow* find(HostId id) const;
  const std::map<std::string, HostRow>& hosts() const { return by_name_; }
  std::string name_or_number(HostId id) const;

  /// Registers a host on the strength of an invitation (its peer name). Error: damaged or taken
  /// name, endpoint or key; or the invitation does not stand.
  Result<HostId> join(const std::string& invited_as, const pb::Join& join);
  /// The host leaves. Error (ENOENT) if there is none of that name.
  Result<void> remove(const std::string& name);
  Result<void> move(const std::string& name, const std::string& endpoint);
  /// A new invitation's secret key; it stands for `valid`, for a host of that name unless it is
  /// empty. Error (EINVAL, EEXIST) if no host can join with that name.
  Result<wire::Key> invite(const std::string& name, Duration valid);

  pb::Directory directory() const;

 private:
  explicit Registry(Ledger& ledger) : ledger_(&ledger) {}
  void enter(HostRow row);

  Ledger* ledger_;
  std::map<std::string, HostRow> by_name_;
  std::map<HostId, std::string> names_;
  std::map<std::string, std::string> by_key_;
  uint64_t version_ = 1;
};

}  // namespace hob::coordinator
