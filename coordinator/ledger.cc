#include "coordinator/ledger.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/log.h"
#include "coordinator/ledger_schema.h"

namespace hob::coordinator {
namespace {

sqlite::Blob blob(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}
int64_t number(HostId id) {
  return static_cast<uint32_t>(id);
}

Error with_code(Error error, int code) {
  error.code = code;
  return error;
}

std::string_view name_of(const Row& row) {
  constexpr std::string_view names[] = {"grant", "end of a grant", "job", "move",
                                        "list of live jobs"};
  static_assert(std::size(names) == std::variant_size_v<Row>);
  return names[row.index()];
}

}  // namespace

Result<Ledger> Ledger::open(const std::string& path, WallTime now) {
  Ledger ledger(TRY(sqlite::Database::open("ledger", path)));
  TRY(migrate_schema(*ledger.database_));
  TRY(ledger.begin_epoch(now));
  return ledger;
}

Result<void> Ledger::begin_epoch(WallTime now) {
  return durably([&]() -> Result<void> {
    auto insert = TRY(database_->prepare("INSERT INTO starts (at) VALUES (?)"));
    TRY(insert.bind(to_stored(now)).run());
    epoch_ = static_cast<uint32_t>(database_->last_id());
    return {};
  });
}

template <class Change>
Result<void> Ledger::durably(Change change) {
  // In WAL mode FULL adds an fsync to each commit, which NORMAL leaves to the next checkpoint.
  // The pragma has no effect inside a transaction, so it stands around it.
  TRY(database_->execute("PRAGMA synchronous=FULL"));
  const auto result = [&]() -> Result<void> {
    auto transaction = TRY(sqlite::Transaction::begin(*database_));
    TRY(change());
    return transaction.commit();
  }();
  TRY(database_->execute("PRAGMA synchronous=NORMAL"));
  return result;
}

// Who belongs to the cell. ---------------------------------------------------------------------

Result<void> Ledger::invite(const std::string& public_key, const std::string& name,
                            WallTime expires, WallTime now) {
  return durably([&]() -> Result<void> {
    auto taken = TRY(database_->prepare("SELECT 1 FROM hosts WHERE removed IS NULL AND name = ?"));
    if (TRY(taken.bind(name).next()))
      return Error{
          fmt::format("invite {0}: a host of that name is in the cell; choose another name, or "
                      "remove it first (`remote cell remove {0}`)",
                      name),
          EEXIST};
    auto insert = TRY(database_->prepare(
        "INSERT INTO invites (public_key, name, made, expires) VALUES (?, ?, ?, ?)"));
    insert.bind(blob(public_key)).bind(name).bind(to_stored(now)).bind(to_stored(expires));
    return insert.run();
  });
}

Result<bool> Ledger::invited(const std::string& public_key) {
  auto query = TRY(database_->prepare("SELECT 1 FROM invites WHERE public_key = ?"));
  return query.bind(blob(public_key)).next();
}

Result<std::vector<InviteRow>> Ledger::invitations(WallTime now) {
  auto query = TRY(database_->prepare(
      "SELECT lower(hex(substr(public_key, 1, 4))), name, made, expires FROM invites "
      "WHERE used_by IS NULL AND withdrawn IS NULL AND expires > ? ORDER BY made"));
  query.bind(to_stored(now));
  std::vector<InviteRow> rows;
  while (TRY(query.next()))
    rows.push_back(InviteRow{query.text(0), query.text(1), from_stored(query.integer(2)),
                             from_stored(query.integer(3))});
  return rows;
}

Result<int64_t> Ledger::withdraw(const std::string& number_or_name, WallTime now) {
  int64_t count = 0;
  TRY(durably([&]() -> Result<void> {
    auto update = TRY(database_->prepare(
        "UPDATE invites SET withdrawn = ?1 WHERE used_by IS NULL AND withdrawn IS NULL AND "
        "expires > ?1 AND (lower(hex(substr(public_key, 1, 4))) = ?2 OR name = ?2)"));
    TRY(update.bind(to_stored(now)).bind(number_or_name).run());
    count = database_->changes();
    return {};
  }));
  return count;
}

Result<void> Ledger::check_invitation(const std::string& public_key, const std::string& name,
                                      WallTime now) {
  auto query = TRY(database_->prepare(
      "SELECT coalesce(hosts.name, ''), withdrawn IS NOT NULL, expires, invites.name FROM invites "
      "LEFT JOIN hosts ON hosts.id = used_by WHERE invites.public_key = ?"));
  const bool found = TRY(query.bind(blob(public_key)).next());
  const auto refuse = [&](const std::string& why) {
    return Error{fmt::format("join {}: {}; ask for another with `remote cell invite`", name, why),
                 EACCES};
  };
  if (!found) return refuse("the invitation is not of this cell");
  if (const std::string user = query.text(0); !user.empty())
    return refuse(fmt::format("the invitation has been used already, by {}", user));
  if (query.integer(1) != 0) return refuse("the invitation has been withdrawn");
  if (query.integer(2) <= to_stored(now)) return refuse("the invitation has expired");
  if (const std::string only = query.text(3); !only.empty() && only != name)
    return refuse(
        fmt::format("the invitation is for a host named {0} (join with --name {0})", only));
  return {};
}

Result<HostId> Ledger::add_host(const HostRow& host, const std::optional<std::string>& invitation,
                                WallTime now) {
  HostId id{};
  TRY(durably([&]() -> Result<void> {
    if (invitation) TRY(check_invitation(*invitation, host.name, now));
    {
      auto taken = TRY(database_->prepare(
          "SELECT name = ?1 FROM hosts WHERE removed IS NULL AND (name = ?1 OR public_key = ?2)"));
      if (TRY(taken.bind(host.name).bind(blob(host.public_key)).next())) {
        return with_code(
            database_->error(
                taken.integer(0) != 0
                    ? fmt::format("host {} is registered already; choose another name, or remove "
                                  "the old one first",
                                  host.name)
                    : fmt::format("the key of host {} is registered under another name; make a "
                                  "new key",
                                  host.name)),
            EEXIST);
      }
    }
    auto insert = TRY(database_->prepare(
        "INSERT INTO hosts (name, public_key, endpoint, registered) VALUES (?, ?, ?, ?)"));
    insert.bind(host.name).bind(blob(host.public_key)).bind(host.endpoint).bind(to_stored(now));
    TRY(insert.run());
    id = HostId{static_cast<uint32_t>(database_->last_id())};
    if (!invitation) return {};
    auto use = TRY(database_->prepare("UPDATE invites SET used_by = ? WHERE public_key = ?"));
    return use.bind(number(id)).bind(blob(*invitation)).run();
  }));
  return id;
}

Result<void> Ledger::remove_host(HostId host, WallTime now) {
  return durably([&]() -> Result<void> {
    auto update =
        TRY(database_->prepare("UPDATE hosts SET removed = ? WHERE id = ? AND removed IS NULL"));
    TRY(update.bind(to_stored(now)).bind(number(host)).run());
    if (database_->changes() == 1) return {};
    return with_code(database_->error(fmt::format("no host {} is registered", number(host))),
                     ENOENT);
  });
}

Result<void> Ledger::move_host(HostId host, const std::string& endpoint) {
  return durably([&]() -> Result<void> {
    auto update =
        TRY(database_->prepare("UPDATE hosts SET endpoint = ? WHERE id = ? AND removed IS NULL"));
    TRY(update.bind(endpoint).bind(number(host)).run());
    if (database_->changes() == 1) return {};
    return with_code(database_->error(fmt::format("no host {} is registered", number(host))),
                     ENOENT);
  });
}

Result<std::vector<HostRow>> Ledger::hosts() {
  auto query = TRY(database_->prepare(
      "SELECT id, name, public_key, endpoint, registered FROM hosts WHERE removed IS NULL "
      "ORDER BY name"));
  std::vector<HostRow> rows;
  while (TRY(query.next())) {
    rows.push_back(HostRow{HostId{static_cast<uint32_t>(query.integer(0))}, query.text(1),
                           query.text(2), query.text(3), from_stored(query.integer(4))});
  }
  return rows;
}

// What happens. --------------------------------------------------------------------------------

Result<void> Ledger::record(Row row) {
  if (unwritten_.size() >= max_unwritten) {
    return database_->error(fmt::format(
        "{} rows wait to be written and no more are kept; free space there", unwritten_.size()));
  }
  unwritten_.push_back(std::move(row));
  return {};
}

Result<void> Ledger::commit() {
  if (unwritten_.empty()) return {};
  auto transaction = TRY(sqlite::Transaction::begin(*database_));
  for (const Row& row : unwritten_) {
    auto written = std::visit([this](const auto& r) { return write(r); }, row);
    if (written) continue;
    if (written.error().code != EINVAL) return std::move(written).error();
    // A report that contradicts the ledger (of a host that was never registered, say) must not keep
    // all others from being written. SQLite has undone this one statement only.
    log::error("{}; this {} is not recorded", written.error().text, name_of(row));
  }
  TRY(transaction.commit());
  unwritten_.clear();
  return {};
}

Result<void> Ledger::write(const GrantBegan& row) {
  auto insert = TRY(database_->prepare(
      "INSERT OR REPLACE INTO grants (lease, host, home, user, began) VALUES (?, ?, ?, ?, ?)"));
  insert.bind(static_cast<int64_t>(row.lease.value)).bind(number(row.host)).bind(number(row.home));
  return insert.bind(row.user).bind(to_stored(row.at)).run();
}

Result<void> Ledger::write(const GrantEnded& row) {
  auto update = TRY(database_->prepare("UPDATE grants SET ended = ?, how = ? WHERE lease = ?"));
  update.bind(to_stored(row.at)).bind(row.how).bind(static_cast<int64_t>(row.lease.value));
  return update.run();
}

Result<void> Ledger::write(const MoveRow& row) {
  auto insert = TRY(database_->prepare(
      "INSERT INTO moves (job, from_host, to_host, reason, moved, text, freeze_ns, push_ns, "
      "clean_ns, pages_moved, pages_demanded, image_bytes, threads, processes, at) "
      "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 "
      "WHERE NOT EXISTS (SELECT 1 FROM moves WHERE job = ?1 AND at = ?15)"));
  insert.bind(row.job).bind(number(row.from)).bind(number(row.to)).bind(row.reason);
  insert.bind(int64_t{row.moved}).bind(row.text).bind(row.freeze.count()).bind(row.push.count());
  insert.bind(row.clean.count()).bind(static_cast<int64_t>(row.pages_moved));
  insert.bind(static_cast<int64_t>(row.pages_demanded)).bind(static_cast<int64_t>(row.image_bytes));
  return insert.bind(int64_t{row.threads})
      .bind(int64_t{row.processes})
      .bind(to_stored(row.at))
      .run();
}

}  // namespace hob::coordinator
