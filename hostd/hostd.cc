#include "hostd/hostd.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/processors.h"
#include "migrate/cgroup.h"
#include "migrate/cpu_features.h"

namespace hob::hostd {
namespace {

/// How often the owner's processes are counted: the kernel's own load averages take a sample every
/// 5 s.
constexpr auto kLoadPeriod = seconds(5);

/// Changes in the number of guests alone are reported together.
constexpr auto kReportDelay = milliseconds(50);

bool takes_guests(pb::HostState state) {
  return state == pb::HOST_IDLE || state == pb::HOST_PART_USED || state == pb::HOST_FULL;
}

uint64_t nanos(Duration d) {
  return d.count() < 0 ? 0 : static_cast<uint64_t>(d.count());
}

pb::HostState to_wire(HostState state) {
  switch (state) {
    case HostState::active:
      return pb::HOST_ACTIVE;
    case HostState::idle:
      return pb::HOST_IDLE;
    case HostState::part_used:
      return pb::HOST_PART_USED;
    case HostState::full:
      return pb::HOST_FULL;
    case HostState::refuses:
      return pb::HOST_REFUSES;
    case HostState::down:
      break;
  }
  return pb::HOST_DOWN;
}

void to_wire(const HostList& list, pb::Policy& policy) {
  switch (list.kind) {
    case HostList::Kind::none:
      policy.set_kind(pb::Policy::NONE);
      break;
    case HostList::Kind::all:
      policy.set_kind(pb::Policy::ALL);
      break;
    case HostList::Kind::listed:
      policy.set_kind(pb::Policy::LIST);
      for (const std::string& host : list.hosts) policy.add_hosts(host);
  }
}

std::string host_name_of(const HostdConfig& config) {
  if (!config.host_name.empty()) return config.host_name;
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

}  // namespace

Hostd::~Hostd() = default;

Result<std::unique_ptr<Hostd>> Hostd::create(EventLoop& loop, HostdConfig config,
                                             std::string starter) {
  config.host_name = host_name_of(config);
  std::unique_ptr<Hostd> hostd(new Hostd(loop, std::move(config)));
  const HostdConfig& c = hostd->config_;
  TRY(make_directories(c.run_dir));
  TRY(make_directories(c.state_dir));
  hostd->keys_.secret_key = TRY(wire::read_secret_key(c.host_key));
  hostd->keys_.public_key = TRY(wire::public_key_of(hostd->keys_.secret_key));
  const wire::Key coordinator_key = TRY(wire::key_from_text(c.cell_coordinator_key));
  // The parent of all guests' groups; also proves that this machine can freeze anything at all.
  // They are there already after a restart.
  const std::string group = TRY(migrate::Cgroup::root()) + c.cgroup;
  TRY(make_directories(group + "/guests"));
  TRY(make_directories(group + "/starters"));

  hostd->post_ = std::make_unique<Post>(loop, c.host_name, hostd->keys_);
  hostd->context_ = TRY(wire::Context::create(
      loop, [raw = hostd.get()](const wire::Key& key) { return raw->post_->name_of(key); }));

  if (c.owner_max_guests == 0)
    hostd->config_.owner_max_guests = usable_processors(c.cgroup + "/guests");
  hostd->slots_ = c.owner_max_guests;
  Guests::Options options;
  const std::string program = starter;
  options.starter = std::move(starter);
  options.starter_socket = c.run_dir + "/starter.sock";
  options.cgroup = c.cgroup + "/guests";
  options.address = c.host_address;
  options.pages = c.state_dir + "/pages";
  TRY(make_directories(options.pages, 0700));
  options.memory_limit = c.owner_guest_memory;
  options.home_lost_after = c.home_lost_after;
  options.spares = std::min(2u, hostd->slots_);
  const auto changed = [raw = hostd.get()] { raw->loop_.defer([raw] { raw->judge(); }); };
  hostd->guests_ = std::make_unique<Guests>(loop, *hostd->post_, std::move(options), changed);
  hostd->exports_ = std::make_unique<Exports>(
      loop, *hostd->post_, TRY(RecordStore::open(c.run_dir + "/jobs")),
      TRY(JobNumbers::open(c.state_dir + "/job-number")),
      Exports::Options{c.owner_min_uid, c.owner_export.kind != HostList::Kind::none,
                       c.home_lost_after, c.job_memory, program, c.host_address,
                       c.state_dir + "/checkpoints",
                       std::make_shared<const migrate::Cgroup>(
                           TRY(migrate::Cgroup::open(c.cgroup + "/starters")))},
      changed);

  TRY(hostd->post_->listen(*hostd->context_,
                           fmt::format("tcp://{}:{}", c.host_address, c.host_port),
                           [raw = hostd.get()](const std::string& from, wire::Message message,
                                               const Post::Reply& reply) {
                             raw->on_peer_message(from, std::move(message), reply);
                           }));
  hostd->coordinator_ = TRY(CoordinatorLink::create(
      loop, *hostd->context_, c.cell_coordinator, coordinator_key, hostd->keys_,
      {[raw = hostd.get()] {
         pb::Hello hello;
         hello.set_endpoint(
             fmt::format("tcp://{}:{}", raw->config_.host_address, raw->config_.host_port));
         *hello.mutable_report() = raw->report();
         for (const std::string& job : raw->guests_->jobs()) hello.add_serving(job);
         return hello;
       },
       [raw = hostd.get()](const pb::Welcome& welcome) { raw->on_welcome(welcome); },
       [raw = hostd.get()](const pb::Directory& directory) {
         raw->post_->set_directory(directory);
       },
       [raw = hostd.get()](const pb::Revoked& revoked) {
         raw->holdings_->on_revoked(revoked);
         raw->exports_->on_revoked(revoked);
       },
       [raw = hostd.get()] {
         raw->last_report_.clear();
         raw->reported_accepting_ = false;
         raw->report_changes();
       },
       [raw = hostd.get()] { return raw->exports_->live_jobs(); }}));
  hostd->exports_->set_coordinator(hostd->coordinator_.get());
  hostd->holdings_ = std::make_unique<Holdings>(loop, *hostd->coordinator_, c.host_name);
  hostd->exports_->set_holdings(hostd->holdings_.get());
  TRY(hostd->watch_owner());
  TRY(hostd->guests_->start());
  hostd->exports_->recover();
  TRY(hostd->serve_local_users());
  return hostd;
}

void Hostd::leave(Duration limit, std::function<void()> on_end) {
  const Time deadline = Clock::now() + limit;
  leave_timer_ = loop_.every(milliseconds(50), [this, deadline, on_end = std::move(on_end)] {
    if (guests_->foreign_count() > 0 && Clock::now() < deadline) return;
    leave_timer_.reset();
    on_end();
  });
  owner_->pause(std::nullopt);  // for this life of hostd alone: not saved
  judge();
}

// ---------------------------------------------------------------------------------- the owner

Result<void> Hostd::watch_owner() {
  // The owner's own programs are under none of the quotas that bind guests.
  owner_.emplace(OwnerRules::of(
      config_, static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)))));
  LoadMeter::Options load;
  const std::string cgroup_root = TRY(migrate::Cgroup::root());
  load.owners = config_.load_cgroup;
  load.not_the_owners = {cgroup_root + config_.cgroup};
  load_.emplace(std::move(load));
  restore_pause();
  for (const std::string& spec : config_.idle_sources) {
    const Owner::Source number = owner_->add_source(spec);
    sources_.push_back(TRY(make_input_source(loop_, spec, {})));
    sources_.back()->start(
        {[this, number](Time when, std::string_view what) { on_input(number, when, what); },
         [this, number](Time last) {
           owner_->source_readable(number, last);
           judge();
         },
         [this, number, spec](std::string why) {
           log::warning("input source {} {}", spec, why);
           owner_->source_unreadable(number, std::move(why));
           judge();
         }});
  }
  sample_load();
  load_timer_ = loop_.every(kLoadPeriod, [this] { sample_load(); });
  return {};
}

void Hostd::on_input(Owner::Source source, Time when, std::string_view what) {
  owner_->input(source, when, what);
  judge();
}

void Hostd::sample_load() {
  Result<unsigned> runnable = load_->sample();
  if (runnable.ok()) {
    owner_->load(*runnable, Clock::now());
  } else {
    owner_->load_unreadable(runnable.error().text);
  }
  if (!config_.owner_on_battery) {
    // Unreadable counts as battery: fail closed.
    Result<bool> battery = on_battery();
    owner_->on_battery(!battery.ok() || *battery);
  }
  judge();
}

/// While other people's jobs run here, the owner's key must not wait for anything. He is away: it
/// is only they who wait for hostd.
void Hostd::rank(bool guests_run) {
  if (!guests_run) return first_of_all_.reset();
  if (!first_of_all_) first_of_all_.emplace();
}

std::string Hostd::why_unwelcome(HostState state, Time now, WallTime wall) const {
  if (leave_timer_) return "hob is being stopped";
  return state == HostState::refuses ? owner_->why(now, wall) : "the owner is back";
}

void Hostd::judge() {
  const Time now = Clock::now();
  const WallTime wall = WallClock::now();
  owner_->slots_used(static_cast<unsigned>(guests_->foreign_count()));
  const Owner::Decision decision = owner_->decide(now, wall);
  if (decision.verdict.guests_allowed != guests_allowed_) {
    guests_allowed_ = decision.verdict.guests_allowed;
    // Nothing comes before this when the owner returns.
    if (!guests_allowed_) guests_->owner_returned(why_unwelcome(decision.verdict.state, now, wall));
    if (guests_allowed_) guests_->owner_away();
  }
  rank(guests_allowed_ && guests_->foreign_count() > 0);
  Admission admission;
  admission.grant_key = grant_key_;
  admission.earlier_key = earlier_grant_key_;
  admission.accepting = guests_allowed_ && decision.verdict.free_slots > 0;
  admission.slots = slots_;
  admission.min_uid = config_.owner_min_uid;
  admission.import_all = config_.owner_import.kind == HostList::Kind::all;
  admission.import = config_.owner_import.hosts;
  guests_->set_admission(std::move(admission));
  guests_->set_spares(guests_allowed_ || exports_->any_abroad());
  report_changes();
  const std::optional<Time> next = owner_->next_deadline(now, wall);
  deadline_ = next ? loop_.at(*next, [this] { judge(); }) : EventLoop::Handle();
}

// A pause outlives hostd and the machine: the file's text is the wall time in seconds at which it
// ends, 0 for "until resumed".
void Hostd::restore_pause() {
  Result<std::string> text = read_file(config_.state_dir + "/paused", 64);
  if (!text.ok()) return;
  const long long until = std::strtoll(text->c_str(), nullptr, 10);
  owner_->pause(until == 0 ? std::nullopt : std::optional(WallTime(seconds(until))));
}

void Hostd::set_pause(bool on, std::optional<WallTime> until) {
  const std::string path = config_.state_dir + "/paused";
  if (!on) {
    ::unlink(path.c_str());
    return owner_->resume();
  }
  owner_->pause(until);
  const auto end =
      until ? std::chrono::duration_cast<seconds>(until->time_since_epoch()).count() : 0;
  if (auto saved = replace_file(path, fmt::format("{}\n", end), 0644, true); !saved.ok())
    log::error("{}; the pause would end with a restart", saved.error().text);
}

// ---------------------------------------------------------------------------------- the cell

pb::HostReport Hostd::report() const {
  const Time now = Clock::now();
  const WallTime wall = WallClock::now();
  const Verdict verdict = owner_->judge(now, wall);
  static const std::string features = migrate::join(migrate::cpu_features());
  pb::HostReport report;
  report.set_state(to_wire(verdict.state));
  if (auto last = owner_->last_input()) report.set_idle_ns(nanos(now - *last));
  report.set_slots(slots_);
  report.set_guests(static_cast<uint32_t>(guests_->foreign_count()));
  report.set_reason(leave_timer_ ? "hob is being stopped" : owner_->why(now, wall));
  report.set_cpu_features(features);
  to_wire(config_.owner_import, *report.mutable_import());
  to_wire(config_.owner_export, *report.mutable_export_());
  return report;
}

void Hostd::report_changes() {
  pb::HostReport now = report();
  // What counts as a change: all but the times, which pass by themselves.
  pb::HostReport key = now;
  key.clear_idle_ns();
  key.clear_reason();
  std::string bytes = key.SerializeAsString();
  if (bytes == last_report_ || !coordinator_) return;
  // Guests that come and go the coordinator knows from its own grants: several in one report will
  // do.
  const bool accepting = takes_guests(now.state());
  if (accepting && reported_accepting_) {
    if (!report_timer_)
      report_timer_ = loop_.after(kReportDelay, [this] {
        report_timer_.reset();
        reported_accepting_ = false;
        report_changes();
      });
    return;
  }
  report_timer_.reset();
  reported_accepting_ = accepting;
  last_report_ = std::move(bytes);
  pb::Envelope envelope;
  *envelope.mutable_host_report() = std::move(now);
  coordinator_->tell(std::move(envelope));
}

void Hostd::on_welcome(const pb::Welcome& welcome) {
  if (welcome.grant_key() != grant_key_) {
    earlier_grant_key_ = std::move(grant_key_);
    grant_key_ = welcome.grant_key();
  }
  post_->set_directory(welcome.directory());
  last_report_.clear();
  reported_accepting_ = false;
  judge();
}

void Hostd::on_peer_message(const std::string& from, wire::Message message,
                            const Post::Reply& reply) {
  if (guests_->on_message(from, message, reply)) return;
  if (exports_->on_message(from, message, reply)) return;
  reply(wire::failure(pb::Failure::STALE,
                      fmt::format("{} knows nothing of that job", config_.host_name)));
}

}  // namespace hob::hostd
