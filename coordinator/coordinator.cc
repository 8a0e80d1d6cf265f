#include "coordinator/coordinator.h"

#include <fmt/core.h>

#include <algorithm>
#include <sstream>

#include "base/check.h"
#include "base/log.h"
#include "wire/grant_token.h"
#include "wire/job_name.h"

namespace hob::coordinator {
namespace {

/// How often those who wait are told anew why, if that has changed.
constexpr auto kReasons = milliseconds(500);

Duration nanos(uint64_t ns) {
  // More than 290 years do not fit; nobody has been idle that long.
  return nanoseconds(static_cast<int64_t>(std::min<uint64_t>(ns, 1ull << 62)));
}

HostState state_of(pb::HostState state) {
  switch (state) {
    case pb::HOST_ACTIVE:
      return HostState::active;
    case pb::HOST_IDLE:
      return HostState::idle;
    case pb::HOST_PART_USED:
      return HostState::part_used;
    case pb::HOST_FULL:
      return HostState::full;
    case pb::HOST_REFUSES:
      return HostState::refuses;
    default:
      return HostState::down;
  }
}

PoolConfig pool_config(const CoordinatorConfig& config, uint32_t epoch) {
  PoolConfig pool;
  pool.epoch = epoch;
  pool.lease = config.lease_duration;
  return pool;
}

}  // namespace

Coordinator::Coordinator(EventLoop& loop, CoordinatorConfig config, Ledger ledger)
    : loop_(loop),
      config_(std::move(config)),
      ledger_(std::move(ledger)),
      pool_(pool_config(config_, ledger_.epoch())) {}

Coordinator::~Coordinator() = default;

Result<std::unique_ptr<Coordinator>> Coordinator::create(EventLoop& loop,
                                                         CoordinatorConfig config) {
  TRY(make_directories(config.run_dir));
  const size_t slash = config.cell_ledger.rfind('/');
  if (slash != std::string::npos && slash > 0)
    TRY(make_directories(config.cell_ledger.substr(0, slash)));
  Ledger ledger = TRY(Ledger::open(config.cell_ledger, WallClock::now()));
  std::unique_ptr<Coordinator> c(new Coordinator(loop, std::move(config), std::move(ledger)));
  c->keys_.secret_key = TRY(wire::read_secret_key(c->config_.cell_key));
  c->keys_.public_key = TRY(wire::public_key_of(c->keys_.secret_key));
  c->registry_ = TRY(Registry::load(c->ledger_));
  c->context_ = TRY(wire::Context::create(
      loop, [raw = c.get()](const wire::Key& key) { return raw->registry_->name_of(key); }));
  c->server_ = TRY(wire::Server::listen(
      *c->context_, fmt::format("tcp://{}:{}", c->config_.listen_address, c->config_.listen_port),
      c->keys_.secret_key,
      [raw = c.get()](const std::string& peer, const wire::Server::Connection& connection,
                      wire::Message message) {
        raw->on_message(peer, connection, std::move(message));
      }));
  TRY(c->serve_administrator());
  for (const auto& [name, row] : c->registry_->hosts()) c->enter(name, row.id);
  c->liveness_timer_ =
      loop.every(c->config_.heartbeat_interval / 2, [raw = c.get()] { raw->check_liveness(); });
  c->reason_timer_ = loop.every(kReasons, [raw = c.get()] { raw->tell_changed_reasons(); });
  return c;
}

/// A registered host that has not come yet is down, not unknown: `remote hosts` shows it, and who
/// wants it waits.
void Coordinator::enter(const std::string& name, HostId id) {
  hosts_[name].id = id;
  HostFacts facts;
  facts.id = id;
  apply(pool_.update(facts, Clock::now()));
}

// ---------------------------------------------------------------------------------- from hosts

void Coordinator::on_message(const std::string& peer, const wire::Server::Connection& connection,
                             wire::Message message) {
  const pb::Envelope& envelope = message.envelope;
  if (peer.starts_with(Registry::kInvited)) {
    if (envelope.has_join()) return on_join(peer, connection, envelope);
    return server_->answer(connection, envelope,
                           wire::failure(pb::Failure::NOT_PERMITTED,
                                         "an invitation is only good for joining the cell"));
  }
  const HostRow* row = registry_->find(peer);
  CHECK(row != nullptr);  // the registry has just named it: of whom was removed nothing gets here
  Host& host = hosts_[peer];
  host.id = row->id;
  host.seen = Clock::now();
  if (envelope.has_hello()) return on_hello(peer, connection, envelope);
  if (host.connection != connection || host.down)
    // It knows a coordinator that knew it: this one has been restarted, has given it up, or would
    // speak to a connection that is gone.
    return server_->answer(
        connection, envelope,
        wire::failure(pb::Failure::STALE, "the coordinator wants a Hello first"));
  switch (envelope.body_case()) {
    case pb::Envelope::kHostReport:
      return on_report(peer, envelope.host_report());
    case pb::Envelope::kHeartbeat:
      return on_heartbeat(peer, connection, envelope);
    case pb::Envelope::kSelect:
      return on_select(peer, envelope);
    case pb::Envelope::kWithdraw:
      return on_withdraw(peer, envelope.withdraw());
    case pb::Envelope::kRelease: {
      const LeaseId id{envelope.release().lease()};
      const Lease* lease = pool_.lease(id);
      if (lease == nullptr) lease = pool_.claim(id);
      if (lease == nullptr || lease->client.home != host.id) return;
      record(GrantEnded{id, "released", WallClock::now()});
      return apply(pool_.release(id, Clock::now()));
    }
    case pb::Envelope::kJobReport:
    case pb::Envelope::kJobReports:
    case pb::Envelope::kMoveReport:
    case pb::Envelope::kLiveJobs:
      return on_history(peer, envelope);
    case pb::Envelope::kListHosts:
      return on_list_hosts(connection, envelope);
    case pb::Envelope::kListJobs:
      return server_->answer(connection, envelope, list_jobs(envelope.list_jobs()));
    case pb::Envelope::kListHistory:
      return server_->answer(connection, envelope, history(peer, envelope.list_history()));
    default:
      server_->answer(connection, envelope,
                      wire::failure(pb::Failure::USAGE, "the coordinator takes no such message"));
  }
}

void Coordinator::on_join(const std::string& peer, const wire::Server::Connection& connection,
                          const pb::Envelope& request) {
  Result<HostId> id = registry_->join(peer, request.join());
  if (!id.ok())
    return server_->answer(
        connection, request,
        wire::failure(id.error().code == EACCES ? pb::Failure::NOT_PERMITTED : pb::Failure::USAGE,
                      id.error().text));
  enter(request.join().name(), *id);
  log::info("host {} joined the cell at {}", request.join().name(), request.join().endpoint());
  pb::Envelope joined;
  joined.mutable_joined()->set_cell("hob");
  server_->answer(connection, request, std::move(joined));
  broadcast_directory();
}

void Coordinator::on_hello(const std::string& peer, const wire::Server::Connection& connection,
                           const pb::Envelope& request) {
  const pb::Hello& hello = request.hello();
  if (Result<void> good = check_policies(hello.report()); !good.ok()) {
    log::warning("host {}: {}", peer, good.error().text);
    return server_->answer(connection, request,
                           wire::failure(pb::Failure::USAGE, good.error().text));
  }
  Host& host = hosts_[peer];
  host.connection = connection;
  // What was not answered it tells again.
  host.told = host.answered = 0;
  host.must_repeat = false;
  // What it asked for before, it asks for again.
  for (const auto& [id, asked] : std::map(asked_)) {
    if (asked.home != peer) continue;
    asked_.erase(id);
    asked_by_.erase({peer, asked.number});
    apply(pool_.cancel(id, Clock::now()));
  }
  const bool elsewhere = registry_->find(peer)->endpoint != hello.endpoint();
  if (Result<void> moved = registry_->move(peer, hello.endpoint()); !moved.ok())
    log::error("host {}: {}", peer, moved.error().text);
  if (host.grant_key.empty()) host.grant_key = wire::random_bytes(32);
  if (std::exchange(host.down, false)) log::info("host {} is here", peer);
  pb::Envelope envelope;
  pb::Welcome* welcome = envelope.mutable_welcome();
  welcome->set_grant_key(host.grant_key);
  welcome->set_heartbeat_ns(
      static_cast<uint64_t>(duration_cast<nanoseconds>(config_.heartbeat_interval).count()));
  *welcome->mutable_directory() = registry_->directory();
  welcome->set_epoch(ledger_.epoch());
  // Before anything follows from it: grants are sealed with this key.
  server_->answer(connection, request, std::move(envelope));
  if (elsewhere) broadcast_directory();

  on_report(peer, hello.report(), homes_of(hello));

  std::vector<Lease> held;
  for (const pb::HeldLease& lease : hello.held()) {
    const HostRow* on = registry_->find(lease.host());
    if (on == nullptr) continue;
    held.push_back({LeaseId{lease.lease()},
                    on->id,
                    {host.id, user_number(lease.user()), lease.client()},
                    {},
                    false});
  }
  apply(pool_.restore(host.id, held, Clock::now()));
}

std::vector<HostId> Coordinator::homes_of(const pb::Hello& hello) const {
  std::vector<HostId> homes;
  for (const std::string& job : hello.serving()) {
    const std::string home = job.substr(0, job.rfind('.'));
    const HostRow* row = registry_->find(home);
    if (row != nullptr && wire::is_job_of(home, job)) homes.push_back(row->id);
  }
  return homes;
}

void Coordinator::on_report(const std::string& peer, const pb::HostReport& report,
                            const std::vector<HostId>& serving) {
  Host& host = hosts_[peer];
  if (host.report.cpu_features() != report.cpu_features()) common_features_.reset();
  host.report = report;
  apply(pool_.update(facts_of(peer, host), Clock::now(), serving));
  for (const auto& query : std::vector(queries_)) {
    query->awaited.erase(peer);
    if (query->awaited.empty()) answer_hosts(*query);
  }
}

void Coordinator::on_heartbeat(const std::string& peer, const wire::Server::Connection& connection,
                               const pb::Envelope& request) {
  const HostId home = hosts_[peer].id;
  for (uint64_t value : request.heartbeat().leases()) {
    const LeaseId id{value};
    const Lease* lease = pool_.lease(id);
    if (lease != nullptr && lease->client.home != home) continue;
    if (pool_.renew(id, Clock::now()) == Pool::Renewal::unknown) {
      pb::Envelope envelope;
      envelope.mutable_revoked()->set_lease(value);
      envelope.mutable_revoked()->set_reason("the grant has ended");
      send(peer, std::move(envelope));
    }
  }
  pb::Envelope done;
  done.mutable_done();
  server_->answer(connection, request, std::move(done));
}

void Coordinator::on_select(const std::string& peer, const pb::Envelope& request) {
  const pb::Select& select = request.select();
  Request asked;
  asked.client = {hosts_[peer].id, user_number(select.user()), select.client()};
  asked.wait = !select.no_wait();
  for (const std::string& name : select.exclude())
    if (const HostRow* row = registry_->find(name)) asked.exclude.push_back(row->id);
  if (!select.host().empty()) {
    const HostRow* row = registry_->find(select.host());
    if (row == nullptr) {
      pb::Envelope envelope =
          wire::failure(pb::Failure::NOT_FOUND,
                        fmt::format("no host {} in this cell; see `remote hosts`", select.host()));
      envelope.set_answers(request.request());
      return send(peer, std::move(envelope));
    }
    asked.host = row->id;
  }
  Pool::Asked result = pool_.ask(asked, Clock::now());
  asked_[result.id] = {peer, request.request(), select.host(), ""};
  asked_by_[{peer, request.request()}] = result.id;
  apply(result.decisions);
}

void Coordinator::on_withdraw(const std::string& peer, const pb::Withdraw& withdraw) {
  auto it = asked_by_.find({peer, withdraw.select()});
  if (it == asked_by_.end()) return;
  const RequestId id = it->second;
  asked_.erase(id);
  asked_by_.erase(it);
  apply(pool_.cancel(id, Clock::now()));
}

void Coordinator::check_liveness() {
  const Time now = Clock::now();
  for (auto& [name, host] : hosts_) {
    if (host.down || now - host.seen < config_.heartbeat_lost_after) continue;
    host.down = true;
    log::warning("host {} has not been heard of for {:.0f} s", name, to_seconds(now - host.seen));
    apply(pool_.set_state(host.id, HostState::down, now, now));
    std::erase_if(asked_, [&, n = name](const auto& entry) {
      if (entry.second.home != n) return false;
      asked_by_.erase({n, entry.second.number});
      return true;
    });
  }
}

// ---------------------------------------------------------------------------------- facts for the
// pool

HostFacts Coordinator::facts_of(const std::string&, const Host& host) const {
  HostFacts facts;
  facts.id = host.id;
  facts.state = host.down ? HostState::down : state_of(host.report.state());
  facts.idle_since = Clock::now() - nanos(host.report.idle_ns());
  constexpr uint32_t kMostSlots = 4096;
  facts.slots = std::min(host.report.slots(), kMostSlots);
  facts.features = const_cast<Coordinator*>(this)->features_of(host.report.cpu_features());
  facts.import_from = policy_of(host.report.import());
  facts.export_to = policy_of(host.report.export_());
  return facts;
}

Result<void> check_policies(const pb::HostReport& report) {
  for (const auto& [name, policy] :
       {std::pair("import", &report.import()), {"export", &report.export_()}})
    if (policy->hosts_size() > static_cast<int>(HostList::kMostHosts))
      return Error{
          fmt::format("take a host's report: owner.{} names {} hosts; at most {} are allowed; "
                      "write \"all\", or shorten it, in its hostd.toml",
                      name, policy->hosts_size(), HostList::kMostHosts),
          E2BIG};
  return {};
}

Policy Coordinator::policy_of(const pb::Policy& policy) const {
  switch (policy.kind()) {
    case pb::Policy::NONE:
      return {Policy::Kind::none, {}};
    case pb::Policy::LIST: {
      std::vector<HostId> hosts;
      for (const std::string& name : policy.hosts())
        if (const HostRow* row = registry_->find(name)) hosts.push_back(row->id);
      return Policy::only(std::move(hosts));
    }
    default:
      return {};
  }
}

CpuFeatures Coordinator::features_of(const std::string& names) {
  CpuFeatures features;
  constexpr size_t kBits = 64 * std::tuple_size_v<decltype(features.bits)>;
  std::istringstream words(names);
  for (std::string word; words >> word;) {
    // Beyond the last bit all features share it: hosts that differ there alone count as alike, and
    // the engine's own check, before the freeze, has the last word.
    const size_t bit =
        feature_bits_.try_emplace(word, std::min(feature_bits_.size(), kBits - 1)).first->second;
    features.bits[bit / 64] |= 1ull << (bit % 64);
  }
  return features;
}

const std::string& Coordinator::common_features() {
  if (common_features_) return *common_features_;
  std::vector<std::string_view> reports;
  for (const auto& [name, host] : hosts_)
    if (!host.report.cpu_features().empty()) reports.emplace_back(host.report.cpu_features());
  return common_features_.emplace(common_words(reports));
}

UserId Coordinator::user_number(const std::string& name) {
  auto [it, added] = users_.try_emplace(name, UserId{static_cast<uint32_t>(users_.size())});
  if (added) user_names_.push_back(name);
  return it->second;
}

// ---------------------------------------------------------------------------------- out

void Coordinator::send(const std::string& host, pb::Envelope envelope) {
  auto it = hosts_.find(host);
  if (it == hosts_.end() || it->second.connection.empty()) return;
  if (Result<void> sent = server_->send(it->second.connection, {std::move(envelope), {}});
      !sent.ok())
    log::debug("host {}: {}", host, sent.error().text);  // its Hello will make up for it
}

void Coordinator::broadcast_directory() {
  pb::Envelope envelope;
  *envelope.mutable_directory() = registry_->directory();
  for (const auto& [name, host] : hosts_)
    if (!host.down) send(name, envelope);
}

}  // namespace hob::coordinator
