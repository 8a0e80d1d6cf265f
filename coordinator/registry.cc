#include "coordinator/registry.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/host_name.h"
#include "base/log.h"

namespace hob::coordinator {
namespace {

std::string bytes_of(const wire::Key& key) {
  return std::string(key.begin(), key.end());
}

bool valid_endpoint(const std::string& endpoint) {
  constexpr size_t kLongest = 300;
  return endpoint.starts_with("tcp://") && endpoint.rfind(':') > 6 && endpoint.size() <= kLongest &&
         std::all_of(endpoint.begin(), endpoint.end(), [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

Result<Registry> Registry::load(Ledger& ledger) {
  Registry registry(ledger);
  for (HostRow& row : TRY(ledger.hosts())) registry.enter(std::move(row));
  return registry;
}

void Registry::enter(HostRow row) {
  by_key_[row.public_key] = row.name;
  names_[row.id] = row.name;
  by_name_[row.name] = std::move(row);
}

std::string Registry::name_of(const wire::Key& key) const {
  auto it = by_key_.find(bytes_of(key));
  if (it != by_key_.end()) return it->second;
  Result<bool> invited = ledger_->invited(bytes_of(key));
  if (!invited.ok()) {
    log::error("{}", invited.error().text);
    return "";
  }
  return *invited ? std::string(kInvited) + wire::to_text(key) : "";
}

const HostRow* Registry::find(const std::string& name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &it->second;
}

const HostRow* Registry::find(HostId id) const {
  auto it = names_.find(id);
  return it == names_.end() ? nullptr : find(it->second);
}

std::string Registry::name_or_number(HostId id) const {
  const HostRow* row = find(id);
  return row != nullptr ? row->name : fmt::format("(removed host {})", static_cast<uint32_t>(id));
}

Result<HostId> Registry::join(const std::string& invited_as, const pb::Join& join) {
  if (!is_host_name(join.name()))
    return Error{
        "join: a host's name is 1 to 63 letters, digits, '-', '_' and '.'; choose another "
        "with --name",
        EINVAL};
  if (!valid_endpoint(join.endpoint()))
    return Error{"join: the host's address is not of the form tcp://HOST:PORT", EINVAL};
  if (join.public_key().size() != sizeof(wire::Key))
    return Error{"join: the host's key is damaged", EINVAL};
  const wire::Key invitation =
      TRY(wire::key_from_text(std::string_view(invited_as).substr(kInvited.size())));
  HostRow row{HostId{}, join.name(), join.public_key(), join.endpoint(), WallClock::now()};
  row.id = TRY(ledger_->add_host(row, bytes_of(invitation), WallClock::now()));
  const HostId id = row.id;
  enter(std::move(row));
  ++version_;
  return id;
}

Result<void> Registry::remove(const std::string& name) {
  const HostRow* row = find(name);
  if (row == nullptr)
    return Error{fmt::format("remove {}: no host or unused invitation of that name; see `remote "
                             "hosts` and `remote cell invitations`",
                             name),
                 ENOENT};
  TRY(ledger_->remove_host(row->id, WallClock::now()));
  by_key_.erase(row->public_key);
  names_.erase(row->id);
  by_name_.erase(name);
  ++version_;
  return {};
}

Result<void> Registry::move(const std::string& name, const std::string& endpoint) {
  auto it = by_name_.find(name);
  CHECK(it != by_name_.end());
  if (it->second.endpoint == endpoint) return {};
  if (!valid_endpoint(endpoint))
    return Error{fmt::format("host {}: its address is not of the form tcp://HOST:PORT", name),
                 EINVAL};
  TRY(ledger_->move_host(it->second.id, endpoint));
  it->second.endpoint = endpoint;
  ++version_;
  return {};
}

Result<wire::Key> Registry::invite(const std::string& name, Duration valid) {
  if (!name.empty() && !is_host_name(name))
    return Error{
        "invite: a host's name is 1 to 63 letters, digits, '-', '_' and '.'; choose another with "
        "--name",
        EINVAL};
  const wire::KeyPair pair = wire::generate_key_pair();
  const WallTime now = WallClock::now();
  TRY(ledger_->invite(bytes_of(pair.public_key), name,
                      now + std::chrono::duration_cast<WallClock::duration>(valid), now));
  return pair.secret_key;
}

pb::Directory Registry::directory() const {
  pb::Directory directory;
  directory.set_version(version_);
  for (const auto& [name, row] : by_name_) {
    pb::HostEntry* entry = directory.add_hosts();
    entry->set_name(name);
    entry->set_endpoint(row.endpoint);
    entry->set_public_key(row.public_key);
  }
  return directory;
}

}  // namespace hob::coordinator
